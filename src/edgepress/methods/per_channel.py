"""Rounding after training with a codebook for each output channel: its weights alone say what range it covers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from edgepress import codebooks
from edgepress.datasets import Prepared
from edgepress.encodings import Encoding, PerChannel
from edgepress.levels import Level, asked
from edgepress.methods import Method
from edgepress.networks import compressible
from edgepress.packing import Compressed

METHODS = {
    "*": {"object": "RoundingPerChannel", "family": "rounding_channel", "sweep": "bits", "granularity": "channel"},
    "midrise_channel": {"about": "`midrise` with a codebook for each output channel", "codebook": "midrise"},
    "{rounding}_{codebook}_channel": {
        "about": "`{rounding}_{codebook}` with a codebook for each output channel",
        "codebook": ["uniform", "uniform_iqr", "histogram", "normal", "kde"],
        "rounding": ["nearest", "stochastic"],
    },
    "nearest_{codebook}_channel": {
        "about": "`nearest_{codebook}` with a codebook for each output channel",
        "codebook": ["lloyd_max", "symmetric"],
    },
}


def rounded_per_channel(
    weights: Tensor, codebook: str, bits: int, generator: torch.Generator | None = None, mask: Tensor | None = None
) -> PerChannel:
    """``weights``, float of shape (channels, …) and on the CPU, on the levels of a codebook fitted to each channel, or
    to what ``mask`` keeps of it, if anything.

    Each goes to the nearest level, or, with ``generator``, to one of its two neighbours by chance.
    """
    kept = weights if mask is None else [w[m] if m.any() else w for w, m in zip(weights, mask, strict=True)]
    fitted = [getattr(codebooks, codebook)(channel, bits) for channel in kept]
    noise = None if generator is None else codebooks.random_bits(weights.numel(), generator)
    return PerChannel.of(weights, fitted, noise)


@dataclass(frozen=True)
class RoundingPerChannel(Method):
    """Round the weights of Linear and Conv layers, one codebook per output channel; biases and norms stay float32."""

    codebook: str
    rounding: Literal["nearest", "stochastic"] = "nearest"

    def apply(
        self, stored: Compressed, network: nn.Module, data: Prepared, level: Level, generator: torch.Generator
    ) -> Compressed:
        chance = generator if self.rounding == "stochastic" else None

        def encoded(before: Encoding) -> Encoding:
            channels = rounded_per_channel(before.decode(), self.codebook, asked(level.bits), chance, before.mask)
            return channels if before.mask is None else channels.masked(before.mask)

        return stored.with_tensors({name: encoded(stored.tensors[name]) for name in compressible(network)})
