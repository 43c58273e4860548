"""Quantized networks as operators of TensorFlow Lite: int8 tensors in the order height, width, channels.

The codes, scales and zero points are those of the packed file. Of an activation of fewer than 8 bits, the codes lie at
the upper end of int8, where saturation bounds them from above and a ReLU from below. The packed file holds no grid of
the network's outputs; their scale and zero point follow from examples (``operators``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn import functional as F

from edgepress.activations import ActivationGrid, Quantize, with_quantized_activations
from edgepress.graph import LAYERS, Layer, UntraceableError, called, does, mean, operation
from edgepress.operations import SHAPES, Property, ceiling_of
from edgepress.packing import Compressed
from edgepress.targets import NotServedError
from edgepress.targets.integer import IntegerLayer, integer_layers

LOWEST, HIGHEST = -128, 127  # of int8
_RESHAPES = (nn.Flatten, torch.flatten, torch.reshape, torch.squeeze, "flatten", "reshape", "view", "squeeze")
_MAX_POOLS = (nn.MaxPool2d, F.max_pool2d, torch.max_pool2d)


@dataclass(frozen=True)
class Held:
    """An int8 tensor, which stands for (code − zero_point) · scale; ``shape`` is that of one example.

    ``flattened`` is the shape (channels, height, width) of the images whose entries the tensor has in a row; torch has
    them in that order, the file in the order height, width, channels.
    """

    name: str
    shape: tuple[int, ...]
    scale: float
    zero_point: int
    flattened: tuple[int, int, int] | None = None


@dataclass(frozen=True, eq=False)
class Weights:
    """``codes``, int8 in the layout of the operator; ``scales``, float32, and ``bias``, int32, of shape (channels,)."""

    codes: np.ndarray
    scales: np.ndarray
    bias: np.ndarray

    @property
    def one_scale(self) -> bool:
        """Whether all channels have the same scale."""
        return bool((self.scales == self.scales[0]).all())


@dataclass(frozen=True, eq=False)
class Operator:
    """One operator of the file.

    ``kind`` is conv, depthwise, dense, add, mean, max_pool, pad or reshape. ``ceiling`` is where a ReLU ends, None
    where there is none. ``same``: images are padded so that a window begins at every stride, otherwise they are not.
    ``padding`` is that of the operator pad: top, bottom, left, right.
    """

    kind: str
    inputs: tuple[Held, ...]
    output: Held
    weights: Weights | None = None
    ceiling: float | None = None
    window: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    same: bool = False
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)


def operators(network: nn.Module, stored: Compressed, inputs: Tensor) -> list[Operator]:
    """The operators that compute ``stored``, in their order. What the first one reads is the network's input.

    ``network`` is the shipped architecture; ``inputs`` are examples, float32, shape (rows, …). Where the outputs are
    on no grid, the last operator's output has a scale of 0: the caller knows what range they have. Raises
    NotServedError where an operation or an encoding is not served.
    """
    try:
        return _Lowering(network, stored, tuple(inputs.shape[1:])).operators
    except UntraceableError as error:
        raise NotServedError(str(error)) from error


def held_on(grid: ActivationGrid, name: str, shape: tuple[int, ...], rectified: bool) -> Held:
    """An int8 tensor with the codes of ``grid``. Raises NotServedError where int8 does not bound them as it does."""
    if grid.bits > 8:
        raise NotServedError(f"'{name}' has {grid.bits}-bit activations, and the file holds 8 bits")
    if grid.bits < 8 and not (rectified and grid.zero_point == 0):
        raise NotServedError(
            f"'{name}' has activations of {grid.bits} bits that can be negative: int8 does not bound these"
        )
    return Held(name, shape, grid.step, grid.zero_point + HIGHEST - grid.highest)


class _Lowering:
    """Goes through the graph once; a value is a tensor that is held, or an operator whose output is on no grid yet."""

    def __init__(self, network: nn.Module, stored: Compressed, shape: tuple[int, ...]) -> None:
        self.layers = integer_layers(network, stored)
        self.graph = with_quantized_activations(network, stored.activations)
        ShapeProp(self.graph).propagate(torch.zeros(2, *shape))
        self.operators: list[Operator] = []
        self.values: dict[fx.Node, Held | Operator | None] = {}
        for node in self.graph.graph.nodes:
            self.values[node] = self._value(node)

    def _value(self, node: fx.Node) -> Held | Operator | None:
        if node.op == "placeholder":
            return None
        if node.op == "get_attr":
            raise NotServedError(f"the network reads '{node.target}' itself, for which no operator is written")
        read = [self.values[source] for source in node.all_input_nodes]
        module = called(node, self.graph) if node.op == "call_module" else None
        if isinstance(module, Quantize):
            return self._quantized(node, module.grid, read[0])
        kind = operation(node, self.graph)
        if node.op == "output":
            self._ended(read)
            return None
        if kind in SHAPES:
            return None
        value = next(iter(read), None)
        if does(node, self.graph, Property.PASSES) and value is not None:
            return value
        if isinstance(value, Operator) and does(node, self.graph, Property.RECTIFIES):
            before = math.inf if value.ceiling is None else value.ceiling
            return replace(value, ceiling=min(before, ceiling_of(kind)))
        found = self._computed(node, kind, module, read) if isinstance(value, Held) else None
        if found is None:
            name = getattr(kind, "__name__", kind)
            raise NotServedError(f"'{node.name}', {name}, has no operator that is written here")
        return found

    def _computed(
        self, node: fx.Node, kind: object, module: nn.Module | None, read: Sequence[Any]
    ) -> Held | Operator | None:
        """What a node makes of int8 tensors; None where no operator does that."""
        value = read[0]
        if isinstance(module, LAYERS):
            return self._layer(str(node.target), module, self.layers[str(node.target)], value, _shape(node))
        if does(node, self.graph, Property.ADDS):
            given = [self.values[term] for term in node.args if isinstance(term, fx.Node)]
            terms = [each for each in given if isinstance(each, Held)]
            alike = len(terms) == 2 and len({(each.shape, each.flattened) for each in terms}) == 1
            return Operator("add", tuple(terms), replace(value, name=node.name)) if alike and not node.kwargs else None
        if whole := mean(node, self.graph):
            shape = (1, 1, value.shape[-1]) if whole.keepdim else value.shape[-1:]
            served = whole.is_global(len(value.shape) + 1)
            return Operator("mean", (value,), replace(value, name=node.name, shape=shape)) if served else None
        if kind in _MAX_POOLS or isinstance(module, nn.AdaptiveMaxPool2d):
            return self._max_pool(node, value)
        return self._reshaped(node, value) if kind in _RESHAPES else None

    def _quantized(self, node: fx.Node, grid: ActivationGrid, value: Held | Operator | None) -> Held:
        """The tensor that a value becomes on its grid."""
        point = node.all_input_nodes[0]
        if isinstance(value, Operator):
            positive = value.kind == "mean" and value.inputs[0].zero_point == LOWEST  # as its inputs are
            held = held_on(grid, point.name, value.output.shape, value.ceiling is not None or positive)
            return self._emit(replace(value, output=replace(held, flattened=value.output.flattened)))
        if value is not None or point.op != "placeholder":
            raise NotServedError(f"'{point.name}' is put on a grid twice, for which no operator is written")
        shape = _shape(point)
        if len(shape) not in (1, 3):
            raise NotServedError(f"inputs of the shape {shape} are neither images nor rows of a table")
        return held_on(grid, point.name, _channels_last(shape), rectified=True)

    def _emit(self, operator: Operator) -> Held:
        """Append an operator. A mean keeps its sides, as NPUs ask for. A ReLU6 that ends above all codes is a ReLU: the
        runtime refuses it where the scale is very small.
        """
        output = operator.output
        if operator.ceiling is not None and operator.ceiling >= (HIGHEST - output.zero_point) * output.scale:
            operator = replace(operator, ceiling=math.inf)
        if operator.kind == "mean" and len(output.shape) == 1:
            pooled = replace(output, name=f"{output.name}_pooled", shape=(1, 1, *output.shape))
            self.operators += [replace(operator, output=pooled), Operator("reshape", (pooled,), output)]
        else:
            self.operators.append(operator)
        return output

    def _ended(self, read: Sequence[Held | Operator | None]) -> None:
        """The network's outputs. Raises NotServedError where they are not one row of numbers for each example."""
        value = read[0] if len(read) == 1 else None
        if isinstance(value, Operator) and value.kind != "mean":
            value = self._emit(replace(value, output=replace(value.output, name="output", scale=0.0)))
        if not isinstance(value, Held) or len(value.shape) != 1 or value.flattened:
            raise NotServedError("the network's outputs are not those of a layer or a sum, one row for each example")

    def _layer(
        self, name: str, layer: Layer, integers: IntegerLayer, source: Held, shape: tuple[int, ...]
    ) -> Operator | None:
        codes = integers.weight
        bias, scales = integers.bias.numpy(), integers.steps.numpy()
        output = Held(name, _channels_last(shape), 0.0, 0)
        if isinstance(layer, nn.Linear):
            if len(source.shape) != 1:
                return None
            if source.flattened:
                codes = codes.unflatten(1, source.flattened).permute(0, 2, 3, 1).flatten(1)
            return Operator("dense", (source,), output, Weights(_numpy(codes), scales, bias))
        if not isinstance(layer, nn.Conv2d) or layer.padding_mode != "zeros" or len(source.shape) != 3:
            return None
        depthwise = layer.groups == layer.in_channels > 1
        codes = codes.permute(1, 2, 3, 0) if depthwise else codes.permute(0, 2, 3, 1)
        reach = [dilation * (side - 1) + 1 for side, dilation in zip(layer.kernel_size, layer.dilation, strict=True)]
        source, same = self._padded(name, layer.padding, reach, layer.stride, source)
        return Operator(
            "depthwise" if depthwise else "conv",
            (source,),
            output,
            Weights(_numpy(codes), scales, bias),
            stride=_pair(layer.stride),
            dilation=_pair(layer.dilation),
            same=same,
        )

    def _padded(
        self, name: str, padding: Any, reach: Sequence[int], stride: Sequence[int], source: Held
    ) -> tuple[Held, bool]:
        """What a convolution reads, padded by an operator of its own where it does not pad like that itself."""
        if padding == "same" or (padding != "valid" and _is_same(_pair(padding), reach, stride, source.shape)):
            return source, True
        high, wide = (0, 0) if padding == "valid" else _pair(padding)
        if not high and not wide:
            return source, False
        height, width, channels = source.shape
        padded = replace(source, name=f"{name}_padded", shape=(height + 2 * high, width + 2 * wide, channels))
        self.operators.append(Operator("pad", (source,), padded, padding=(high, high, wide, wide)))
        return padded, False

    def _max_pool(self, node: fx.Node, source: Held) -> Held | None:
        """A pool hands codes on: it is served where it pads as the operator does, or not at all."""
        if len(source.shape) != 3:
            return None
        shape = _channels_last(_shape(node))
        module = called(node, self.graph) if node.op == "call_module" else None
        if isinstance(module, nn.AdaptiveMaxPool2d):
            if any(before % after for before, after in zip(source.shape, shape, strict=True)):
                return None
            window = stride = (source.shape[0] // shape[0], source.shape[1] // shape[1])
            padding: Any = 0
        else:
            given = _pool_settings(node, module)
            if given is None:
                return None
            window, stride, padding = given
        same = _is_same(_pair(padding), window, stride, source.shape)
        if not same and _pair(padding) != (0, 0):
            return None
        output = replace(source, name=node.name, shape=shape)
        return self._emit(Operator("max_pool", (source,), output, window=window, stride=stride, same=same))

    def _reshaped(self, node: fx.Node, source: Held) -> Held | None:
        """Images or their entries in a row, or what is as it was; anything else is not served."""
        shape = _shape(node)
        if _channels_last(shape) == source.shape:
            return source
        if len(shape) != 1 or math.prod(source.shape) != shape[0]:
            return None
        height, width, channels = source.shape
        flattened = (channels, height, width) if height * width > 1 and channels > 1 else None
        output = replace(source, name=node.name, shape=shape, flattened=flattened)
        return self._emit(Operator("reshape", (source,), output))


def _pool_settings(node: fx.Node, module: nn.Module | None) -> tuple[tuple[int, int], tuple[int, int], Any] | None:
    """Window, stride and padding of a max pool; None where it has others."""
    names = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
    given: dict[str, Any] = dict(zip(names, node.args[1:], strict=False)) | dict(node.kwargs)
    if isinstance(module, nn.MaxPool2d):
        given = {name: getattr(module, name) for name in names}
    if _pair(given.get("dilation", 1)) != (1, 1) or given.get("ceil_mode") or not set(given) <= set(names):
        return None
    window = _pair(given["kernel_size"])
    return window, _pair(given.get("stride") or window), given.get("padding", 0)


def _is_same(padding: tuple[int, int], reach: Sequence[int], stride: Sequence[int], shape: tuple[int, ...]) -> bool:
    """Whether padding both sides by ``padding`` is what the file's SAME padding does: a window begins at every stride,
    and of an odd number of entries one more goes after the image.
    """
    if padding == (0, 0):
        return False
    for side, before, window, step in zip(shape, padding, reach, stride, strict=False):
        outputs = -(-side // step)
        total = max((outputs - 1) * step + window - side, 0)
        if total // 2 != before or (side + 2 * before - window) // step + 1 != outputs:
            return False
    return True


def _shape(node: fx.Node) -> tuple[int, ...]:
    """The shape of one example of a node's value, as torch has it."""
    rows, *shape = node.meta["tensor_meta"].shape
    if rows != 2:
        raise NotServedError(f"'{node.name}' mixes examples")
    return tuple(shape)


def _channels_last(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape[1:], shape[0]) if len(shape) == 3 else shape


def _pair(value: Any) -> tuple[int, int]:
    first, second = value if isinstance(value, tuple | list) else (value, value)
    return first, second


def _numpy(codes: Tensor) -> np.ndarray:
    return np.ascontiguousarray(codes.to(torch.int8).numpy())
