"""Pruning, then training on with what is left (Han et al. 2015, arXiv 1506.02626)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgepress.datasets import Prepared
from edgepress.encodings import Dense, Encoding
from edgepress.levels import Level
from edgepress.methods import Method, must_come_first
from edgepress.methods.channels import Channels
from edgepress.methods.n_of_m import TwoOfFour
from edgepress.methods.obs import OptimalBrainSurgeon
from edgepress.methods.pruning import Pruning
from edgepress.methods.retraining import Constraint, Retraining
from edgepress.networks import compressible
from edgepress.packing import Compressed

METHODS = {
    "{pruning}_finetuned": {
        "object": "Finetuned",
        "about": "trained on without the {pruning}",
        "family": "finetuning",
        "sweep": "sparsity",
        "retrains": True,
        "args": {
            "pruning": {
                "magnitude": "smallest weights of the whole network",
                "obs": "weights that obs_global removes, from what it makes of the others",
                "magnitude_2_4": "two smallest of every four weights in a row",
                "channels_l1": "channels of least L1 norm",
            },
        },
    },
}
_PRUNING: dict[str, Method] = {
    "magnitude": Pruning(score="magnitude", scope="network"),
    "obs": OptimalBrainSurgeon(pattern="any", scope="network"),
    "magnitude_2_4": TwoOfFour(),
    "channels_l1": Channels(),
}


class _Masked(Constraint):
    """Weights of which those that a mask does not keep are 0, and stay so."""

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def encoded(self, weights: Tensor) -> Encoding:
        return Dense(weights).masked(self.mask.cpu())

    def forward(self, weights: Tensor) -> Tensor:
        return weights * self.mask


@dataclass(frozen=True)
class Finetuned(Retraining):
    """Prune as ``pruning`` says, then train on; what is gone stays gone."""

    pruning: str

    def skip(self, network: nn.Module, data: Prepared, level: Level) -> str | None:
        return _PRUNING[self.pruning].skip(network, data, level)

    def apply(
        self, stored: Compressed, network: nn.Module, data: Prepared, level: Level, generator: torch.Generator
    ) -> Compressed:
        must_come_first(stored, "a method that fine-tunes the network")
        pruned = _PRUNING[self.pruning].apply(stored, network, data, level, generator)
        network = pruned.rebuild(network)
        masks = {name: pruned.tensors[name].mask for name in compressible(network)}
        constraints = {name: _Masked(mask) for name, mask in masks.items() if mask is not None}
        return self.retrained(network, constraints, data, generator)
