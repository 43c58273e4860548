"""Rounding weights to the levels of a codebook after training, to the nearest level or at random between two."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgepress import codebooks
from edgepress.codebooks import Codebook
from edgepress.datasets import Prepared
from edgepress.encodings import Quantized
from edgepress.levels import Level, asked
from edgepress.methods import Method
from edgepress.networks import compressible
from edgepress.packing import Compressed

METHODS = {
    "midrise": {
        "object": "Rounding",
        "about": "symmetric mid-rise quantizer Δ(⌊w/Δ⌋ + ½) of 2^b levels, Δ = 2 max|w| / 2^b",
        "family": "nearest",
        "sweep": "bits",
        "args": {"codebook": "midrise"},
    },
    "nearest_uniform": {
        "object": "Rounding",
        "about": "nearest of 2^b levels spaced evenly from the smallest weight to the largest",
        "family": "nearest",
        "sweep": "bits",
        "args": {"codebook": "uniform"},
    },
    "nearest_uniform_iqr": {
        "object": "Rounding",
        "about": "nearest of 2^b levels spaced evenly between Tukey's fences, outliers clipped",
        "family": "nearest",
        "sweep": "bits",
        "args": {"codebook": "uniform_iqr"},
    },
    "nearest_histogram": {
        "object": "Rounding",
        "about": "nearest midpoint of 2^b bins of equal width",
        "family": "nearest",
        "sweep": "bits",
        "args": {"codebook": "histogram"},
    },
    "nearest_normal": {
        "object": "Rounding",
        "about": "nearest of 2^b quantiles of a normal distribution fitted to the weights",
        "family": "nearest",
        "sweep": "bits",
        "args": {"codebook": "normal"},
    },
    "nearest_kde": {
        "object": "Rounding",
        "about": "nearest of 2^b quantiles of a kernel density estimate of the weights",
        "family": "nearest",
        "sweep": "bits",
        "args": {"codebook": "kde"},
    },
    "nearest_lloyd_max": {
        "object": "Rounding",
        "about": "nearest of the 2^b levels of least squared error (k-means), stored as a table",
        "family": "nearest",
        "sweep": "bits",
        "args": {"codebook": "lloyd_max"},
    },
    "stochastic_uniform": {
        "object": "Rounding",
        "about": "either neighbour of 2^b levels spaced evenly from the smallest weight to the largest",
        "family": "stochastic",
        "sweep": "bits",
        "stochastic": True,
        "args": {"codebook": "uniform", "stochastic": True},
    },
    "stochastic_uniform_iqr": {
        "object": "Rounding",
        "about": "either neighbour of 2^b levels spaced evenly between Tukey's fences, outliers clipped",
        "family": "stochastic",
        "sweep": "bits",
        "stochastic": True,
        "args": {"codebook": "uniform_iqr", "stochastic": True},
    },
    "stochastic_histogram": {
        "object": "Rounding",
        "about": "either neighbour among the midpoints of 2^b bins of equal width",
        "family": "stochastic",
        "sweep": "bits",
        "stochastic": True,
        "args": {"codebook": "histogram", "stochastic": True},
    },
    "stochastic_normal": {
        "object": "Rounding",
        "about": "either neighbour among 2^b quantiles of a normal distribution fitted to the weights",
        "family": "stochastic",
        "sweep": "bits",
        "stochastic": True,
        "args": {"codebook": "normal", "stochastic": True},
    },
    "stochastic_kde": {
        "object": "Rounding",
        "about": "either neighbour among 2^b quantiles of a kernel density estimate of the weights",
        "family": "stochastic",
        "sweep": "bits",
        "stochastic": True,
        "args": {"codebook": "kde", "stochastic": True},
    },
    "nearest_symmetric": {
        "object": "Rounding",
        "about": "nearest of 2^b multiples of the step of least squared error, outliers clipped",
        "family": "nearest",
        "sweep": "bits",
        "args": {"codebook": "symmetric"},
    },
}


def nearest(codebook: Codebook, weights: Tensor) -> Tensor:
    """The code of the level nearest to each weight, ties going up; integers of the shape of ``weights``."""
    return codebook.encode(weights)


def stochastic(codebook: Codebook, weights: Tensor, generator: torch.Generator) -> Tensor:
    """The code of the level below or above each weight, drawn so that the mean is the weight itself.

    Between neighbours l < w < u it is u with probability (w − l)/(u − l); on a level, or outside the codebook,
    nothing is drawn (Gupta et al. 2015, arXiv 1502.02551).
    """
    return codebook.encode(weights, codebooks.random_bits(weights.numel(), generator))


def rounded(weights: Tensor, codebook: str, bits: int, generator: torch.Generator | None = None) -> Quantized:
    """The weights, float of any shape and on the CPU, on the levels of a codebook fitted to them: ``uniform``, say.

    Each goes to the nearest level, or, with ``generator``, to one of its two neighbours by chance.
    """
    fitted = getattr(codebooks, codebook)(weights, bits)
    codes = nearest(fitted, weights) if generator is None else stochastic(fitted, weights, generator)
    return Quantized(codes, fitted)


@dataclass(frozen=True)
class Rounding(Method):
    """Round the weights of Linear and Conv layers, a codebook a tensor; biases and norms stay float32."""

    codebook: str
    stochastic: bool = False

    def apply(
        self, stored: Compressed, network: nn.Module, data: Prepared, level: Level, generator: torch.Generator
    ) -> Compressed:
        chance = generator if self.stochastic else None

        def encoded(weights: Tensor) -> Quantized:
            return rounded(weights, self.codebook, asked(level.bits), chance)

        return stored.with_tensors({name: stored.tensors[name].recoded(encoded) for name in compressible(network)})
