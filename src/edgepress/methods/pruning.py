"""Removing weights after training, without fine-tuning: the smallest ones, or any, as the control."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from edgepress.datasets import Prepared
from edgepress.levels import Level
from edgepress.methods import Method
from edgepress.networks import hidden
from edgepress.packing import Compressed

METHODS = {
    "*": {"object": "Pruning", "family": "pruning", "sweep": "sparsity"},
    "magnitude": {
        "about": "the smallest weights of each layer become 0",
        "args": {"score": "magnitude", "scope": "layer"},
    },
    "magnitude_global": {
        "about": "the smallest weights of the whole network become 0",
        "args": {"score": "magnitude", "scope": "network"},
    },
    "random": {
        "about": "weights chosen at random become 0: the control",
        "stochastic": True,
        "args": {"score": "random", "scope": "layer"},
    },
}


def keep_largest(scores: Tensor, sparsity: float) -> Tensor:
    """Mask out the share ``sparsity`` of entries, by count, whose scores are smallest; True is kept.

    Exactly round(sparsity · entries) are masked out; among equal scores the first ones go.

    >>> keep_largest(torch.tensor([0.3, 0.1, 0.2, 0.5]), sparsity=0.5)
    tensor([ True, False, False,  True])
    """
    flat = scores.reshape(-1)
    removed = round(sparsity * flat.numel())
    if not removed:
        return torch.ones_like(scores, dtype=torch.bool)
    largest = float(np.partition(flat.detach().cpu().numpy(), removed - 1)[removed - 1])
    mask = ~(flat < largest)
    equal = (flat == largest).nonzero().reshape(-1)
    mask[equal[: removed - (flat.numel() - int(mask.count_nonzero()))]] = False
    return mask.reshape(scores.shape)


@dataclass(frozen=True)
class Pruning(Method):
    """Mask out weights of Linear and Conv layers, but for the output layer; kept ones stay as they are stored."""

    score: Literal["magnitude", "random"]
    scope: Literal["layer", "network"]

    def apply(
        self, stored: Compressed, network: nn.Module, data: Prepared, level: Level, generator: torch.Generator
    ) -> Compressed:
        tensors = {name: stored.tensors[name] for name in hidden(network)}
        scores = {name: self._scores(tensor.decode(), generator) for name, tensor in tensors.items()}
        masks = self._masks(scores, level.sparsity or 0.0)
        return stored.with_tensors({name: tensors[name].masked(mask) for name, mask in masks.items()})

    def _scores(self, weights: Tensor, generator: torch.Generator) -> Tensor:
        return weights.abs() if self.score == "magnitude" else torch.rand(weights.shape, generator=generator)

    def _masks(self, scores: dict[str, Tensor], sparsity: float) -> dict[str, Tensor]:
        if self.scope == "layer" or not scores:
            return {name: keep_largest(score, sparsity) for name, score in scores.items()}
        flat = keep_largest(torch.cat([score.reshape(-1) for score in scores.values()]), sparsity)
        parts = flat.split([score.numel() for score in scores.values()])
        return {n: part.reshape(score.shape) for part, (n, score) in zip(parts, scores.items(), strict=True)}
