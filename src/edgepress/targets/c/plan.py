"""What a device computes, step by step: the graph of a network as a list of operations on values in memory.

Values lie with their channels innermost (height, width, channel). A Linear layer that reads a flattened image is a
convolution as large as that image, so nothing is ever permuted. A ReLU is part of the operation before it, and a sum
is part of the convolution that computes one of its terms where nothing else reads that term.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod

import torch
from torch import Tensor, fx, nn

from edgepress.activations import ActivationGrid, Quantize, with_quantized_activations
from edgepress.graph import Mean, called, mean, operation, recorded
from edgepress.operations import Property, ceiling_of, properties
from edgepress.packing import Compressed
from edgepress.targets import NotServedError

_POOLS = (nn.MaxPool1d, nn.MaxPool2d)
_ADAPTIVE = (nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d)
_AVERAGES = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d)
_RESHAPES = (
    *(torch.flatten, torch.reshape, torch.squeeze, torch.unsqueeze, torch.unflatten),
    *("flatten", "reshape", "view", "squeeze", "unsqueeze", "unflatten"),
)
_ACT_BITS = 8  # of a code, which has a byte

Pair = tuple[int, int]


@dataclass(frozen=True)
class Value:
    """Values in memory: codes on ``grid``, a byte each; without a grid, float32, or int32 of an integer network's
    outputs. ``channels``, ``height`` and ``width`` are 1 where the network has no such side.
    """

    name: str
    channels: int
    height: int
    width: int
    grid: ActivationGrid | None

    @property
    def count(self) -> int:
        """The number of its entries."""
        return self.channels * self.height * self.width

    @property
    def size(self) -> int:
        """Its bytes."""
        return self.count * (4 if self.grid is None else 1)


@dataclass(frozen=True)
class Window:
    """What an operation reads of an image for each entry that it computes; (height, width), ``before`` is the padding
    above and to the left. What lies beyond the other edges follows from the sizes.
    """

    kernel: Pair
    stride: Pair = (1, 1)
    before: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1


@dataclass(frozen=True)
class Step:
    """One operation: ``reads`` to ``writes``. ``ceiling``: results are bounded by 0 and this; None, not bounded."""

    reads: tuple[Value, ...]
    writes: Value
    ceiling: float | None = None

    @property
    def source(self) -> Value:
        """The first value that it reads."""
        return self.reads[0]


@dataclass(frozen=True)
class Convolution(Step):
    """A Conv or Linear layer, ``layer`` its name. Where it reads a second value, that is added to what the layer gives,
    which is first rounded to the grid ``inner`` and bounded by ``inner_ceiling``.
    """

    layer: str = ""
    window: Window = Window((1, 1))
    inner: ActivationGrid | None = None
    inner_ceiling: float | None = None


@dataclass(frozen=True)
class Sum(Step):
    """The sum of two values, or one value on another grid."""


@dataclass(frozen=True)
class Maximum(Step):
    """The largest value of each window."""

    window: Window = Window((1, 1))


@dataclass(frozen=True)
class Average(Step):
    """The mean of each window; windows do not overlap."""

    window: Window = Window((1, 1))


@dataclass(frozen=True)
class Plan:
    """A network as ``steps`` from ``entry`` to ``end``. ``integers``: nothing in it is a float."""

    steps: tuple[Step, ...]
    entry: Value
    end: Value
    integers: bool

    @property
    def convolutions(self) -> Iterator[Convolution]:
        """The layers that hold weights."""
        return (step for step in self.steps if isinstance(step, Convolution))


def plan(network: nn.Module, stored: Compressed, input_shape: tuple[int, ...]) -> Plan:
    """The steps of ``network``, whose tensors have the shapes of those in ``stored``, on one input of ``input_shape``.

    Raises NotServedError where an operation has no step here.
    """
    for point, grid in stored.activations.items():
        if grid.masked_from is not None or grid.bits > _ACT_BITS:
            what = "masks" if grid.masked_from is not None else f"codes of {grid.bits} bits"
            raise NotServedError(f"'{point}' holds {what}, and C holds an activation as a code in a byte")
    return _Walk(with_quantized_activations(network, stored.activations), bool(stored.activations), input_shape).plan()


class _Walk:
    """Goes through a graph. ``values`` has what is in memory, or the step that is still to be given its place there:
    what follows, a ReLU or a grid, may be part of it.
    """

    def __init__(self, graph: fx.GraphModule, integers: bool, input_shape: tuple[int, ...]) -> None:
        self.graph, self.integers = graph, integers
        self.recorded = recorded(graph, torch.zeros(1, *input_shape))
        self.values: dict[fx.Node, Value | Step] = {}
        self.steps: list[Step] = []

    def plan(self) -> Plan:
        entry: Value | None = None
        for node in self.graph.graph.nodes:
            if node.op == "output":
                return self._ended(entry, node.all_input_nodes)
            if node.op == "placeholder":
                entry = self.values[node] = self._value(node)
            elif isinstance(self.recorded[node], Tensor):
                self.values[node] = self._computed(node)
                if isinstance(quantized := self.values[node], Value) and node.all_input_nodes[0].op == "placeholder":
                    entry = quantized if isinstance(self._module(node), Quantize) else entry
        raise NotServedError("the network has no output")

    def _ended(self, entry: Value | None, outputs: list[fx.Node]) -> Plan:
        if len(outputs) != 1 or entry is None:
            raise NotServedError("C computes networks of one input and one output")
        end = self.values[outputs[0]]
        if isinstance(end, Value) and self.integers:
            raise NotServedError("the network's output is quantized; C gives what its last layer or mean computes")
        if isinstance(end, Step):
            if self.integers and (end.ceiling is not None or isinstance(end, Sum)):
                raise NotServedError("the network's output is rectified or a sum; in integers, C gives a layer's")
            end = self._written(end)
        if end.channels > 1 and end.height * end.width > 1:
            raise NotServedError("the network's output is an image; C gives a row of numbers")
        if end == entry or any(end in step.reads for step in self.steps):
            raise NotServedError("the network's output is also read within it, or is its input, which C does not have")
        return Plan(tuple(_fused(self.steps, end)), entry, end, self.integers)

    def _computed(self, node: fx.Node) -> Value | Step:
        module, kind = self._module(node), operation(node, self.graph) if node.op.startswith("call") else None
        before = [self.values[each] for each in node.all_input_nodes if each in self.values]
        if node.op == "get_attr" or not before or len(before) < len(node.all_input_nodes):
            raise NotServedError(f"'{node.name}' reads a tensor of the network itself, which C does not have")
        value, known = before[0], properties(kind)
        if isinstance(module, Quantize):
            return self._quantized(node, value, module.grid)
        if Property.PASSES in known:
            return value
        if isinstance(value, Step) and len(node.all_input_nodes[0].users) == 1:
            if Property.RECTIFIES in known:
                ceiling = ceiling_of(kind) if value.ceiling is None else min(ceiling_of(kind), value.ceiling)
                return replace(value, writes=replace(value.writes, name=node.name), ceiling=ceiling)
            if self._reshapes(node, value.writes):
                return value
        held = [self._held(node, each) for each in before]
        if Property.RECTIFIES in known:
            return Sum((held[0],), self._value(node), ceiling_of(kind))
        if Property.ADDS in known and not node.kwargs and len(node.args) == 2:
            a, b = held[0], held[-1]
            if (a.channels, a.height, a.width) == (b.channels, b.height, b.width):
                return Sum((a, b), self._value(node))
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d):
            return self._layer(node, module, held[0])
        if whole := mean(node, self.graph):
            return self._mean(node, whole, held[0])
        if isinstance(module, _POOLS):
            return self._pool(node, module, held[0])
        if isinstance(module, _ADAPTIVE + _AVERAGES):
            window = self._divided(node, held[0])
            if isinstance(module, _AVERAGES):
                return Average((held[0],), self._value(node), window=window)
            return self._written(Maximum((held[0],), self._value(node, held[0].grid), window=window))
        if self._reshapes(node, held[0]):
            return held[0]
        raise self._unknown(node)

    def _quantized(self, node: fx.Node, value: Value | Step, grid: ActivationGrid) -> Value:
        if isinstance(value, Value):
            if value.grid is not None:  # it lies on a grid already
                return self._written(Sum((value,), replace(value, name=node.name, grid=grid)))
            return replace(value, grid=grid)  # the network's input
        return self._written(replace(value, writes=replace(value.writes, grid=grid)))

    def _held(self, node: fx.Node, value: Value | Step) -> Value:
        if isinstance(value, Step):
            if self.integers:
                raise NotServedError(f"'{node.name}' reads '{value.writes.name}', which is not quantized")
            value = self._written(value)
            for each, step in self.values.items():
                if isinstance(step, Step) and step.writes.name == value.name:
                    self.values[each] = value
        if self.integers and value.grid is None:
            raise NotServedError(f"'{node.name}' reads '{value.name}', which is not quantized")
        return value

    def _written(self, step: Step) -> Value:
        self.steps.append(step)
        return step.writes

    def _layer(self, node: fx.Node, layer: nn.Linear | nn.Conv1d | nn.Conv2d, read: Value) -> Step:
        value = self._value(node)
        if isinstance(layer, nn.Linear):
            if layer.in_features != read.count or value.count != layer.out_features:
                raise NotServedError(
                    f"'{node.target}' is used at each place of its input; C has that as a 1×1 convolution"
                )
            window = Window((read.height, read.width))
        else:
            if layer.padding_mode != "zeros":
                raise NotServedError(f"'{node.target}' pads by '{layer.padding_mode}'; C pads with zeros")
            rank = layer.weight.dim() - 2
            kernel, stride, dilation = (_pair(each, rank) for each in (layer.kernel_size, layer.stride, layer.dilation))
            if isinstance(layer.padding, str):
                total = [d * (k - 1) if layer.padding == "same" else 0 for k, d in zip(kernel, dilation, strict=True)]
                before = (total[0] // 2, total[1] // 2)
            else:
                before = _pair(layer.padding, rank, 0)
            window = Window(kernel, stride, before, dilation, layer.groups)
        return Convolution((read,), value, layer=str(node.target), window=window)

    def _pool(self, node: fx.Node, pool: nn.Module, read: Value) -> Value:
        assert isinstance(pool, _POOLS)
        rank = 1 if isinstance(pool, nn.MaxPool1d) else 2
        if pool.ceil_mode or _pair(pool.dilation, rank) != (1, 1) or pool.return_indices:
            raise NotServedError(f"'{node.name}' is a pool with ceil_mode, dilation or indices, which C does not have")
        kernel, stride = (_pair(each, rank) for each in (pool.kernel_size, pool.stride or pool.kernel_size))
        window = Window(kernel, stride, _pair(pool.padding, rank, 0))
        return self._written(Maximum((read,), self._value(node, read.grid), window=window))

    def _mean(self, node: fx.Node, whole: Mean, read: Value) -> Step:
        rank = len(self._shape(node.all_input_nodes[0]))
        if not whole.is_global(rank):
            raise NotServedError(f"'{node.name}' is a mean over other sides than all places of a channel")
        window = Window((read.height, read.width), (read.height, read.width))
        return Average((read,), Value(node.name, read.channels, 1, 1, None), window=window)

    def _divided(self, node: fx.Node, read: Value) -> Window:
        """The window of an adaptive pool. Raises NotServedError where windows differ in size."""
        after = self._value(node)
        if read.height % after.height or read.width % after.width:
            raise NotServedError(f"'{node.name}' pools windows of different sizes, which C does not have")
        size = (read.height // after.height, read.width // after.width)
        return Window(size, size)

    def _reshapes(self, node: fx.Node, read: Value) -> bool:
        """Whether a node gives ``read`` another shape in which no entry has another place in memory."""
        if node.target not in _RESHAPES and not isinstance(self._module(node), nn.Flatten | nn.Unflatten):
            return False
        shape = self._shape(node)[1:]
        sides = [side for side in (read.channels, read.height, read.width) if side != 1]
        flat = len(shape) == 1 and prod(shape) == read.count
        return flat or [side for side in shape if side != 1] == sides

    def _value(self, node: fx.Node, grid: ActivationGrid | None = None) -> Value:
        shape = self._shape(node)[1:]
        if len(shape) > 3:
            raise NotServedError(f"'{node.name}' has {len(shape)} sides; C has images and rows")
        channels, *places = shape or (1,)
        height, width = {0: (1, 1), 1: (1, places[-1] if places else 1), 2: tuple(places)}[len(places)]
        return Value(node.name, channels, height, width, grid)

    def _shape(self, node: fx.Node) -> tuple[int, ...]:
        value = self.recorded[node]
        assert isinstance(value, Tensor)
        return tuple(value.shape)

    def _module(self, node: fx.Node) -> nn.Module | None:
        return called(node, self.graph) if node.op == "call_module" else None

    def _unknown(self, node: fx.Node) -> NotServedError:
        kind = operation(node, self.graph) if node.op.startswith("call") else node.op
        return NotServedError(f"'{node.name}', {getattr(kind, '__name__', kind)}, is an operation that C does not have")


def _pair(sides: object, rank: int, default: int = 1) -> Pair:
    """(height, width) of a setting of a layer over ``rank`` sides; where that is 1, the height is ``default``."""
    each: tuple[int, ...] = sides if isinstance(sides, tuple) else (sides,) * rank  # type: ignore[assignment]
    return (each[0], each[1]) if len(each) == 2 else (default, each[0])


def _fused(steps: list[Step], end: Value) -> list[Step]:
    """The steps with each sum part of the convolution that computes its last term, where nothing else reads that."""
    for place, step in enumerate(steps):
        if not isinstance(step, Sum) or len(step.reads) != 2 or step.reads[0] == step.reads[1]:
            continue
        makers = {each.writes: number for number, each in enumerate(steps[:place])}
        last, other = sorted(step.reads, key=lambda value: makers.get(value, -1), reverse=True)
        maker = steps[makers[last]] if last in makers else None
        readers = sum(each.reads.count(last) for each in steps)
        if isinstance(maker, Convolution) and len(maker.reads) == 1 and readers == 1 and last != end:
            fused = replace(
                maker, reads=(maker.source, other), writes=step.writes, ceiling=step.ceiling,
                inner=last.grid, inner_ceiling=maker.ceiling,
            )  # fmt: skip
            rest = [each for each in steps if each is not step]
            return _fused([fused if each is maker else each for each in rest], end)
    return steps
