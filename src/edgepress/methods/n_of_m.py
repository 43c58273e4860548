"""Pruning in the pattern that sparse tensor cores run at twice the speed: two of every four weights (2:4 sparsity).

Mishra et al. 2021, "Accelerating Sparse Deep Neural Networks", arXiv 2104.08378.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgepress.datasets import Prepared
from edgepress.levels import Level
from edgepress.methods import Method
from edgepress.networks import hidden
from edgepress.packing import Compressed

METHODS = {
    "magnitude_2_4": {
        "object": "TwoOfFour",
        "about": "of every four weights in a row of a layer, the two smallest become 0",
        "family": "two_of_four",
        "sweep": "sparsity",
        "options": {"score": "magnitude", "pattern": "2:4"},
    },
}
GROUP, KEPT = 4, 2
SPARSITY = 1 - KEPT / GROUP


def keep_two_of_four(scores: Tensor) -> Tensor:
    """Mask out the two smallest of every four scores; True is kept, and of equal scores the first ones go.

    The groups lie along the last side of ``scores``, which must be a multiple of four long.

    >>> keep_two_of_four(torch.tensor([3.0, 1.0, 2.0, 4.0]))
    tensor([ True, False, False,  True])
    """
    groups = scores.unflatten(-1, (-1, GROUP))
    kept = groups.argsort(dim=-1, stable=True)[..., GROUP - KEPT :]
    return torch.zeros(groups.shape, dtype=torch.bool).scatter_(-1, kept, True).flatten(-2)


def in_groups(network: nn.Module) -> list[str]:
    """The weights that the pattern fits: of hidden layers whose rows, weights an output, are a multiple of four long.

    Other layers, a first convolution of nine weights an output or a depthwise one, say, stay dense.
    """
    weights = {name: network.get_parameter(name) for name in hidden(network)}
    return [name for name, weight in weights.items() if weight[0].numel() % GROUP == 0]


def why_not(network: nn.Module, level: Level) -> str | None:
    """Why the pattern does not apply at ``level``, if it does not."""
    if level.sparsity != SPARSITY:
        return "two of four weights are 50 % sparsity, no other"
    return None if in_groups(network) else "no hidden layer has rows of a multiple of four weights"


@dataclass(frozen=True)
class TwoOfFour(Method):
    """Keep the two largest of every four weights of hidden Linear and Conv layers whose rows can be so divided.

    A row is the weights of one output, in the order in which im2col lays them out: input channel, then place in the
    kernel.
    """

    def skip(self, network: nn.Module, data: Prepared, level: Level) -> str | None:
        return why_not(network, level)

    def apply(
        self, stored: Compressed, network: nn.Module, data: Prepared, level: Level, generator: torch.Generator
    ) -> Compressed:
        def pruned(name: str) -> Tensor:
            weights = stored.tensors[name].decode()
            return keep_two_of_four(weights.flatten(1).abs()).reshape(weights.shape)

        return stored.with_tensors({name: stored.tensors[name].masked(pruned(name)) for name in in_groups(network)})
