"""Rounding weights after training with subtractive dither: noise is added before rounding and taken off after."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgepress import codebooks
from edgepress.codebooks import Grid
from edgepress.datasets import Prepared
from edgepress.encodings import Dithered, Encoding, Quantized
from edgepress.levels import Level
from edgepress.methods import Method
from edgepress.networks import compressible
from edgepress.noise import dither
from edgepress.packing import Compressed

METHODS = {
    "dithered_uniform": {
        "object": "Dithering",
        "about": "nearest of 2^b evenly spaced levels, with noise added before and taken off after by its stored seed",
        "family": "stochastic",
        "sweep": "bits",
        "codebook": "uniform",
        "rounding": "dithered",
    },
}


def dithered(grid: Grid, weights: Tensor, seed: int) -> Dithered:
    """Round w + Δu to the nearest level, Δ the step of ``grid`` and u uniform on (−½, ½), and decode to level − Δu.

    Unlike the error of rounding to the nearest, that of a weight between the outermost levels is then uniform on
    ±Δ/2 whatever the weight is: it has no bias and the variance Δ²/12 (Roberts 1962; Schuchman 1964). Without taking
    the noise off again this is ``rounding.stochastic``, whose error has no bias, either, but up to three times the
    variance, and depends on the weight.

    ``weights`` is float of any shape, ``seed`` of 32 bits; it is all of the noise that is stored.
    """
    noisy = dither(weights.numel(), seed).mul_(grid.step).add_(weights.detach().reshape(-1))
    return Dithered(Quantized(grid.encode(noisy).reshape(weights.shape), grid), seed)


@dataclass(frozen=True)
class Dithering(Method):
    """Round the weights of Linear and Conv layers with subtractive dither, a grid and a seed a tensor; biases and
    norms stay float32.

    It saves memory, not arithmetic: the weights that it gives back lie on no grid.
    """

    codebook: str

    def apply(
        self, stored: Compressed, network: nn.Module, data: Prepared, level: Level, generator: torch.Generator
    ) -> Compressed:
        fit = getattr(codebooks, self.codebook)

        def encoded(before: Encoding) -> Encoding:
            weights, mask = before.decode(), before.mask
            if mask is not None and not mask.any():
                return before
            grid = fit(weights if mask is None else weights[mask], level.bits)
            after = dithered(grid, weights, int(torch.randint(1 << 32, (), generator=generator)))
            return after if mask is None else after.masked(mask)

        return stored.with_tensors({name: encoded(stored.tensors[name]) for name in compressible(network)})
