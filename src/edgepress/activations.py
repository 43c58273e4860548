"""Activations in few bits: the grid of each value that a device holds between layers, and networks that keep to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, fx, nn

from edgepress.graph import activation_points, layer_inputs, trace, weight_names

MAX_BITS = 16


@dataclass(frozen=True)
class ActivationGrid:
    """Values (code − zero_point)·step for codes from 0 to 2^bits − 1; 0 is one of them.

    Unsigned after a ReLU, where ``zero_point`` is 0; affine where values are negative, too. ``step`` is a float32
    number, as its shortest decimal. Values whose magnitude is ``masked_from`` or more are masks, such as the −inf or
    −1e9 that attention adds where it must not look: they pass unchanged, because on the grid they would be its lowest
    level, which masks nothing. Raises ValueError where bits, step, zero point or ``masked_from`` are out of range.
    """

    bits: int
    step: float
    zero_point: int
    masked_from: float | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= MAX_BITS:
            raise ValueError(f"activations of {self.bits} bits are not between 1 and {MAX_BITS}")
        if not np.finfo(np.float32).tiny <= self.step < np.inf or not 0 <= self.zero_point <= self.highest:
            raise ValueError(f"no grid of {self.bits} bits has step {self.step} and zero point {self.zero_point}")
        if self.masked_from is not None and not 0 < self.masked_from < np.inf:
            raise ValueError(f"masks cannot begin at {self.masked_from}")

    @classmethod
    def between(cls, low: float, high: float, bits: int) -> ActivationGrid:
        """The grid whose codes reach from ``low`` to ``high``, or to 0 where that lies outside."""
        low, high = min(low, 0.0), max(high, 0.0)
        highest = (1 << bits) - 1
        step = max(np.float32((high - low) / highest), np.finfo(np.float32).tiny)
        return cls(bits, _shortest(step), round(-low / float(step)))

    def with_step(self, step: float | Tensor) -> ActivationGrid:
        """The same codes, with their values that far apart."""
        return replace(self, step=_shortest(step))

    def is_mask(self, values: Tensor) -> Tensor | None:
        """Which of ``values``, of any shape, are masks; None where the grid has none."""
        return None if self.masked_from is None else values.abs() >= self.masked_from

    @property
    def highest(self) -> int:
        """The largest code."""
        return (1 << self.bits) - 1

    def signed_codes(self, values: Tensor) -> Tensor:
        """The nearest codes of ``values``, float32 of any shape, less the zero point; beyond the ends, the last one.

        Values are divided by the step, as ONNX's QuantizeLinear does; ties go to the even code. torch's fake_quantize
        multiplies by 1/step, which can give the neighbouring code where a value lies between two.
        """
        return (values / self.step).round_().clamp_(-self.zero_point, self.highest - self.zero_point)

    def quantize(self, values: Tensor) -> Tensor:
        """``values``, float32 of any shape, on the nearest level; beyond the ends, on the last one. Masks stay."""
        quantized = self.signed_codes(values).mul_(self.step)
        masks = self.is_mask(values)
        return quantized if masks is None else torch.where(masks, values, quantized)


def _shortest(step: float | np.float32 | Tensor) -> float:
    """A float32 number as its shortest decimal."""
    return float(str(np.float32(float(step))))


class Quantize(nn.Module):
    """Puts values on a grid, at a place in a network."""

    def __init__(self, grid: ActivationGrid) -> None:
        super().__init__()
        self.grid = grid

    def forward(self, values: Tensor) -> Tensor:
        """Any shape, float32."""
        return self.grid.quantize(values)

    def extra_repr(self) -> str:
        """What is shown of it when the network is printed."""
        return f"{self.grid}"


def with_quantized_activations(network: nn.Module, grids: Mapping[str, ActivationGrid]) -> fx.GraphModule:
    """A copy of ``network``, in evaluation mode, whose activations at the points named in ``grids`` lie on these.

    Its tensors have the names that they have in ``network``. Raises ValueError where there is no such point.
    """
    traced = trace(network)
    nodes = {node.name: node for node in traced.graph.nodes}
    for point, grid in grids.items():
        if point not in nodes:
            raise ValueError(f"the network has no activation '{point}'")
        module = f"quantize_{point}"
        traced.add_submodule(module, Quantize(grid))
        with traced.graph.inserting_after(nodes[point]):
            quantized = traced.graph.call_module(module, (nodes[point],))
        nodes[point].replace_all_uses_with(quantized, lambda user, after=quantized: user is not after)
    traced.recompile()
    return traced


def add_bits(network: nn.Module, grids: Mapping[str, ActivationGrid]) -> int | None:
    """The fewest bits of an activation that no Linear or Conv layer reads, only a sum or an average, say; None where
    none is on a grid. The network's input is not among them.
    """
    if not grids:
        return None
    traced = trace(network)
    inputs = {node.name for node in traced.graph.nodes if node.op == "placeholder"}
    points = [node for node in traced.graph.nodes if node.name in grids]
    read = {name for names in layer_inputs(traced, points).values() for name in names}
    return min((grid.bits for name, grid in grids.items() if name not in read | inputs), default=None)


def input_bits(network: nn.Module, grids: Mapping[str, ActivationGrid], input_shape: tuple[int, ...]) -> dict[str, int]:
    """Bits of the activations that each Linear and Conv layer reads, by the name of its weight tensor; a layer that
    reads float32 is left out, and one that is used at several places has the most of them.
    """
    if not grids:
        return {}
    traced = trace(network)
    read = layer_inputs(traced, activation_points(traced, torch.zeros(1, *input_shape)))
    names, bits = weight_names(network), dict[str, int]()
    for weight, points in read.items():
        for point in filter(grids.__contains__, points):
            bits[names[weight]] = max(grids[point].bits, bits.get(names[weight], 0))
    return bits
