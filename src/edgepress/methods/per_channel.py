"""Rounding after training with a codebook for each output channel: its weights alone say what range it covers."""

from __future__ import annotations

from dataclasses import dataclass

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
    "midrise_channel": {
        "object": "RoundingPerChannel",
        "about": "`midrise` with a codebook for each output channel",
        "family": "rounding_channel",
        "sweep": "bits",
        "args": {"codebook": "midrise"},
    },
    "nearest_uniform_channel": {
        "object": "RoundingPerChannel",
        "about": "`nearest_uniform` with a codebook for each output channel",
        "family": "rounding_channel",
        "sweep": "bits",
        "args": {"codebook": "uniform"},
    },
    "nearest_uniform_iqr_channel": {
        "object": "RoundingPerChannel",
        "about": "`nearest_uniform_iqr` with a codebook for each output channel",
        "family": "rounding_channel",
        "sweep": "bits",
        "args": {"codebook": "uniform_iqr"},
    },
    "nearest_histogram_channel": {
        "object": "RoundingPerChannel",
        "about": "`nearest_histogram` with a codebook for each output channel",
        "family": "rounding_channel",
        "sweep": "bits",
        "args": {"codebook": "histogram"},
    },
    "nearest_normal_channel": {
        "object": "RoundingPerChannel",
        "about": "`nearest_normal` with a codebook for each output channel",
        "family": "rounding_channel",
        "sweep": "bits",
        "args": {"codebook": "normal"},
    },
    "nearest_kde_channel": {
        "object": "RoundingPerChannel",
        "about": "`nearest_kde` with a codebook for each output channel",
        "family": "rounding_channel",
        "sweep": "bits",
        "args": {"codebook": "kde"},
    },
    "nearest_lloyd_max_channel": {
        "object": "RoundingPerChannel",
        "about": "`nearest_lloyd_max` with a codebook for each output channel",
        "family": "rounding_channel",
        "sweep": "bits",
        "args": {"codebook": "lloyd_max"},
    },
    "nearest_symmetric_channel": {
        "object": "RoundingPerChannel",
        "about": "`nearest_symmetric` with a codebook for each output channel",
        "family": "rounding_channel",
        "sweep": "bits",
        "args": {"codebook": "symmetric"},
    },
    "stochastic_uniform_channel": {
        "object": "RoundingPerChannel",
        "about": "`stochastic_uniform` with a codebook for each output channel",
        "family": "rounding_channel",
        "sweep": "bits",
        "stochastic": True,
        "args": {"codebook": "uniform", "stochastic": True},
    },
    "stochastic_uniform_iqr_channel": {
        "object": "RoundingPerChannel",
        "about": "`stochastic_uniform_iqr` with a codebook for each output channel",
        "family": "rounding_channel",
        "sweep": "bits",
        "stochastic": True,
        "args": {"codebook": "uniform_iqr", "stochastic": True},
    },
    "stochastic_histogram_channel": {
        "object": "RoundingPerChannel",
        "about": "`stochastic_histogram` with a codebook for each output channel",
        "family": "rounding_channel",
        "sweep": "bits",
        "stochastic": True,
        "args": {"codebook": "histogram", "stochastic": True},
    },
    "stochastic_normal_channel": {
        "object": "RoundingPerChannel",
        "about": "`stochastic_normal` with a codebook for each output channel",
        "family": "rounding_channel",
        "sweep": "bits",
        "stochastic": True,
        "args": {"codebook": "normal", "stochastic": True},
    },
    "stochastic_kde_channel": {
        "object": "RoundingPerChannel",
        "about": "`stochastic_kde` with a codebook for each output channel",
        "family": "rounding_channel",
        "sweep": "bits",
        "stochastic": True,
        "args": {"codebook": "kde", "stochastic": True},
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
    """Round the weights of Linear and Conv layers, a codebook an output channel; biases and norms stay float32."""

    codebook: str
    stochastic: bool = False

    def apply(
        self, stored: Compressed, network: nn.Module, data: Prepared, level: Level, generator: torch.Generator
    ) -> Compressed:
        chance = generator if self.stochastic else None

        def encoded(before: Encoding) -> Encoding:
            channels = rounded_per_channel(before.decode(), self.codebook, asked(level.bits), chance, before.mask)
            return channels if before.mask is None else channels.masked(before.mask)

        return stored.with_tensors({name: encoded(stored.tensors[name]) for name in compressible(network)})
