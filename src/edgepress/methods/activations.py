"""Quantized activations after training: ranges from calibration data, a grid for each value between layers.

Such a method leaves weights alone. In a chain it comes first, ``[activations_mse, gptq]`` say: then a method that looks
at the inputs of layers sees them quantized.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, fx, nn

from edgepress.activations import ActivationGrid
from edgepress.datasets import Prepared
from edgepress.graph import UntraceableError, activation_points, layer_inputs, operation, trace
from edgepress.levels import Level, asked
from edgepress.methods import Method, calibration_inputs
from edgepress.packing import Compressed

METHODS = {
    "*": {"object": "QuantizedActivations", "family": "activations", "sweep": "act_bits", "examples": True},
    "activations_{ranges}": {
        "about": "activations on {ranges}",
        "args": {
            "ranges": {
                "minmax": "a grid from the smallest to the largest value seen in calibration",
                "percentile": "a grid that leaves out the outermost .01 % of the values seen in calibration",
                "mse": "the grid of least mean squared error on the values seen in calibration",
            },
        },
    },
    "activations_mse_adds": {
        "about": "`activations_mse` with what is only added or averaged in the bits of the level, too, and not in 8",
        "args": {"ranges": "mse", "add_bits": 1},
    },
}
_OTHER_BITS = 8  # at least, of the network's input, as cameras deliver it, and of what is only added or averaged
_BINS = 1 << 14
_CANDIDATES = 100
_APART = 10  # times as large as all other values, and
_VANISHING = 50.0  # away from them, is a mask: a softmax gives exp(−50) of a place, which is nothing in float32
_MASK_VALUES = 8  # at most, told apart as coarsely as the other values are wide
_FILLS = ("masked_fill", "masked_fill_", torch.masked_fill, "where", torch.where)


def minmax(values: Tensor, bits: int) -> ActivationGrid:
    """From the smallest value to the largest."""
    low, high = torch.aminmax(values)
    return ActivationGrid.between(float(low), float(high), bits)


def percentile(values: Tensor, bits: int, outside: float = 1e-4) -> ActivationGrid:
    """Without the share ``outside`` of the values, half of it at each end, or all above where none is negative."""
    centres, counts = _histogram(values)
    share = counts.cumsum(0) / counts.sum()
    low_end = 0.0 if float(values.min()) >= 0 else outside / 2
    low, high = (
        centres[torch.searchsorted(share, end).clamp(max=_BINS - 1)] for end in (low_end, 1 - outside + low_end)
    )
    return ActivationGrid.between(float(low), float(high), bits)


def mse(values: Tensor, bits: int) -> ActivationGrid:
    """Of 100 grids, between ever narrower shares of the extremes, the one of least squared error."""
    low, high = (float(end) for end in torch.aminmax(values))
    shares = (place / _CANDIDATES for place in range(_CANDIDATES, 0, -1))
    grids = [ActivationGrid.between(low * share, high * share, bits) for share in shares]
    centres, counts = _histogram(values)
    return min(grids, key=lambda grid: float((grid.quantize(centres) - centres).square_() @ counts))


def _histogram(values: Tensor) -> tuple[Tensor, Tensor]:
    """The centres of equal bins from the smallest value to the largest, and how many values each one holds."""
    low, high = (float(end) for end in torch.aminmax(values))
    width = (high - low) / _BINS
    return low + width * (torch.arange(_BINS) + 0.5), torch.histc(values, _BINS, low, high)


def masked_from(values: Tensor, finite: bool = True) -> float | None:
    """The magnitude from which ``values``, of any shape, are masks, or None where none is.

    Masks stand for "nothing here", as before a softmax: infinities, and, where ``finite``, a few numbers that lie far
    beyond all others, −1e9 or the lowest float, say; scores that they were added to may spread them a little. Raises
    ArithmeticError where a value is NaN.
    """
    if bool(values.isnan().any()):
        raise ArithmeticError("values are NaN")
    infinite = bool(values.isinf().any())
    magnitudes = values[values.isfinite()].abs() if infinite else values.abs()
    if finite and magnitudes.numel() and float(magnitudes.max()) >= _VANISHING:
        magnitudes = magnitudes.double().unique()
        below, above = magnitudes[:-1], magnitudes[1:]
        gaps = (above - below >= (_APART * below).clamp(min=_VANISHING)) & (below > 0)
        for place in gaps.nonzero().flatten().tolist():
            if (above[place:] / below[place]).round().unique().numel() <= _MASK_VALUES:
                return float((below[place] + above[place]) / 2)
    return torch.finfo(torch.float32).max if infinite else None


RANGES: dict[str, Callable[[Tensor, int], ActivationGrid]] = {"minmax": minmax, "percentile": percentile, "mse": mse}


class _Calibration(fx.Interpreter):
    """Runs a network and puts each activation on a grid as soon as it is computed, so that what comes after is
    calibrated on what it will get."""

    def __init__(
        self, network: nn.Module, ranges: Callable[[Tensor, int], ActivationGrid], bits: int, add_bits: int
    ) -> None:
        self.traced = trace(network)
        super().__init__(self.traced)
        self.extra_traceback = False  # an error here says itself where it is from
        self.ranges, self.bits, self.add_bits = ranges, bits, add_bits

    @torch.no_grad()
    def grids(self, inputs: Tensor) -> dict[str, ActivationGrid]:
        self.points = activation_points(self.traced, inputs[:1])
        self.multiplied = {name for names in layer_inputs(self.traced, self.points).values() for name in names}
        self.found: dict[str, ActivationGrid] = {}
        self.run(inputs)
        return self.found

    def run_node(self, n: fx.Node) -> object:
        value = super().run_node(n)
        if n not in self.points:
            return value
        assert isinstance(value, Tensor)  # as points are
        self.found[n.name] = grid = self._fit(n, value.float())
        return grid.quantize(value)

    def _fit(self, node: fx.Node, values: Tensor) -> ActivationGrid:
        multiplied = node.op != "placeholder" and node.name in self.multiplied
        fills = self._fills(node)
        values = torch.cat([values.flatten(), *fills]) if fills else values
        try:
            masks = masked_from(values, finite=not multiplied or bool(fills))
        except ArithmeticError as error:
            raise ArithmeticError(f"of '{node.name}', an activation, {error} on the calibration data") from None
        if masks is not None:
            filled = [self.found[each.name] for each in node.all_input_nodes if fills and each.name in self.found]
            if len(filled) == 1:  # all but the masks lie on that grid already
                return replace(filled[0], masked_from=masks)
            values = values[values.abs() < masks]
        least = _OTHER_BITS if node.op == "placeholder" else 1 if multiplied else self.add_bits
        bits = max(self.bits, least)
        return replace(self.ranges(values if values.numel() else torch.zeros(1), bits), masked_from=masks)

    def _fills(self, node: fx.Node) -> list[Tensor]:
        """The numbers that a node puts in some places, whether or not the calibration data have such places."""
        if not node.op.startswith("call") or operation(node, self.traced) not in _FILLS:
            return []
        args, options = self.fetch_args_kwargs_from_env(node)
        given = [
            torch.as_tensor(value) for value in (*args, *options.values()) if isinstance(value, float | int | Tensor)
        ]
        return [value.reshape(1).float() for value in given if value.numel() == 1 and value.dtype != torch.bool]


@dataclass(frozen=True)
class QuantizedActivations(Method):
    """Hold every value between layers as an integer: per tensor, unsigned after a ReLU, otherwise affine.

    The calibration data say in what range the values lie. What layers multiply has the bits of the level; what is only
    added or averaged has at least ``add_bits``, the network's input at least 8, and its output is not quantized. Masks
    have no range and stay (``masked_from``).

    (Jacob et al. 2018, arXiv 1712.05877; Nagel et al. 2021, arXiv 2106.08295.)
    """

    ranges: str
    add_bits: int = _OTHER_BITS

    def skip(self, network: nn.Module, data: Prepared, level: Level) -> str | None:
        try:
            trace(network)
        except UntraceableError as error:
            return str(error)
        return None

    def apply(
        self, stored: Compressed, network: nn.Module, data: Prepared, level: Level, generator: torch.Generator
    ) -> Compressed:
        calibration = _Calibration(network, RANGES[self.ranges], asked(level.act_bits), self.add_bits)
        return stored.with_activations(calibration.grids(calibration_inputs(data)))
