"""Networks: one file a family.

A network module declares ``NETWORKS`` (see ``edgepress.registry``): names, builders and their arguments. A builder
takes the shape of one example, the number of outputs and the task, then its own arguments, and returns an ``nn.Module``
that maps (rows, …) to (rows, outputs).
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from edgepress import registry, tensor_files
from edgepress.datasets import Prepared
from edgepress.files import FileError


def build(name: str, data: Prepared, seed: int = 0) -> nn.Module:
    """Build the network called ``name`` for the examples of ``data``, its weights drawn with ``seed``."""
    entry = registry.networks()[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return entry.load()(data.input_shape, data.outputs, data.task, **entry.args)


def inference_state(network: nn.Module) -> dict[str, Tensor]:
    """Every tensor that inference needs, by name: parameters and buffers, but not BatchNorm's count of batches."""
    return {n: t.detach() for n, t in network.state_dict().items() if not n.endswith("num_batches_tracked")}


def load_inference_state(network: nn.Module, state: dict[str, Tensor]) -> None:
    """Put a state from ``inference_state`` into ``network``. Raises ValueError where the names differ."""
    missing, unexpected = network.load_state_dict(state, strict=False)
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing or unexpected:
        raise ValueError(f"the weights do not fit the network: missing {missing}, unexpected {unexpected}")


def begin_from(network: nn.Module, path: str | Path) -> list[str]:
    """Put the tensors of a safetensors file into ``network``, in place, where name and shape fit.

    A first convolution for three colours fits a network for grey images: its kernels are summed over the colours,
    which is what three equal channels would give. Returns the names of what was loaded; what was not, a new head
    say, stays as it was built. Raises FileError where the file is no safetensors, nothing in it fits, or what fits is
    not finite.
    """
    tensors = tensor_files.load_foreign(path)
    state, loaded = inference_state(network), {}
    for name, tensor in state.items():
        found = tensors.get(name)
        if found is not None and tensor.dim() == 4 and tensor.shape[1] == 1 and found.shape[1] == 3:
            found = found.sum(dim=1, keepdim=True)
        if found is not None and found.shape == tensor.shape:
            if not found.is_floating_point() or not found.isfinite().all():
                raise FileError(f"{path}: {name} holds what is no finite float; name a file of sound weights")
            loaded[name] = found
    if not loaded:
        raise FileError(f"{path} holds no tensor that fits: the network has {', '.join(list(state)[:3])}, …, "
                         f"the file {', '.join(list(tensors)[:3])}, …; name one of the same network")  # fmt: skip
    network.load_state_dict(loaded, strict=False)
    return list(loaded)


def compressible(network: nn.Module) -> list[str]:
    """The names of the tensors that methods compress: the weights of Linear and Conv layers, first to last."""
    layers = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    return [f"{name}.weight".lstrip(".") for name, m in network.named_modules() if isinstance(m, layers)]


def parameter_count(network: nn.Module) -> int:
    """The number of trained parameters, biases and norms included."""
    return sum(parameter.numel() for parameter in network.parameters())
