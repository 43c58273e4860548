"""Rounding weights to the levels of a codebook after training, to the nearest level or at random between two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

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
    "*": {"object": "Rounding", "family": "{rounding}", "sweep": "bits"},
    "midrise": {
        "about": "symmetric mid-rise quantizer Δ(⌊w/Δ⌋ + ½) of 2^b levels, Δ = 2 max|w| / 2^b",
        "family": "nearest",
        "codebook": "midrise",
    },
    "{rounding}_{codebook}": {
        "about": "{rounding} 2^b {codebook}",
        "rounding": {"nearest": "nearest of", "stochastic": "either neighbour of"},
        "codebook": {
            "uniform": "levels spaced evenly from the smallest weight to the largest",
            "uniform_iqr": "levels spaced evenly between Tukey's fences, outliers clipped",
            "histogram": "midpoints of bins of equal width",
            "normal": "quantiles of a normal distribution fitted to the weights",
            "kde": "quantiles of a kernel density estimate of the weights",
        },
    },
    "nearest_{codebook}": {
        "about": "nearest of {codebook}",
        "family": "nearest",
        "codebook": {
            "lloyd_max": "the 2^b levels of least squared error (k-means), stored as a table",
            "symmetric": "2^b multiples of the step of least squared error, outliers clipped",
        },
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
    """Round the weights of Linear and Conv layers, one codebook per tensor; biases and norms stay float32."""

    codebook: str
    rounding: Literal["nearest", "stochastic"] = "nearest"

    def apply(
        self, stored: Compressed, network: nn.Module, data: Prepared, level: Level, generator: torch.Generator
    ) -> Compressed:
        chance = generator if self.rounding == "stochastic" else None

        def encoded(weights: Tensor) -> Quantized:
            return rounded(weights, self.codebook, asked(level.bits), chance)

        return stored.with_tensors({name: stored.tensors[name].recoded(encoded) for name in compressible(network)})
