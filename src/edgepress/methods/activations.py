"""Quantized activations after training: ranges from calibration data, a grid for each value between layers.

Such a method leaves weights alone. In a chain it comes first, ``[activations_mse, gptq]`` say: then a method that looks
at the inputs of layers sees them quantized.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from edgepress.activations import ActivationGrid
from edgepress.datasets import Prepared
from edgepress.graph import UntraceableError, activation_points, layer_inputs, trace
from edgepress.levels import Level, asked
from edgepress.methods import Method, calibration_inputs
from edgepress.packing import Compressed

METHODS = {
    "activations_minmax": {
        "object": "QuantizedActivations",
        "about": "activations on a grid from the smallest to the largest value seen in calibration",
        "family": "activations",
        "sweep": "act_bits",
        "examples": True,
        "args": {"ranges": "minmax"},
    },
    "activations_percentile": {
        "object": "QuantizedActivations",
        "about": "activations on a grid that leaves out the outermost .01 % of the values seen in calibration",
        "family": "activations",
        "sweep": "act_bits",
        "examples": True,
        "args": {"ranges": "percentile"},
    },
    "activations_mse": {
        "object": "QuantizedActivations",
        "about": "activations on the grid of least mean squared error on the values seen in calibration",
        "family": "activations",
        "sweep": "act_bits",
        "examples": True,
        "args": {"ranges": "mse"},
    },
    "activations_mse_adds": {
        "object": "QuantizedActivations",
        "about": "`activations_mse` with what is only added or averaged in the bits of the level, too, and not in 8",
        "family": "activations",
        "sweep": "act_bits",
        "examples": True,
        "args": {"ranges": "mse", "add_bits": 1},
    },
}
_OTHER_BITS = 8  # at least, of the network's input, as cameras deliver it, and of what is only added or averaged
_BINS = 1 << 14
_CANDIDATES = 100


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


RANGES: dict[str, Callable[[Tensor, int], ActivationGrid]] = {"minmax": minmax, "percentile": percentile, "mse": mse}


class _Calibration(fx.Interpreter):
    """Runs a network and puts each activation on a grid as soon as it is computed, so that what comes after is
    calibrated on what it will get."""

    def __init__(self, network: nn.Module, fit: Callable[[Tensor, int], ActivationGrid], add_bits: int) -> None:
        self.traced = trace(network)
        super().__init__(self.traced)
        self.fit, self.add_bits = fit, add_bits

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
        least = 1 if n.name in self.multiplied else self.add_bits
        self.found[n.name] = grid = self.fit(value, _OTHER_BITS if n.op == "placeholder" else least)
        return grid.quantize(value)


@dataclass(frozen=True)
class QuantizedActivations(Method):
    """Hold every value between layers as an integer: per tensor, unsigned after a ReLU, otherwise affine.

    ``rows`` rows of the training data, evenly spread, say in what range the values lie. What layers multiply has the
    bits of the level; what is only added or averaged has at least ``add_bits``, the network's input at least 8, and its
    output is not quantized. (Jacob et al. 2018, arXiv 1712.05877; Nagel et al. 2021, arXiv 2106.08295.)
    """

    ranges: str
    rows: int = 256
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
        bits = asked(level.act_bits)

        def fit(values: Tensor, least: int) -> ActivationGrid:
            return RANGES[self.ranges](values, max(bits, least))

        return stored.with_activations(
            _Calibration(network, fit, self.add_bits).grids(calibration_inputs(data, self.rows))
        )
