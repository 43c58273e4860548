"""Pruning of whole channels after training: what is stored is a narrower network, which any hardware runs faster.

Li et al. 2017, "Pruning Filters for Efficient ConvNets", arXiv 1608.08710: a filter counts as much as the sum of its
absolute weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

from edgepress.datasets import Prepared
from edgepress.encodings import Dense
from edgepress.graph import UntraceableError
from edgepress.levels import Level, asked
from edgepress.methods import Method, must_come_first
from edgepress.networks import compressible, hidden, inference_state
from edgepress.packing import Compressed
from edgepress.widths import ChannelGroup, channel_groups, narrowed

METHODS = {
    "channels_l1": {
        "object": "Channels",
        "about": "the channels of least L1 norm are taken out of every layer, which leaves a narrower network",
        "family": "channels",
        "sweep": "sparsity",
        "options": {"score": "l1", "pattern": "channel"},
        "examples": True,
        "first": True,
    },
}


def weights_left(sizes: Mapping[str, int], groups: Sequence[ChannelGroup], widths: Sequence[int]) -> int:
    """The weights of hidden layers, ``sizes`` of them by name, once each group has as many channels as ``widths``."""
    shares: dict[str, list[tuple[int, int]]] = {name: [] for name in sizes}
    for group, width in zip(groups, widths, strict=True):
        for side in group.sides:
            shares.get(side.tensor, []).append((width, group.channels))

    def left(name: str) -> int:
        kept, channels = (prod(part[side] for part in shares[name]) for side in (0, 1))
        return sizes[name] * kept // channels

    return sum(map(left, shares))


def hidden_sizes(network: nn.Module) -> dict[str, int]:
    """The number of weights of each hidden layer, by the name of its weights."""
    return {name: network.get_parameter(name).numel() for name in hidden(network)}


def widths_for(sizes: Mapping[str, int], groups: Sequence[ChannelGroup], sparsity: float) -> list[int]:
    """The channels that each group keeps, one at least, for the share ``sparsity`` of hidden weights to go.

    The same share of channels goes in every group: the one, of all that differ, that comes nearest. ``sizes`` are
    those of ``hidden_sizes``, whose network is traced for them: once, not for each share.
    """

    def widths(share: float) -> list[int]:
        return [max(1, group.channels - int(share * group.channels + 1e-9)) for group in groups]

    shares = sorted({removed / group.channels for group in groups for removed in range(group.channels)})
    wanted = (1 - sparsity) * weights_left(sizes, groups, widths(0.0))
    return min(map(widths, shares), key=lambda widths: abs(weights_left(sizes, groups, widths) - wanted))


def norms(group: ChannelGroup, weights: dict[str, Tensor]) -> Tensor:
    """The L1 norm of each channel of a group, over the ``weights`` that compute it; shape (channels,)."""
    sides = [side for side in group.sides if side.dim == 0 and side.tensor in weights]
    norms = (weights[side.tensor].abs().reshape(group.channels, -1).sum(dim=1) for side in sides)
    return sum(norms, start=torch.zeros(group.channels))


@dataclass(frozen=True)
class Channels(Method):
    """Take the same share of channels, those of least L1 norm, out of every group of channels that go together.

    Levels are shares of the hidden weights, as in other pruning, not of channels: without half of its channels, a
    layer between two others has a quarter of its weights. Each group keeps one channel at least.
    """

    def skip(self, network: nn.Module, data: Prepared, level: Level) -> str | None:
        try:
            groups = channel_groups(network, data.input_shape)
        except UntraceableError as error:
            return str(error)
        if not groups:
            return "it has no channels that can be taken out"
        sizes = hidden_sizes(network)
        weights, least = (weights_left(sizes, groups, widths_for(sizes, groups, share)) for share in (0.0, 1.0))
        if least > (1 - asked(level.sparsity)) * weights:
            return f"the least that a channel a layer leaves is {least / weights:.1%} of the weights"
        return None

    def apply(
        self, stored: Compressed, network: nn.Module, data: Prepared, level: Level, generator: torch.Generator
    ) -> Compressed:
        must_come_first(stored, "a method that takes out channels")
        groups = channel_groups(network, data.input_shape)
        state = inference_state(network)
        weights = {name: state[name] for name in compressible(network)}
        widths = widths_for(hidden_sizes(network), groups, asked(level.sparsity))
        kept = [
            norms(group, weights).argsort(stable=True)[group.channels - width :].sort().values
            for group, width in zip(groups, widths, strict=True)
        ]
        narrow = narrowed(state, groups, kept)
        return stored.with_tensors({name: Dense(t) for name, t in narrow.items() if t is not state[name]})
