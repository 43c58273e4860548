"""Quantization-aware training of weights and activations together, all of their steps learned."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgepress.activations import ActivationGrid, with_quantized_activations
from edgepress.codebooks import Symmetric, least_error_steps
from edgepress.datasets import Prepared
from edgepress.encodings import PerChannel
from edgepress.levels import Level, asked
from edgepress.methods import must_come_first
from edgepress.methods.activations import QuantizedActivations
from edgepress.methods.qat import on_learned_grid
from edgepress.methods.retraining import Constraint, Retraining
from edgepress.networks import compressible
from edgepress.packing import Compressed

METHODS = {
    "lsq_activations": {
        "object": "LearnedSteps",
        "about": "trained on with weights and activations on even grids whose steps are learned with them",
        "family": "qat_activations",
        "sweep": "bits+act_bits",
        "retrains": True,
        "folded": True,
    },
}
_CALIBRATION = QuantizedActivations("mse")


class _LearnedChannels(Constraint):
    """Weights on symmetric grids, a step an output channel, each learned as a logarithm."""

    def __init__(self, weights: Tensor, bits: int) -> None:
        super().__init__()
        self.bits, self.levels = bits, (-(1 << bits - 1), (1 << bits - 1) - 1)
        steps = least_error_steps(weights.detach().flatten(1), bits)
        sides = [-1, *[1] * (weights.dim() - 1)]
        self.log_steps = nn.Parameter(steps.clamp_min(torch.finfo(torch.float32).tiny).log().reshape(sides))

    def encoded(self, weights: Tensor) -> PerChannel:
        steps = self.log_steps.detach().cpu().exp().reshape(-1, 1)
        return PerChannel.of(weights, [Symmetric(self.bits, step) for step in steps])

    def extra_repr(self) -> str:
        return f"bits={self.bits}"

    def forward(self, weights: Tensor) -> Tensor:
        return on_learned_grid(weights, self.log_steps, *self.levels)


class _LearnedActivation(nn.Module):
    """Puts values on a grid whose step is learned, as a logarithm; where 0 lies on it stays."""

    def __init__(self, grid: ActivationGrid) -> None:
        super().__init__()
        self.start = grid
        self.log_step = nn.Parameter(torch.tensor(grid.step).log())

    def extra_repr(self) -> str:
        return f"{self.start}"

    def forward(self, values: Tensor) -> Tensor:
        if not self.training:  # as in the file
            return self.start.with_step(self.log_step.exp()).quantize(values)
        zero = self.start.zero_point
        return on_learned_grid(values.float(), self.log_step, -zero, self.start.highest - zero)


@dataclass(frozen=True)
class LearnedSteps(Retraining):
    """LSQ (Esser et al. 2020, arXiv 1902.08153) of weights, a step an output channel, and activations, a step each.

    Steps of weights start at the least squared error, those of activations where ``activations_mse`` puts them, with
    its bits and zero points. The network is trained as it is shipped, BatchNorm folded: what is quantized then is what
    is stored, and integers compute it.
    """

    def skip(self, network: nn.Module, data: Prepared, level: Level) -> str | None:
        if min(asked(level.bits), asked(level.act_bits)) < 2:
            return "a learned step needs 2 bits or more"
        return _CALIBRATION.skip(network, data, level)

    def apply(
        self, stored: Compressed, network: nn.Module, data: Prepared, level: Level, generator: torch.Generator
    ) -> Compressed:
        must_come_first(stored, "quantization-aware training")
        grids = _CALIBRATION.apply(stored, network, data, level, generator).activations
        learning = with_quantized_activations(network, grids)
        for point, grid in grids.items():
            learning.set_submodule(f"quantize_{point}", _LearnedActivation(grid))
        bits = asked(level.bits)
        constraints = {name: _LearnedChannels(network.get_parameter(name), bits) for name in compressible(network)}
        trained = self.retrained(learning, constraints, data, generator).tensors
        steps = {point: trained[f"quantize_{point}.log_step"].decode().exp() for point in grids}
        return Compressed(
            {name: trained[name] for name in stored.tensors},
            {point: grid.with_step(steps[point]) for point, grid in grids.items()},
        )
