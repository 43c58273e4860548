"""Widths of layers: which channels of a network go together, and the network without some of them."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from edgepress.graph import LAYERS, NORMS, Convolution, Layer, called, operation, trace
from edgepress.networks import inference_state, load_inference_state, stored_once
from edgepress.operations import Property, properties

_Wide = Layer | nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d


@dataclass(frozen=True)
class Side:
    """A side of a tensor along which channels lie, each of them ``repeat`` entries long."""

    tensor: str
    dim: int
    repeat: int


@dataclass
class ChannelGroup:
    """Channels that go together: removing one removes its entries from every side.

    It is ``fixed`` where the input, the output or an operation that is not understood needs its width.
    """

    channels: int
    sides: list[Side] = field(default_factory=list)
    fixed: bool = False


def channel_groups(network: nn.Module, input_shape: tuple[int, ...]) -> list[ChannelGroup]:
    """The groups of channels of Linear and Conv layers that can be removed from ``network``, in order.

    Layers whose outputs are added, or go through one BatchNorm, share a group; a depthwise convolution belongs to the
    group of its input; flattened channels are as many features as they had places. What goes through any other
    operation is left alone, and so are the channels of tensors that are used by several modules.

    Raises UntraceableError where the network is no fixed graph.
    """
    traced = trace(network)
    ShapeProp(traced).propagate(torch.zeros(1, *input_shape))
    coupling = _Coupling(traced)
    for node in traced.graph.nodes:
        coupling.visit(node)
    groups = {id(group): group for group in map(coupling.find, coupling.all)}
    whole = _used_elsewhere(traced, network)
    for group in groups.values():
        group.fixed |= not whole.isdisjoint(side.tensor for side in group.sides)
    return [group for group in groups.values() if group.sides and not group.fixed and group.channels > 1]


def _used_elsewhere(traced: fx.GraphModule, network: nn.Module) -> set[str]:
    """The tensors of which a part cannot go: those that several modules hold, or that ``forward`` reads itself."""
    read = {str(node.target) for node in traced.graph.nodes if node.op == "get_attr"}
    held = Counter(id(own) for module in network.modules() for own in module._parameters.values() if own is not None)
    return read | {name for name, own in network.named_parameters(remove_duplicate=False) if held[id(own)] > 1}


def narrowed(state: Mapping[str, Tensor], groups: Sequence[ChannelGroup], kept: Sequence[Tensor]) -> dict[str, Tensor]:
    """The tensors of ``state`` with only the channels ``kept``, sorted indices a group, of each group."""
    state = dict(state)
    for group, channels in zip(groups, kept, strict=True):
        for side in group.sides:
            entries = (channels[:, None] * side.repeat + torch.arange(side.repeat)).reshape(-1)
            state[side.tensor] = state[side.tensor].index_select(side.dim, entries)
    return state


def with_state(network: nn.Module, state: Mapping[str, Tensor]) -> nn.Module:
    """A copy of ``network`` that holds ``state``, its Linear, Conv and BatchNorm layers as wide as their tensors there.

    Raises ValueError where the names differ, or shapes do in anything but width.
    """
    network = copy.deepcopy(network)
    for name, tensor in stored_once(inference_state(network)).items():
        if name not in state or state[name].shape == tensor.shape:
            continue
        path, _, key = name.rpartition(".")
        layer, shape = network.get_submodule(path), state[name].shape
        if not isinstance(layer, _Wide) or tensor.dim() != len(shape) or tensor.shape[2:] != shape[2:]:
            raise ValueError(f"the weights do not fit the network: {name} is {tuple(shape)} there, "
                             f"{tuple(tensor.shape)} here")  # fmt: skip
        old = getattr(layer, key)
        new = torch.empty(shape, dtype=tensor.dtype, device=tensor.device)
        setattr(layer, key, nn.Parameter(new, old.requires_grad) if isinstance(old, nn.Parameter) else new)
        _note_width(layer, key, shape)
    load_inference_state(network, dict(state))
    return network


def _note_width(layer: _Wide, key: str, shape: torch.Size) -> None:
    """Set what a layer says of its width after its tensor ``key``."""
    if isinstance(layer, NORMS):
        layer.num_features = shape[0]
    elif key != "weight":
        return
    elif isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = shape
    else:
        if _is_depthwise(layer):
            layer.groups = shape[0] * layer.in_channels // layer.out_channels
        layer.out_channels, layer.in_channels = shape[0], shape[1] * layer.groups


def _is_depthwise(layer: Convolution) -> bool:
    return layer.groups == layer.in_channels > 1


@dataclass(frozen=True)
class _Value:
    """What a node of the graph computes: its second side holds the channels of ``group``, each ``repeat`` long."""

    group: ChannelGroup
    repeat: int = 1


class _Coupling:
    """Goes through a graph whose shapes are known and finds out which channels go together."""

    def __init__(self, traced: fx.GraphModule) -> None:
        self.traced = traced
        self.all: list[ChannelGroup] = []
        self.merged: dict[int, ChannelGroup] = {}
        self.values: dict[fx.Node, _Value] = {}
        self.layers: dict[str, tuple[_Value, _Value]] = {}  # what each one reads and computes
        self.norms: dict[str, _Value] = {}  # what each BatchNorm reads

    def find(self, group: ChannelGroup) -> ChannelGroup:
        """The group that ``group`` has become part of."""
        while id(group) in self.merged:
            group = self.merged[id(group)]
        return group

    def visit(self, node: fx.Node) -> None:
        """Note the value of a node, those before it being known."""
        inputs = [self.values[source] for source in node.all_input_nodes]
        module = called(node, self.traced) if node.op == "call_module" else None
        known = properties(operation(node, self.traced)) if node.op.startswith("call") else Property(0)
        if isinstance(module, LAYERS):
            self.values[node] = self._layer(str(node.target), module, inputs[0], _shape(node.args[0]))
        elif isinstance(module, NORMS) and self._is_whole(inputs[0], _shape(node)):
            self.values[node] = self._norm(str(node.target), module, inputs[0])
        elif len(inputs) == 1 and (Property.CHANNELWISE in known or self._averages_places(node, known, inputs[0])):
            self.values[node] = inputs[0]
        elif Property.COMBINES in known:
            self.values[node] = inputs[0] if len(inputs) == 1 else self._together(*inputs)
        elif Property.FLATTENS in known and self._flattens_places(inputs[0], _shape(node.args[0]), _shape(node)):
            length = _shape(node)[1] // _shape(node.args[0])[1]
            self.values[node] = _Value(inputs[0].group, inputs[0].repeat * length)
        else:
            for value in inputs:
                self.find(value.group).fixed = True
            channels, *_ = (*_shape(node)[1:2], 0)
            self.values[node] = _Value(self._new(channels, fixed=True))

    def _new(self, channels: int, fixed: bool) -> ChannelGroup:
        self.all.append(ChannelGroup(channels, fixed=fixed))
        return self.all[-1]

    def _layer(self, name: str, layer: Layer, value: _Value, shape: tuple[int, ...]) -> _Value:
        """The value of a Linear or Conv layer, whose weights and bias get their sides; ``shape`` is its input's."""
        plain = self._is_whole(value, shape) and len(shape) == layer.weight.dim()
        if name in self.layers:
            before, after = self.layers[name]
            self._together(before, value).group.fixed |= not plain
            return after
        outputs, grouped = layer.weight.shape[0], getattr(layer, "groups", 1) > 1
        if plain and not isinstance(layer, nn.Linear) and _is_depthwise(layer):
            after = _Value(value.group, value.repeat * outputs // layer.in_channels)
        else:
            reading, after = self.find(value.group), _Value(self._new(outputs, fixed=grouped or not plain))
            reading.fixed |= grouped or not plain
            reading.sides.append(Side(f"{name}.weight", 1, value.repeat))
        self.layers[name] = value, after
        keys = ["weight"] if layer.bias is None else ["weight", "bias"]
        self.find(after.group).sides += [Side(f"{name}.{key}", 0, after.repeat) for key in keys]
        return after

    def _norm(self, name: str, norm: nn.Module, value: _Value) -> _Value:
        """The value of a BatchNorm, whose tensors get their sides; one that is used again ties what it reads."""
        if name in self.norms:
            return self._together(self.norms[name], value)
        tensors = [key for key, tensor in norm.state_dict().items() if tensor.dim() == 1]
        self.find(value.group).sides += [Side(f"{name}.{key}", 0, value.repeat) for key in tensors]
        self.norms[name] = value
        return value

    def _together(self, one: _Value, other: _Value) -> _Value:
        """The value of two whose channels lie on each other: their groups become one."""
        first, second = self.find(one.group), self.find(other.group)
        if first is not second:
            first.fixed |= second.fixed or first.channels != second.channels
            first.sides += second.sides
            self.merged[id(second)] = first
        first.fixed |= one.repeat != other.repeat
        return _Value(first, one.repeat)

    def _is_whole(self, value: _Value, shape: tuple[int, ...]) -> bool:
        """Whether the second side of a tensor of this shape holds the channels of ``value`` and nothing else."""
        return len(shape) > 1 and shape[1] == self.find(value.group).channels * value.repeat > 0

    def _averages_places(self, node: fx.Node, known: Property, value: _Value) -> bool:
        """Whether a mean is over sides behind the second alone, which then still holds the channels."""
        given: object = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else None)
        sides = [given] if isinstance(given, int) else list(given) if isinstance(given, list | tuple) else []
        shape = _shape(node.args[0])
        behind = [isinstance(side, int) and side % len(shape) > 1 for side in sides] if shape else []
        return Property.AVERAGES in known and any(behind) and all(behind) and self._is_whole(value, shape)

    def _flattens_places(self, value: _Value, before: tuple[int, ...], after: tuple[int, ...]) -> bool:
        """Whether all sides but the rows became one, in which a channel is as long as it had places."""
        return self._is_whole(value, before) and len(after) == 2 and before[0] == after[0]


def _shape(node: object) -> tuple[int, ...]:
    """The shape of what a node computes; () where that is no tensor."""
    return tuple(getattr(node.meta.get("tensor_meta"), "shape", ())) if isinstance(node, fx.Node) else ()
