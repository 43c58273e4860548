"""Quantization-aware training: the network trains on with its weights as they will be stored.

At each step the weights are replaced by their quantized values, for the forward and the backward pass; the gradient
goes straight through to the float32 weights (Bengio et al. 2013, arXiv 1308.3432), which the optimizer updates. What
is stored in the end is the quantized network.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from edgepress.codebooks import Symmetric, least_error_steps
from edgepress.datasets import Prepared
from edgepress.encodings import PerChannel, Quantized
from edgepress.levels import Level, asked
from edgepress.methods import must_come_first
from edgepress.methods.retraining import Constraint, Retraining, straight_through
from edgepress.methods.rounding import nearest, rounded
from edgepress.networks import compressible
from edgepress.packing import Compressed

METHODS = {
    "*": {"family": "qat", "sweep": "bits", "retrains": True},
    "qat_control": {
        "object": "TrainedOn",
        "about": "trained on in float32 for as long: what training alone gives, without quantizing; the control",
        "sweep": "",
        "level": "w32",
    },
    "qat_midrise": {
        "object": "RoundingAware",
        "about": "trained on with weights at the middles of 2^b steps, as by midrise",
        "codebook": "midrise",
    },
    "qat_{rounding}_{codebook}": {
        "object": "RoundingAware",
        "about": "trained on with weights at {rounding} 2^b {codebook}",
        "rounding": {"nearest": "the nearest of", "stochastic": "either neighbour (in the file the nearest) of"},
        "codebook": {
            "uniform": "levels from the smallest weight to the largest",
            "uniform_iqr": "levels between Tukey's fences",
            "histogram": "midpoints of bins",
            "normal": "quantiles of a normal distribution",
        },
    },
    "lsq": {
        "object": "LearnedStepSize",
        "about": "trained on with weights on an even grid around 0 whose step is learned with them",
        "codebook": "symmetric",
        "options": {"scale": "learned"},
    },
    "lsq_channel": {
        "object": "LearnedStepSize",
        "about": "`lsq` with a step of its own for each output channel",
        "codebook": "symmetric",
        "granularity": "channel",
        "options": {"scale": "learned"},
    },
}
LEAST_STEP = 1e-12  # where all values are 0: the gradient of a step has its square in the denominator


class _Rounded(Constraint):
    """Weights rounded to the levels of a codebook that is fitted to them at every step.

    With a generator, training sees either neighbour, a noise that the network learns to bear; what is evaluated, and
    stored, is the nearest.
    """

    def __init__(self, codebook: str, bits: int, generator: torch.Generator | None) -> None:
        super().__init__()
        self.codebook, self.bits, self.generator = codebook, bits, generator

    def encoded(self, weights: Tensor) -> Quantized:
        return rounded(weights, self.codebook, self.bits, self.generator if self.training else None)

    def extra_repr(self) -> str:
        return f"codebook={self.codebook}, bits={self.bits}, stochastic={self.generator is not None}"

    def forward(self, weights: Tensor) -> Tensor:
        if not bool(weights.detach().isfinite().all()):
            raise ArithmeticError("training diverged: a weight is no longer finite; lower its lr")
        quantized = self.encoded(weights.detach().cpu()).decode()
        return straight_through(weights, quantized.to(weights.device))


def on_learned_grid(values: Tensor, log_step: Tensor, lowest: int, highest: int) -> Tensor:
    """``values`` at the nearest of ``lowest`` to ``highest`` steps; the gradient of the step is LSQ's.

    The step is learned as a logarithm: Adam's steps have a size of their own whatever the gradient's, and so change it
    by the same share everywhere. The paper's scale for this gradient, meant for SGD, would have no effect and is left
    out. (Esser et al. 2020, arXiv 1902.08153.)
    """
    step = log_step.exp()
    position = (values / step).clamp(lowest, highest)
    return step * straight_through(position, position.detach().round())


class _LearnedSteps(Constraint):
    """Weights rounded to step · {−2^(b−1), …, 2^(b−1) − 1}, ``steps`` learned beside the weights, as logarithms."""

    decays = False  # towards a logarithm of 0, which is a step of 1

    def __init__(self, bits: int, steps: Tensor) -> None:
        super().__init__()
        self.bits = bits
        self.lowest, self.highest = -(1 << bits - 1), (1 << bits - 1) - 1
        self.log_step = nn.Parameter(steps.log())

    def extra_repr(self) -> str:
        return f"bits={self.bits}"

    def forward(self, weights: Tensor) -> Tensor:
        return on_learned_grid(weights, self.log_step, self.lowest, self.highest)


class LearnedGrid(_LearnedSteps):
    """One step for all weights of a layer, from that of least squared error.

    The paper starts at 2·mean|w|/√(2^(b−1) − 1). For normal weights that is 1.5 times as coarse at 2 bits, but 4.5
    times at 8, further than the step moves in a short training.
    """

    def __init__(self, weights: Tensor, bits: int) -> None:
        steps = least_error_steps(weights.detach().reshape(1, -1), bits)
        super().__init__(bits, steps.clamp_min(LEAST_STEP).reshape(()))

    def encoded(self, weights: Tensor) -> Quantized:
        codebook = Symmetric(self.bits, self.log_step.detach().cpu().exp().reshape(1))
        return Quantized(nearest(codebook, weights), codebook)


class LearnedChannels(_LearnedSteps):
    """One learned scale per output channel, initialized to the scale of least squared error."""

    def __init__(self, weights: Tensor, bits: int) -> None:
        steps = least_error_steps(weights.detach().flatten(1), bits).clamp_min(LEAST_STEP)
        super().__init__(bits, steps.reshape(-1, *[1] * (weights.dim() - 1)))

    def encoded(self, weights: Tensor) -> PerChannel:
        steps = self.log_step.detach().cpu().exp().reshape(-1, 1)
        return PerChannel.of(weights, [Symmetric(self.bits, step) for step in steps])


@dataclass(frozen=True)
class TrainedOn(Retraining):
    """Train the network on as the others of its family do, with weights in float32.

    The others train for more epochs than the network that they are compared with. What they gain beyond this control is
    due to training with quantized weights, not to training longer.
    """

    def apply(
        self, stored: Compressed, network: nn.Module, data: Prepared, level: Level, generator: torch.Generator
    ) -> Compressed:
        must_come_first(stored, "a method that fine-tunes the network")
        return self.retrained(network, {}, data, generator)


@dataclass(frozen=True)
class _QuantizationAware(Retraining):
    """Train the network on while the weights of its Linear and Conv layers are seen as they will be stored.

    Biases and norms stay float32 and train along; what is shipped has the norms in the steps (``folding``).
    ``training`` says how, ``checkpoints`` where it is kept.
    """

    @abstractmethod
    def constraint(self, weights: Tensor, bits: int, generator: torch.Generator) -> Constraint:
        """What stands between the float32 weights of a layer and the layer."""

    def apply(
        self, stored: Compressed, network: nn.Module, data: Prepared, level: Level, generator: torch.Generator
    ) -> Compressed:
        must_come_first(stored, "quantization-aware training")
        weights = {name: network.get_parameter(name) for name in compressible(network)}
        constraints = {name: self.constraint(weight, asked(level.bits), generator) for name, weight in weights.items()}
        return self.retrained(network, constraints, data, generator)


@dataclass(frozen=True)
class RoundingAware(_QuantizationAware):
    """Rounding to a codebook, at every step of the training (Jacob et al. 2018, arXiv 1712.05877)."""

    codebook: str
    rounding: Literal["nearest", "stochastic"] = field(default="nearest", kw_only=True)

    def constraint(self, weights: Tensor, bits: int, generator: torch.Generator) -> Constraint:
        return _Rounded(self.codebook, bits, generator if self.rounding == "stochastic" else None)


@dataclass(frozen=True)
class LearnedStepSize(_QuantizationAware):
    """LSQ (Esser et al. 2020, arXiv 1902.08153): the step of the grid of each layer, or of each of its output
    channels, is learned with the weights.
    """

    granularity: Literal["tensor", "channel"] = field(default="tensor", kw_only=True)

    def skip(self, network: nn.Module, data: Prepared, level: Level) -> str | None:
        return "a learned step needs 2 bits or more" if asked(level.bits) < 2 else None

    def constraint(self, weights: Tensor, bits: int, generator: torch.Generator) -> Constraint:
        return LearnedChannels(weights, bits) if self.granularity == "channel" else LearnedGrid(weights, bits)
