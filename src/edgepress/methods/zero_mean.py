"""Per-channel rounding whose errors have mean 0: the offset of each channel's grid takes up what rounding would add.

Rounding to the nearest level adds the same error, on average, to every weight of a channel, above all with few levels
and few weights. An output is a sum over the channel, so this part of the error does not cancel: with inputs x, such as
ReLU's, whose sum is far from 0, it moves the output by (mean error) · Σx. Adding the mean error to the offset removes
it, and costs nothing: the offset is stored anyway.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from edgepress.codebooks import Grid
from edgepress.datasets import Prepared
from edgepress.encodings import Encoding, PerChannel
from edgepress.levels import Level, asked
from edgepress.methods import Method
from edgepress.methods.per_channel import rounded_per_channel
from edgepress.networks import compressible
from edgepress.packing import Compressed

METHODS = {
    "*": {
        "object": "ZeroMean",
        "family": "zero_mean",
        "sweep": "bits",
        "codebook": "uniform",
        "rounding": "nearest",
        "granularity": "channel",
    },
    "zero_mean_uniform_channel": {
        "about": "`nearest_uniform_channel` with offsets shifted so that the mean error of each channel is 0",
        "options": {"error": "zero_mean"},
    },
    "zero_mean_least_squares_channel": {
        "about": "`zero_mean_uniform_channel` with scales of least squared error as well",
        "options": {"error": "zero_mean"},
        "args": {"scale": "least_squares"},
    },
}
_ROUNDS = 100


def with_zero_mean_error(rounded: PerChannel, weights: Tensor, mask: Tensor | None = None) -> PerChannel:
    """``rounded`` with the same codes, and with the offset of each channel shifted by the mean of
    ``weights − rounded.decode()`` over the channel, or over what ``mask`` keeps of it.

    ``weights`` and ``mask`` have the shape of ``rounded``, (channels, …). The mean error that is left is the rounding
    of float32 numbers: that of the offset and of the levels. The shift minimizes the channel's squared error over all
    offsets for these codes. Raises ValueError if a codebook has no offset of its own.
    """
    rows, kept = _rows(rounded, weights, mask)
    errors = (rows - rounded.decode().reshape(rows.shape)) * kept
    shifts = errors.sum(dim=1) / kept.sum(dim=1).clamp(min=1)
    shifted = [
        Grid(grid.bits, grid.parameters.to(torch.float64) + torch.stack([shift, torch.zeros_like(shift)]))
        for grid, shift in zip(rounded.codebooks, shifts, strict=True)
    ]
    return PerChannel(rounded.shape, shifted, rounded.lengths, rounded.codes)


def with_least_squares(rounded: PerChannel, weights: Tensor, mask: Tensor | None = None) -> PerChannel:
    """``rounded`` with the offset and scale of each channel fitted to ``weights`` by least squares, in turn with the
    nearest codes, until no code changes.

    Neither step increases the squared error, so the result has no more than ``rounded``; it is a local minimum. Shapes,
    ``mask`` and ValueError as in ``with_zero_mean_error``.
    """
    rows, kept = _rows(rounded, weights, mask)
    count = kept.sum(dim=1, keepdim=True).clamp(min=1)
    offset, step = torch.stack([codebook.parameters for codebook in rounded.codebooks]).double().split(1, dim=1)
    codes = rounded.codes.reshape(rows.shape).to(torch.float64)
    for _ in range(_ROUNDS):
        centred = (codes - (codes * kept).sum(dim=1, keepdim=True) / count) * kept
        power = centred.square().sum(dim=1, keepdim=True)
        step = torch.where(power > 0, (centred * rows).sum(dim=1, keepdim=True) / power, step)
        offset = ((rows - step * codes) * kept).sum(dim=1, keepdim=True) / count
        nearest = torch.where(step > 0, ((rows - offset) / step + 0.5).floor(), 0)
        nearest.clamp_(0, (1 << rounded.bits) - 1)
        if torch.equal(nearest, codes):
            break
        codes = nearest
    grids = [Grid(rounded.bits, each) for each in torch.cat([offset, step], dim=1)]
    return PerChannel(rounded.shape, grids, rounded.lengths, codes.to(rounded.codes.dtype))


def _rows(rounded: PerChannel, weights: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """The weights of each channel in float64, and which of them count, both of shape (channels, weights).

    Raises ValueError if a codebook of ``rounded`` has no offset.
    """
    if not all(codebook.kind == Grid.kind for codebook in rounded.codebooks):
        raise ValueError("only a grid has an offset that can be shifted")
    rows = weights.to(torch.float64).reshape(len(weights), -1)
    return rows, torch.ones_like(rows) if mask is None else mask.reshape(rows.shape).to(torch.float64)


@dataclass(frozen=True)
class ZeroMean(Method):
    """Round the weights of Linear and Conv layers to a grid per channel whose mean error is 0; biases and norms stay
    float32.
    """

    codebook: str
    scale: Literal["range", "least_squares"] = "range"

    def apply(
        self, stored: Compressed, network: nn.Module, data: Prepared, level: Level, generator: torch.Generator
    ) -> Compressed:
        def encoded(before: Encoding) -> Encoding:
            weights, mask = before.decode(), before.mask
            rounded = rounded_per_channel(weights, self.codebook, asked(level.bits), mask=mask)
            if self.scale == "least_squares":
                rounded = with_least_squares(rounded, weights, mask)
            channels = with_zero_mean_error(rounded, weights, mask)
            return channels if mask is None else channels.masked(mask)

        return stored.with_tensors({name: encoded(stored.tensors[name]) for name in compressible(network)})
