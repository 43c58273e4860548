"""Quantization-aware training of weights and activations together, all of their steps learned."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgepress.activations import ActivationGrid, with_quantized_activations
from edgepress.datasets import Prepared
from edgepress.levels import Level, asked
from edgepress.methods.equalization import EqualizedActivations
from edgepress.methods.layer_by_layer import needs_called_layers
from edgepress.methods.qat import LEAST_STEP, LearnedChannels, on_learned_grid
from edgepress.methods.retraining import Retraining
from edgepress.networks import compressible
from edgepress.packing import Compressed

METHODS = {
    "lsq_activations": {
        "object": "LearnedSteps",
        "about": "trained on with weights and activations on even grids whose steps are learned with them",
        "family": "qat_activations",
        "sweep": "bits+act_bits",
        "codebook": "symmetric",
        "granularity": "channel",
        "options": {"scale": "learned", "activations": "learned"},
        "retrains": True,
        "folded": True,
    },
}
_START = EqualizedActivations("mse")


class _LearnedActivation(nn.Module):
    """Puts values on a grid whose step is learned, as a logarithm; where 0 lies on it stays."""

    decays = False

    def __init__(self, grid: ActivationGrid) -> None:
        super().__init__()
        self.start = grid
        self.log_step = nn.Parameter(torch.tensor(max(grid.step, LEAST_STEP)).log())

    def extra_repr(self) -> str:
        return f"{self.start}"

    def forward(self, values: Tensor) -> Tensor:
        if not self.training:  # as in the file
            return self.start.with_step(self.log_step.exp()).quantize(values)
        zero, masks = self.start.zero_point, self.start.is_mask(values)
        kept = values if masks is None else values.masked_fill(masks, 0)
        shown = on_learned_grid(kept.float(), self.log_step, -zero, self.start.highest - zero)
        return shown if masks is None else torch.where(masks, values, shown)


@dataclass(frozen=True)
class LearnedSteps(Retraining):
    """LSQ (Esser et al. 2020, arXiv 1902.08153) with one scale per output channel of weights and one per activation.

    The start is ``activations_equalized``: its weights, at the steps of least squared error, and its grids, of which
    bits and zero points stay. The network is trained as it is shipped, BatchNorm folded: what is quantized then is
    what is stored, and integers compute it.
    """

    def skip(self, network: nn.Module, data: Prepared, level: Level) -> str | None:
        if min(asked(level.bits), asked(level.act_bits)) < 2:
            return "a learned step needs 2 bits or more"
        return _START.skip(network, data, level) or needs_called_layers(network)

    def apply(
        self, stored: Compressed, network: nn.Module, data: Prepared, level: Level, generator: torch.Generator
    ) -> Compressed:
        start = _START.apply(stored, network, data, level, generator)
        network, grids = start.with_activations({}).rebuild(network), start.activations
        learning = with_quantized_activations(network, grids)
        for point, grid in grids.items():
            learning.set_submodule(f"quantize_{point}", _LearnedActivation(grid))
        bits = asked(level.bits)
        constraints = {name: LearnedChannels(network.get_parameter(name), bits) for name in compressible(network)}
        trained = self.retrained(learning, constraints, data, generator).tensors
        steps = {point: trained[f"quantize_{point}.log_step"].decode().exp() for point in grids}
        learned = start.with_tensors({name: trained[name] for name in stored.tensors if name in trained})
        return learned.with_activations({point: grid.with_step(steps[point]) for point, grid in grids.items()})
