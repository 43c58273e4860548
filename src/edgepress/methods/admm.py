"""Pruning and quantizing together, by training: the alternating direction method of multipliers (ADMM).

Ye et al. 2018, "A Unified Framework of DNN Weight Pruning and Weight Clustering/Quantization Using ADMM", arXiv
1811.01907. Training pulls the weights W towards Z, what they would be if stored, and an error U that adds up:

    W ← a step down on loss(W) + ρ/2 · ‖W − Z + U‖²   each step
    Z ← the projection of W + U                       each epoch
    U ← U + W − Z                                     each epoch

where the projection keeps the largest weights of a layer and rounds them to the levels of a codebook. Then, as in the
paper, the weights are projected, the mask stays, and the rest trains on, rounded at every step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from edgepress.datasets import Prepared
from edgepress.encodings import Dense, Encoding, Sparse
from edgepress.levels import Level, asked
from edgepress.methods import must_come_first
from edgepress.methods.pruning import keep_largest
from edgepress.methods.retraining import Constraint, Retraining, straight_through
from edgepress.methods.rounding import rounded
from edgepress.networks import compressible, output_weight
from edgepress.packing import Compressed
from edgepress.target_scale import TargetScale

METHODS = {
    "admm": {
        "object": "AlternatingDirections",
        "about": "pruned and quantized together: trained towards weights that are 0 or on 2^b evenly spaced levels",
        "family": "admm",
        "sweep": "bits+sparsity",
        "retrains": True,
        "codebook": "uniform",
        "options": {"solver": "admm"},
    },
}


def projected(weights: Tensor, sparsity: float, codebook: str, bits: int) -> Sparse:
    """The nearest tensor that can be stored: the share ``sparsity`` of the weights 0, the others on a codebook.

    The codebook is fitted to those that are kept. ``weights`` is on the CPU.
    """
    return on_codebook(weights, keep_largest(weights.abs(), sparsity), codebook, bits)


def on_codebook(weights: Tensor, mask: Tensor, codebook: str, bits: int) -> Sparse:
    """What ``mask`` keeps of ``weights``, rounded to the nearest level of a codebook fitted to it."""
    kept = weights[mask]
    return Sparse(mask, rounded(kept, codebook, bits) if kept.numel() else Dense(kept))


class _Pulled(torch.autograd.Function):
    """The weights as they are; backward, the gradient of the pull is added to theirs."""

    @staticmethod
    def forward(ctx: Any, weights: Tensor, pull: Tensor) -> Tensor:
        ctx.pull = pull
        return weights.view_as(weights)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient + ctx.pull, None


class _Alternating(Constraint):
    """Weights W that are pulled towards what they would be if stored, and are seen so when the network is evaluated.

    Z and U are brought up to date when the network is first evaluated after steps of training, which is each epoch.
    """

    target: Tensor
    dual: Tensor
    stored: Tensor

    def __init__(self, weights: Tensor, sparsity: float, codebook: str, bits: int, rho: float) -> None:
        super().__init__()
        self.sparsity, self.codebook, self.bits, self.rho = sparsity, codebook, bits, rho
        self.stepped = False
        self.register_buffer("target", self.encoded(weights.detach()).decode())  # Z
        self.register_buffer("dual", torch.zeros_like(weights))  # U
        self.register_buffer("stored", self.target.clone())  # W as it would be stored
        self.eval()  # until the network trains: registering calls it once

    def encoded(self, weights: Tensor) -> Encoding:
        return projected(weights, self.sparsity, self.codebook, self.bits)

    def extra_repr(self) -> str:
        return f"sparsity={self.sparsity}, codebook={self.codebook}, bits={self.bits}, rho={self.rho}"

    def forward(self, weights: Tensor) -> Tensor:
        if self.training:
            self.stepped = True
            pull = self.rho * (weights.detach() - self.target + self.dual)
            pulled: Tensor = _Pulled.apply(weights, pull)  # type: ignore[no-untyped-call] # torch makes it
            return pulled
        if self.stepped:
            self._update(weights.detach())
        return self.stored

    def _update(self, weights: Tensor) -> None:
        if not bool(weights.isfinite().all()):
            raise ArithmeticError("training diverged: a weight is no longer finite; lower its lr")
        self.target.copy_(self.encoded((weights + self.dual).cpu().contiguous()).decode())
        self.dual += weights - self.target
        self.stored.copy_(self.encoded(weights.cpu().contiguous()).decode())
        self.stepped = False


class _MaskedAndRounded(Constraint):
    """Weights of which a mask keeps some, at the levels of a codebook that is fitted to these at every step."""

    mask: Tensor

    def __init__(self, mask: Tensor, codebook: str, bits: int) -> None:
        super().__init__()
        self.codebook, self.bits = codebook, bits
        self.register_buffer("mask", mask)

    def encoded(self, weights: Tensor) -> Encoding:
        return on_codebook(weights, self.mask.cpu(), self.codebook, self.bits)

    def extra_repr(self) -> str:
        return f"codebook={self.codebook}, bits={self.bits}"

    def forward(self, weights: Tensor) -> Tensor:
        if not bool(weights.detach().isfinite().all()):
            raise ArithmeticError("training diverged: a weight is no longer finite; lower its lr")
        stored = self.encoded(weights.detach().cpu()).decode().to(weights.device)
        return straight_through(weights * self.mask, stored)


@dataclass(frozen=True)
class AlternatingDirections(Retraining):
    """Prune hidden Linear and Conv layers and quantize all of them, by ADMM and then training on under the mask.

    The two share the epochs of ``training``, the first getting the odd one. ``rho`` is the strength of the pull.
    """

    codebook: str
    rho: float = 1e-2

    def apply(
        self, stored: Compressed, network: nn.Module, data: Prepared, level: Level, generator: torch.Generator
    ) -> Compressed:
        must_come_first(stored, "a method that fine-tunes the network")
        weights = {name: network.get_parameter(name) for name in compressible(network)}
        bits, shares = asked(level.bits), dict.fromkeys(weights, asked(level.sparsity))
        shares[output_weight(network)] = 0.0
        scale = TargetScale.of(data, network)  # weights larger by a scale have gradients smaller by it
        alternating = {
            name: _Alternating(weight, shares[name], self.codebook, bits, self.rho / scale.scale_of(name) ** 2)
            for name, weight in weights.items()
        }
        half = self.training.max_epochs // 2
        pulled = self.retrained(network, alternating, data, generator, self.training.max_epochs - half)
        masks = {name: pulled.tensors[name].mask for name in weights}
        kept = {name: _MaskedAndRounded(mask, self.codebook, bits) for name, mask in masks.items() if mask is not None}
        return self.retrained(pulled.rebuild(network), kept, data, generator, max(1, half))
