"""Networks: one file per family of architectures.

A network module declares ``NETWORKS`` (see ``edgepress.registry``): names, builders and their arguments. A builder
takes ``input_shape`` (of one example), ``outputs`` (their number), ``task``, and further arguments, and returns an
``nn.Module`` that maps (rows, …) to (rows, outputs).
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn

from edgepress import registry, tensor_files
from edgepress.datasets import Prepared
from edgepress.graph import LAYERS, Layer, UntraceableError, called_weights, weight_names
from edgepress.networks._files import begin_from, load_all_from
from edgepress.networks._state import bake, inference_state, load_inference_state, stored_once, tie
from edgepress.outputs import in_single_precision, with_plain_outputs

__all__ = [
    "bake",
    "begin_from",
    "build",
    "compressible",
    "construct",
    "hidden",
    "holders",
    "inference_state",
    "layer_of",
    "load_all_from",
    "load_inference_state",
    "output_weight",
    "parameter_count",
    "stored_once",
    "to_bytes",
    "uncompressed",
]
_ELEMENTWISE = (nn.LayerNorm, nn.RMSNorm)  # their parameters may have several dimensions but multiply elementwise


def build(name: str, data: Prepared, seed: int = 0) -> nn.Module:
    """Build the network ``name`` for ``data``, with weights initialized by ``seed``.

    The builder receives those of input shape, number of outputs and task that it has parameters for, since the user's
    own network may be made for one kind of data. Raises ValueError if it has no layer to compress.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = construct(registry.networks()[name], data)
    if not compressible(network):
        raise ValueError(f"'{name}' has no Linear or Conv layer, so there are no weights to compress")
    return network


def construct(entry: registry.NetworkEntry, data: Prepared | None = None) -> nn.Module:
    """Call the builder of a network, convert it to float32 and, with ``data``, make it return (rows, outputs).

    Raises ValueError if it needs the data but none is given, and NetworkError if its outputs do not fit the data.
    """
    builder = entry.load()
    parameters = inspect.signature(builder).parameters
    wanted = [name for name in ("input_shape", "outputs", "task") if name in parameters and name not in entry.args]
    facts: dict[str, Any] = {}
    if data is not None:
        facts = {"input_shape": data.input_shape, "outputs": data.outputs, "task": data.task}
    elif needed := [name for name in wanted if parameters[name].default is inspect.Parameter.empty]:
        raise ValueError(f"'{entry.name}' needs data ({', '.join(needed)}), but none are given")
    network: nn.Module = builder(**{fact: facts[fact] for fact in wanted if fact in facts}, **entry.args)
    tie(network)
    network = in_single_precision(network)
    if data is None or not compressible(network):  # the caller reports that first
        return network
    return with_plain_outputs(network, entry.name, data)


def compressible(network: nn.Module) -> list[str]:
    """The names of the tensors that methods compress: the weights of Linear and Conv layers, in order of registration.
    A weight that several layers share is listed once, under its first name.
    """
    return list(dict.fromkeys(weight_names(network).values()))


def uncompressed(network: nn.Module) -> dict[str, int]:
    """Layers with weights that no method compresses, such as ``rnn (LSTM)``, with the number of weights.

    Weights are parameters of at least two dimensions, not biases, norms and other vectors.
    """
    seen = {id(network.get_parameter(name)) for name in compressible(network)}
    found: dict[str, int] = {}
    for path, module in network.named_modules():
        for key, parameter in module.named_parameters(recurse=False):
            if parameter.dim() > 1 and id(parameter) not in seen and not isinstance(module, _ELEMENTWISE):
                seen.add(id(parameter))
                known = path and type(module) is not nn.Module
                layer = f"{path} ({type(module).__name__})" if known else f"{path}.{key} (parameter)".lstrip(".")
                found[layer] = found.get(layer, 0) + parameter.numel()
    return found


def holders(network: nn.Module, name: str) -> list[tuple[nn.Module, str]]:
    """The modules that hold the parameter ``name``, with its name in each; several if it is shared."""
    shared = network.get_parameter(name)
    return [(module, key) for module in network.modules() for key, own in module._parameters.items() if own is shared]


def output_weight(network: nn.Module) -> str:
    """The name of the weight of the output layer: the layer called last or, without a fixed graph, registered last."""
    try:
        calls = called_weights(network)
    except UntraceableError:
        calls = []
    return (calls or list(weight_names(network).values()))[-1]


def hidden(network: nn.Module) -> list[str]:
    """The weights of Linear and Conv layers except the output layer, in the order of ``compressible``."""
    names = compressible(network)
    last = output_weight(network) if names else None
    return [name for name in names if name != last]


def layer_of(network: nn.Module, weight: str) -> Layer:
    """The Linear or Conv layer whose weight tensor has the name ``weight``. Raises ValueError if there is none."""
    layer = network.get_submodule(weight.removesuffix("weight").removesuffix("."))
    if not isinstance(layer, LAYERS):
        raise ValueError(f"{weight} does not belong to a Linear or Conv layer")
    return layer


def parameter_count(network: nn.Module) -> int:
    """The number of trained parameters, biases and norms included."""
    return sum(parameter.numel() for parameter in network.parameters())


def to_bytes(network: nn.Module) -> bytes:
    """The safetensors file of a full-precision network on the CPU; a shared parameter is stored once."""
    return tensor_files.to_bytes(stored_once(inference_state(network)))
