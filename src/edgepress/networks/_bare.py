"""Stand-in for a network of which only the tensors are known."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn


def stand_in(tensors: Mapping[str, Tensor], output: str | None = None) -> nn.Module:
    """A module that holds ``tensors`` under their names, floats as float32, but cannot compute.

    Tensors of 2 dimensions called ``….weight`` become weights of Linear layers, those of 4 dimensions of Conv2d. The
    layer with the weight ``output``, by default the last of ``output_layers``, comes last. Identical weights become one
    parameter.
    """
    last = output or next(reversed(output_layers(tensors)), "")
    order = sorted(tensors, key=lambda name: (_path(name) == _path(last), _is_linear(name, tensors), _natural(name)))
    root = _layer("", tensors)
    first: dict[tuple[torch.Size, bytes], nn.Parameter] = {}
    for name in order:
        path, _, key = name.rpartition(".")
        parent = root
        for depth, part in enumerate(path.split(".") if path else ()):
            if part not in parent._modules:
                if not part or hasattr(parent, part):
                    raise ValueError(f"a network has no tensor {name!r}: '{part}' cannot be the name of a layer there")
                is_layer = depth == path.count(".")
                parent.add_module(part, _layer(path, tensors) if is_layer else nn.Module())
            parent = parent.get_submodule(part)
        tensor = tensors[name].to(torch.float32) if tensors[name].is_floating_point() else tensors[name]
        if key in parent._parameters:
            parameter = nn.Parameter(tensor, requires_grad=False)
            if _is_weight(name, tensors) and bool((tensor != tensor.flatten()[:1]).any()):
                values = hashlib.sha256(tensor.contiguous().numpy().tobytes()).digest()
                parameter = first.setdefault((tensor.shape, values), parameter)
            parent.register_parameter(key, parameter)
        elif tensor.is_floating_point() and tensor.dim() > 1:  # a weight of another kind of layer
            parent.register_parameter(key, nn.Parameter(tensor, requires_grad=False))
        else:
            parent.register_buffer(key, tensor)
    return root


def output_layers(tensors: Mapping[str, Tensor]) -> list[str]:
    """The names of weights that may belong to the output layer; a single one if names and shapes determine it.

    It is the Linear layer (Conv layer if there is no Linear one) whose number of outputs is not the number of inputs of
    another one. If every layer is read by another, it is the last of those whose names differ in a single number.
    """
    weights = {name: tensor.shape for name, tensor in tensors.items() if _is_weight(name, tensors)}
    layers = {name: shape for name, shape in weights.items() if len(shape) == 2} or weights
    last = [
        name
        for name, shape in layers.items()
        if not any(other[1] == shape[0] for at, other in layers.items() if at != name)
    ]
    if last:
        return sorted(last, key=_natural)
    chain = sorted(layers, key=_natural)
    parts = [_natural(name) for name in chain]
    if len({re.sub(r"\d+", "#", name) for name in chain}) > 1:
        return chain
    differing = sum(len(set(column)) > 1 for column in zip(*parts, strict=True))
    return chain[-1:] if differing <= 1 else chain


def _path(name: str) -> str:
    return name.rpartition(".")[0]


def _is_weight(name: str, tensors: Mapping[str, Tensor]) -> bool:
    """Whether a tensor is the weight of a Linear or Conv2d layer, judging by name and shape."""
    tensor = tensors[name]
    return name.rpartition(".")[2] == "weight" and tensor.dim() in (2, 4) and tensor.is_floating_point()


def _is_linear(name: str, tensors: Mapping[str, Tensor]) -> bool:
    """Whether a tensor belongs to a Linear layer."""
    weight = f"{_path(name)}.weight".lstrip(".")
    return weight in tensors and _is_weight(weight, tensors) and tensors[weight].dim() == 2


def _layer(path: str, tensors: Mapping[str, Tensor]) -> nn.Module:
    """The layer at ``path``, without values."""
    name, bias = f"{path}.weight".lstrip("."), f"{path}.bias".lstrip(".") in tensors
    if name not in tensors or not _is_weight(name, tensors):
        return nn.Module()
    weight = tensors[name]
    if weight.dim() == 2:
        return nn.Linear(weight.shape[1], weight.shape[0], bias, device="meta")
    return nn.Conv2d(weight.shape[1], weight.shape[0], (weight.shape[2], weight.shape[3]), bias=bias, device="meta")


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part) if part.isdigit() else -1, part) for part in re.split(r"(\d+)", name)]
