"""Networks: one file a family.

A network module declares ``NETWORKS`` (see ``edgepress.registry``): names, builders and their arguments. A builder
takes ``input_shape``, the shape of one example, ``outputs``, their number, ``task``, and its own arguments, and returns
an ``nn.Module`` that maps (rows, …) to (rows, outputs).
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgepress import registry, tensor_files
from edgepress.datasets import Prepared
from edgepress.files import FileError
from edgepress.graph import LAYERS, Layer, UntraceableError, called_weights
from edgepress.outputs import in_single_precision, with_plain_outputs


def build(name: str, data: Prepared, seed: int = 0) -> nn.Module:
    """Build the network called ``name`` for the examples of ``data``, its weights drawn with ``seed``.

    Of the input's shape, the number of outputs and the task, the builder gets what it has a parameter for: a network
    of the user's own may be made for one kind of data. Raises ValueError where it has no layer to compress.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = construct(registry.networks()[name], data)
    if not compressible(network):
        raise ValueError(f"'{name}' has no Linear or Conv layer, whose weights are what methods compress")
    return network


def construct(entry: registry.NetworkEntry, data: Prepared | None = None) -> nn.Module:
    """Call the builder of a network. Its tensors are then float32 and, with ``data``, it returns (rows, outputs).

    Raises ValueError where it has to know the data, and there are none, and NetworkError where its outputs do not suit
    the data.
    """
    builder = entry.load()
    parameters = inspect.signature(builder).parameters
    wanted = [name for name in ("input_shape", "outputs", "task") if name in parameters and name not in entry.args]
    facts: dict[str, Any] = {}
    if data is not None:
        facts = {"input_shape": data.input_shape, "outputs": data.outputs, "task": data.task}
    elif needed := [name for name in wanted if parameters[name].default is inspect.Parameter.empty]:
        raise ValueError(f"'{entry.name}' fits itself to data ({', '.join(needed)}), and none are given")
    network = in_single_precision(builder(**{fact: facts[fact] for fact in wanted if fact in facts}, **entry.args))
    if data is None or not compressible(network):  # of which there is more to be said than of its outputs
        return network
    return with_plain_outputs(network, entry.name, data)


def inference_state(network: nn.Module) -> dict[str, Tensor]:
    """Every tensor that inference needs, by name: parameters and buffers, but not BatchNorm's count of batches."""
    return {n: t.detach() for n, t in network.state_dict().items() if not n.endswith("num_batches_tracked")}


def load_inference_state(network: nn.Module, state: dict[str, Tensor]) -> None:
    """Put a state from ``inference_state`` into ``network``. Raises ValueError where the names differ."""
    missing, unexpected = network.load_state_dict(state, strict=False)
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing or unexpected:
        raise ValueError(f"the weights do not fit the network: missing {missing}, unexpected {unexpected}")


def load_all_from(network: nn.Module, path: str | Path) -> None:
    """Put a trained network, all of it, from a safetensors file into ``network``, in place.

    Raises FileError where the file is no safetensors, its tensors are not those of the network, or are not finite.
    """
    tensors, state = tensor_files.load_foreign(path), inference_state(network)
    for name in state:
        if name in tensors:
            _check_finite(path, name, tensors[name])
            if state[name].shape != tensors[name].shape:
                raise FileError(f"{path}: {name} is {tuple(tensors[name].shape)} but {tuple(state[name].shape)} in the "
                                f"network; name the file of this network")  # fmt: skip
    try:
        load_inference_state(network, tensors)
    except ValueError as error:
        raise FileError(f"{path}: {error}; name the file of this network") from None


def _check_finite(path: str | Path, name: str, tensor: Tensor) -> None:
    if not tensor.is_floating_point() or not tensor.isfinite().all():
        raise FileError(f"{path}: {name} holds what is no finite float; name a file of sound weights")


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
            _check_finite(path, name, found)
            loaded[name] = found
    if not loaded:
        raise FileError(f"{path} holds no tensor that fits: the network has {', '.join(list(state)[:3])}, …, "
                         f"the file {', '.join(list(tensors)[:3])}, …; name one of the same network")  # fmt: skip
    network.load_state_dict(loaded, strict=False)
    return list(loaded)


def compressible(network: nn.Module) -> list[str]:
    """The names of the tensors that methods compress: the weights of Linear and Conv layers, in the order in which the
    network was given them.
    """
    layers = ((name, layer) for name, layer in network.named_modules() if isinstance(layer, LAYERS))
    return [f"{name}.weight".lstrip(".") for name, layer in layers if layer.weight.numel()]


def output_weight(network: nn.Module) -> str:
    """The name of the weights of the layer that computes the outputs: the last one that is called, or, where there is
    no fixed graph, the last one that the network was given.
    """
    names = compressible(network)
    try:
        calls = called_weights(network)
    except UntraceableError:
        calls = []
    return ([name for name in calls if name in names] or names)[-1]


def hidden(network: nn.Module) -> list[str]:
    """The weights of Linear and Conv layers but for the output layer, in the order of ``compressible``."""
    names = compressible(network)
    last = output_weight(network) if names else None
    return [name for name in names if name != last]


def layer_of(network: nn.Module, weight: str) -> Layer:
    """The Linear or Conv layer whose weight tensor has the name ``weight``. Raises ValueError where there is none."""
    layer = network.get_submodule(weight.removesuffix("weight").removesuffix("."))
    if not isinstance(layer, LAYERS):
        raise ValueError(f"{weight} belongs to no Linear or Conv layer")
    return layer


def parameter_count(network: nn.Module) -> int:
    """The number of trained parameters, biases and norms included."""
    return sum(parameter.numel() for parameter in network.parameters())
