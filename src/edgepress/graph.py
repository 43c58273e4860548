"""What a network computes, as a graph, and the places on it where activations can be quantized."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.proxy import TraceError
from torch.nn import functional as F

from edgepress.logs import one_line
from edgepress.operations import Property, properties

Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d
Layer = nn.Linear | Convolution
LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_ADAPTIVE_MEANS: dict[object, int] = {  # pools, and over how many dimensions, the last ones, they average
    **{nn.AdaptiveAvgPool1d: 1, nn.AdaptiveAvgPool2d: 2, nn.AdaptiveAvgPool3d: 3},
    **{F.adaptive_avg_pool1d: 1, F.adaptive_avg_pool2d: 2, F.adaptive_avg_pool3d: 3, torch.adaptive_avg_pool1d: 1},
}


@dataclass(frozen=True)
class Mean:
    """A mean over whole dimensions, negative ones counted from the end; ``keepdim``: they stay, of one entry."""

    dims: tuple[int, ...]
    keepdim: bool

    def is_global(self, rank: int) -> bool:
        """Whether it is that of each channel of values of shape (rows, channels, …), of ``rank`` dimensions."""
        return rank > 2 and {dim % rank for dim in self.dims} == set(range(2, rank))


class UntraceableError(ValueError):
    """A network whose computation depends on its data, so that it is no fixed graph."""


def trace(network: nn.Module) -> fx.GraphModule:
    """The graph of a copy of ``network``, in evaluation mode, its tensors under the same names.

    Raises UntraceableError where the network branches on values, say.
    """
    try:
        traced = fx.symbolic_trace(copy.deepcopy(network).eval())
    except (TraceError, TypeError, ValueError, RuntimeError, NotImplementedError, AttributeError) as error:
        raise UntraceableError(f"its computation is no fixed graph: {one_line(error)}") from error
    for node in traced.graph.nodes:
        if not node.args and next(iter(node.kwargs), None) == "input":  # layer(input=x) is layer(x)
            node.args = (node.kwargs["input"],)
            node.kwargs = {name: value for name, value in node.kwargs.items() if name != "input"}
    traced.recompile()
    return traced


def activation_points(traced: fx.GraphModule, example: Tensor) -> list[fx.Node]:
    """The values of the graph that a device would hold as integers, in the order in which they are computed.

    They are the network's input and what layers, sums and averages compute, after the ReLU or BatchNorm that follows
    at once; pools that select and reshapes hand on what is there. The network's output is left as it is. ``example``
    is one input, of shape (1, …), by which values that are no float tensors are told.
    """
    values = recorded(traced, example)
    points = []
    for node in traced.graph.nodes:
        if node.op in ("output", "get_attr") or selects(node, traced) or _is_output(node, traced):
            continue
        value = values.get(node)
        if isinstance(value, Tensor) and value.is_floating_point() and not _is_absorbed(node, traced):
            points.append(node)
    return points


def layer_inputs(traced: fx.GraphModule, points: list[fx.Node]) -> dict[str, list[str]]:
    """For the weight tensor of each Linear and Conv layer, the names of the points that the layer reads: as many as it
    is used at.
    """
    inputs: dict[str, list[str]] = {}
    for node in traced.graph.nodes:
        if _is_module(node, traced, LAYERS):
            source = node.all_input_nodes[0]
            while source not in points and selects(source, traced):
                source = source.all_input_nodes[0]
            if source in points:
                inputs.setdefault(f"{node.target}.weight", []).append(source.name)
    return inputs


def weight_names(network: nn.Module) -> dict[str, str]:
    """For the weight of each Linear and Conv layer, the name under which it is compressed: its own, or, where layers
    share their weight, that of the first of them. Layers without weights are left out.
    """
    first: dict[int, str] = {}
    names = {}
    for path, layer in network.named_modules():
        if isinstance(layer, LAYERS) and layer.weight.numel():
            own = layer._parameters.get("weight")  # none behind a parametrization
            name = f"{path}.weight".lstrip(".")
            names[name] = first.setdefault(id(layer if own is None else own), name)
    return names


def called_weights(network: nn.Module) -> list[str]:
    """The names of the weights of the Linear and Conv layers that ``network`` calls, in the order of the calls; see
    ``weight_names``. Raises UntraceableError where the network is no fixed graph.
    """
    names = weight_names(network)
    called = (f"{node.target}.weight" for node in trace(network).graph.nodes if node.op == "call_module")
    return [names[name] for name in called if name in names]


def called(node: fx.Node, network: nn.Module) -> nn.Module:
    """The module that a ``call_module`` node calls."""
    return network.get_submodule(str(node.target))


def operation(node: fx.Node, network: nn.Module) -> object:
    """What a node does: the type of its module, its function, or the name of its method."""
    return type(called(node, network)) if node.op == "call_module" else node.target


def mean(node: fx.Node, network: nn.Module) -> Mean | None:
    """The mean that a node computes, written as a mean or as a pool to one place; None for anything else."""
    kind = operation(node, network) if node.op.startswith("call") else None
    given: list[Any] = list(node.args[1:])
    if kind in _ADAPTIVE_MEANS:
        asked = called(node, network).output_size if node.op == "call_module" else None
        sizes = asked or node.kwargs.get("output_size") or given[0]
        ones = set(sizes) if isinstance(sizes, tuple | list) else {sizes}
        return Mean(tuple(range(-_ADAPTIVE_MEANS[kind], 0)), True) if ones == {1} else None
    if Property.AVERAGES not in properties(kind) or "dtype" in node.kwargs or len(given) > 2:
        return None
    dims, keepdim, *_ = [*given, None, None]
    dims, keepdim = node.kwargs.get("dim", dims), node.kwargs.get("keepdim", keepdim)
    dims = dims if isinstance(dims, tuple | list) else (dims,)
    return Mean(tuple(dims), bool(keepdim)) if dims and all(isinstance(dim, int) for dim in dims) else None


def selects(node: fx.Node, network: nn.Module) -> bool:
    """Whether a node hands on values of its input and computes none."""
    return does(node, network, Property.SELECTS)


def does(node: fx.Node, network: nn.Module, wanted: Property) -> bool:
    """Whether a node is an operation that has all properties of ``wanted``."""
    return node.op.startswith("call") and wanted in properties(operation(node, network))


def recorded(traced: fx.GraphModule, inputs: Tensor) -> dict[fx.Node, object]:
    """Every value of the graph, computed from ``inputs``, shape (rows, …)."""
    return _Recorder(traced).record(inputs)


class _Recorder(fx.Interpreter):
    """Runs a graph and keeps every value."""

    @torch.no_grad()
    def record(self, example: Tensor) -> dict[fx.Node, object]:
        self.values: dict[fx.Node, object] = {}
        self.run(example)
        return self.values

    def run_node(self, n: fx.Node) -> object:
        self.values[n] = super().run_node(n)
        return self.values[n]


def _is_module(node: fx.Node, network: nn.Module, kinds: tuple[type, ...]) -> bool:
    return node.op == "call_module" and isinstance(called(node, network), kinds)


def _is_absorbed(node: fx.Node, network: nn.Module) -> bool:
    """Whether a value goes only into a ReLU or BatchNorm, with which a device computes it in one step."""
    users = list(_users(node, network))
    return len(users) == 1 and (does(users[0], network, Property.RECTIFIES) or _is_module(users[0], network, NORMS))


def _is_output(node: fx.Node, network: nn.Module) -> bool:
    return any(user.op == "output" for user in _users(node, network))


def _users(node: fx.Node, network: nn.Module) -> Iterator[fx.Node]:
    """The nodes that use a value, seen through those that only hand it on."""
    for user in node.users:
        if selects(user, network):
            yield from _users(user, network)
        else:
            yield user
