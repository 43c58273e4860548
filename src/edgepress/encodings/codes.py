"""Codes of a per-tensor codebook, dithered or not."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgepress import bitstream
from edgepress.codebooks import KINDS, Codebook, Grid, Table
from edgepress.encodings.base import Dense, Encoding, Reader, Sparse, read
from edgepress.noise import dither


class Quantized(Encoding):
    """A code of ``codebook.bits`` bits per entry, and the parameters of the codebook."""

    tag = "codes"

    def __init__(self, codes: Tensor, codebook: Codebook) -> None:
        if isinstance(codebook, Table):
            codes, codebook = codebook.without_unused(codes)
        self.codes = codes
        self.codebook = codebook

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.codes.shape)

    @property
    def bits(self) -> int:
        return self.codebook.bits

    def decode(self) -> Tensor:
        return self.codebook.decode(self.codes)

    def picked(self, mask: Tensor) -> Quantized:
        return Quantized(self.codes[mask], self.codebook)

    def write(self, parts: list[bytes]) -> list[Any]:
        parameters = self.codebook.parameters.numpy()
        parts.append(parameters.astype(parameters.dtype.newbyteorder("<"), copy=False).tobytes())
        parts.append(bitstream.pack(self.codes.reshape(-1).numpy(), self.codebook.bits))
        return [self.tag, self.codebook.kind, self.codebook.bits, parameters.size]

    @classmethod
    def read(cls, layout: list[Any], shape: tuple[int, ...], reader: Reader) -> Quantized:
        _, kind, bits, parameters = layout
        if kind not in KINDS:
            raise ValueError(f"there is no codebook of kind '{kind}'")
        stored_as = {torch.float64: "<f8", torch.float32: "<f4"}[KINDS[kind].stored_as]
        codebook = KINDS[kind](bits, torch.from_numpy(reader.array(parameters, stored_as)))
        data = reader.take(bitstream.packed_size(prod(shape), bits))
        codes = bitstream.unpack(data, prod(shape), bits)
        if codes.size and int(codes.max()) >= codebook.size:
            raise ValueError(f"a code of {int(codes.max())} in a codebook of {codebook.size} values")
        return cls(torch.from_numpy(codes.astype(np.int32) if bits > 8 else codes).reshape(shape), codebook)


class Dithered(Encoding):
    """Subtractive dither: values of a grid minus the noise that was added before rounding.

    ``rounded`` holds the codes, all of them or those that a mask keeps. The noise, in units of the scale, is determined
    by ``seed``, of 32 bits, and the position of an entry in the tensor; so a mask goes inside, where positions are
    known.
    """

    tag = "dithered"

    def __init__(self, rounded: Encoding, seed: int) -> None:
        codes = rounded.kept if isinstance(rounded, Sparse) else rounded
        if not isinstance(codes, Quantized) or not isinstance(codes.codebook, Grid):
            raise ValueError("only codes of a grid can be dithered")
        self.rounded = rounded
        self.step = codes.codebook.step
        self.seed = seed

    @property
    def shape(self) -> tuple[int, ...]:
        return self.rounded.shape

    @property
    def bits(self) -> float:
        return self.rounded.bits

    @property
    def mask(self) -> Tensor | None:
        return self.rounded.mask

    def decode(self) -> Tensor:
        # The noise is scaled first, because a fused multiply-add would round differently.
        noise = dither(prod(self.shape), self.seed).mul_(self.step).reshape(self.shape)
        return self.rounded.decode().sub_(noise if self.mask is None else noise.mul_(self.mask))

    def picked(self, mask: Tensor) -> Dense:
        return Dense(self.decode()[mask])  # at another position an entry would have other noise

    def masked(self, mask: Tensor) -> Dithered:
        return Dithered(self.rounded.masked(mask), self.seed)

    def write(self, parts: list[bytes]) -> list[Any]:
        parts.append(np.array(self.seed, "<u4").tobytes())
        return [self.tag, self.rounded.write(parts)]

    @classmethod
    def read(cls, layout: list[Any], shape: tuple[int, ...], reader: Reader) -> Dithered:
        _, rounded = layout
        seed = int(reader.array(1, "<u4")[0])
        return cls(read(rounded, shape, reader), seed)
