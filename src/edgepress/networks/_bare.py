"""A network of which only the tensors are known."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn


def stand_in(tensors: Mapping[str, Tensor]) -> nn.Module:
    """A module that holds ``tensors`` as float32 under their names, and cannot compute.

    Tensors of 2 dimensions called ``….weight`` become those of Linear layers, and tensors of 4 those of Conv2d. A file
    does not say which layer is the last: Linear layers come after the others, and names count as one reads them,
    ``layer2`` before ``layer10``.
    """
    root = nn.Module()
    for name in sorted(tensors, key=lambda name: (tensors[name].dim() == 2, _natural(name))):
        path, _, last = name.rpartition(".")
        parent = root
        for depth, part in enumerate(path.split(".") if path else ()):
            if part not in parent._modules:
                if not part or hasattr(parent, part):
                    raise ValueError(f"a network has no tensor {name!r}: '{part}' cannot be the name of a layer there")
                is_layer = depth == path.count(".")
                parent.add_module(part, _layer(path, tensors) if is_layer else nn.Module())
            parent = parent.get_submodule(part)
        tensor = tensors[name].to(torch.float32)
        if last in parent._parameters:
            parent.register_parameter(last, nn.Parameter(tensor, requires_grad=False))
        else:
            parent.register_buffer(last, tensor)
    return root


def _layer(path: str, tensors: Mapping[str, Tensor]) -> nn.Module:
    """The layer at ``path``, still without values."""
    weight, bias = tensors.get(f"{path}.weight"), f"{path}.bias" in tensors
    if weight is not None and weight.dim() == 2:
        return nn.Linear(weight.shape[1], weight.shape[0], bias, device="meta")
    if weight is not None and weight.dim() == 4:
        return nn.Conv2d(weight.shape[1], weight.shape[0], (weight.shape[2], weight.shape[3]), bias=bias, device="meta")
    return nn.Module()


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part) if part.isdigit() else -1, part) for part in re.split(r"(\d+)", name)]
