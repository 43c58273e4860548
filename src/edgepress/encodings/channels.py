"""Per-channel encodings: a codebook per channel, or a sum of vectors ("points")."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgepress import bitstream
from edgepress.codebooks import KINDS, MAX_BITS, Codebook, Symmetric, code_type
from edgepress.encodings.base import Encoding, Reader, Scaled
from edgepress.encodings.codes import Quantized


class PerChannel(Encoding):
    """Codes of b bits with one codebook per row, all of one kind.

    A row is an output channel, in row-major order; ``lengths`` has its number of entries, which differs between rows if
    a mask selects some. Codebook parameters are stored in 8 bits if that is exact (``in_eight_bits``), else as float32.
    """

    tag = "channels"

    def __init__(self, shape: tuple[int, ...], codebooks: Sequence[Codebook], lengths: Tensor, codes: Tensor) -> None:
        if not codebooks or len(codebooks) != len(lengths) or not int(lengths.sum()) == prod(shape) == codes.numel():
            raise ValueError(f"{len(codebooks)} codebooks and {codes.numel()} codes do not make a tensor {shape}")
        self._shape = shape
        self.codebooks = [codebook.in_float32() for codebook in codebooks]
        self.lengths = lengths
        self.codes = codes.reshape(-1)

    @classmethod
    def of(cls, weights: Tensor, codebooks: Sequence[Codebook], noise: Tensor | None = None) -> PerChannel:
        """Round ``weights``, shape (channels, …), each channel by its codebook; ``noise``, shape (weights,), as in
        ``Codebook.encode``.
        """
        rows = weights.reshape(len(weights), -1)
        noises = [None] * len(rows) if noise is None else noise.reshape(rows.shape)
        encoders = [codebook.in_float32() for codebook in codebooks]
        codes = [encoder.encode(row, chance) for encoder, row, chance in zip(encoders, rows, noises, strict=True)]
        lengths = torch.full((len(rows),), rows.shape[1])
        return cls(tuple(weights.shape), encoders, lengths, torch.cat(codes))

    @property
    def shape(self) -> tuple[int, ...]:
        return self._shape

    @property
    def bits(self) -> int:
        return self.codebooks[0].bits

    def decode(self) -> Tensor:
        rows = self.codes.split(self.lengths.tolist())
        values = [codebook.decode(row) for codebook, row in zip(self.codebooks, rows, strict=True)]
        return torch.cat(values).reshape(self.shape)

    def picked(self, mask: Tensor) -> PerChannel:
        flat = mask.reshape(-1)
        lengths = torch.stack([row.count_nonzero() for row in flat.split(self.lengths.tolist())])
        return PerChannel((int(lengths.sum()),), self.codebooks, lengths, self.codes[flat])

    def scaled(self, factors: Tensor) -> Encoding:
        """Symmetric grids absorb the factors: integers and still one number per channel are stored."""
        if len(self.codebooks) != len(factors) or not all(isinstance(each, Symmetric) for each in self.codebooks):
            return super().scaled(factors)
        steps = torch.cat([codebook.parameters for codebook in self.codebooks])
        return Scaled(Quantized(self.codes.reshape(self.shape), Symmetric(self.bits, torch.ones(1))), steps * factors)

    def write(self, parts: list[bytes]) -> list[Any]:
        """Lengths of rows, parameters row by row, codes. The number of parameters is a list if it differs."""
        width = _write_lengths(self.lengths, parts)
        counts = [codebook.parameters.numel() for codebook in self.codebooks]
        form = _write_parameters(torch.cat([codebook.parameters for codebook in self.codebooks]), parts)
        parts.append(bitstream.pack(self.codes.numpy(), self.bits))
        each = counts[0] if len(set(counts)) == 1 else counts
        return [self.tag, self.codebooks[0].kind, self.bits, len(counts), each, form, width]

    @classmethod
    def read(cls, layout: list[Any], shape: tuple[int, ...], reader: Reader) -> PerChannel:
        _, kind, bits, rows, counts, form, width = layout
        if kind not in KINDS or not all(isinstance(number, int) and number >= 0 for number in (bits, rows, width)):
            raise ValueError(f"no channels are laid out like {layout}")
        lengths = _read_lengths(reader, rows, width, prod(shape))
        counts = counts if isinstance(counts, list) else [counts] * rows
        if len(counts) != rows:
            raise ValueError(f"{rows} channels have {len(counts)} codebooks")
        parameters = _read_parameters(reader, sum(counts), form).split(counts)
        codebooks = [KINDS[kind](bits, numbers) for numbers in parameters]
        codes = _numbers(reader, prod(shape), bits)
        sizes = torch.tensor([codebook.size for codebook in codebooks])
        if bool((codes >= sizes.repeat_interleave(lengths)).any()):
            raise ValueError("a code is beyond the codebook of its channel")
        return cls(shape, codebooks, lengths, codes.to(code_type(bits)))


def in_eight_bits(numbers: Tensor) -> Tensor:
    """Round numbers to 8-bit floats (E4M3, Micikevicius et al. 2022, arXiv 2209.05433) times one float32 scale; float32
    of the same shape.

    The relative error is at most 1/16, from the largest number down to 1/28,000 of it.
    """
    unit = _unit(numbers)
    return _to_float8(numbers, unit).to(torch.float32) * unit


def _unit(numbers: Tensor) -> Tensor:
    """The scale: the largest number divided by the largest 8-bit float."""
    largest = numbers.abs().max() / torch.finfo(torch.float8_e4m3fn).max
    return largest.clamp_min(torch.finfo(torch.float32).tiny)


def _to_float8(numbers: Tensor, unit: Tensor) -> Tensor:
    most = torch.finfo(torch.float8_e4m3fn).max
    return (numbers / unit).clamp(-most, most).to(torch.float8_e4m3fn)


def _write_parameters(numbers: Tensor, parts: list[bytes]) -> str:
    """Append float32 numbers in the smallest lossless form, and return its name."""
    if torch.equal(in_eight_bits(numbers), numbers) and numbers.numel() > 1:
        unit = _unit(numbers)
        parts += [unit.numpy().astype("<f4").tobytes(), _to_float8(numbers, unit).view(torch.uint8).numpy().tobytes()]
        return "e4m3"
    parts.append(numbers.numpy().astype("<f4").tobytes())
    return "f32"


def _read_parameters(reader: Reader, count: int, form: str) -> Tensor:
    if form == "f32":
        return torch.from_numpy(reader.array(count, "<f4"))
    if form != "e4m3":
        raise ValueError(f"there is no form '{form}' of the parameters of codebooks")
    unit = torch.from_numpy(reader.array(1, "<f4"))
    return torch.from_numpy(reader.array(count, "u1")).view(torch.float8_e4m3fn).to(torch.float32) * unit


class MultiPoint(Encoding):
    """Each row is a sum of vectors ("points"): Σ scale · q, with q integers from −K to K, K = 2^(b−1) − 1.

    A row is an output channel, in row-major order; ``lengths`` has its number of entries, which differs between rows if
    a mask selects some. ``counts`` has the number of vectors per row. Everything else is stored vector by vector: the
    first of every row, then the second of those rows that have two, and so on. ``steps`` has a float32 scale for each
    vector, ``codes`` has q + K for each entry, in b bits.
    """

    tag = "points"

    def __init__(
        self, shape: tuple[int, ...], bits: int, counts: Tensor, lengths: Tensor, steps: Tensor, codes: Tensor
    ) -> None:
        if not 2 <= bits <= MAX_BITS:
            raise ValueError(f"points of {bits} bits are not between 2 and {MAX_BITS}")
        if int(lengths.sum()) != prod(shape) or counts.shape != lengths.shape:
            raise ValueError(f"rows of {int(lengths.sum())} entries do not make a tensor of the shape {shape}")
        if (steps.numel(), codes.numel()) != (int(counts.sum()), int(counts @ lengths)):
            raise ValueError(f"{steps.numel()} steps and {codes.numel()} codes do not fit the points of the rows")
        self._shape = shape
        self.code_bits = bits
        self.counts = counts
        self.lengths = lengths
        self.steps = steps
        self.codes = codes

    @property
    def shape(self) -> tuple[int, ...]:
        return self._shape

    @property
    def bits(self) -> float:
        return self.code_bits * self.codes.numel() / max(1, prod(self.shape))

    def points(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """For each vector: the entries that have it (bool, all entries of the tensor), and their scale and code."""
        steps, codes = self.steps, self.codes
        for point in range(int(self.counts.max()) if self.counts.numel() else 0):
            rows = self.counts > point
            lengths = self.lengths[rows]
            entries, rest = int(lengths.sum()), len(lengths)
            yield rows.repeat_interleave(self.lengths), steps[:rest].repeat_interleave(lengths), codes[:entries]
            steps, codes = steps[rest:], codes[entries:]

    def decode(self) -> Tensor:
        values = torch.zeros(prod(self.shape), dtype=torch.float32)
        for entries, steps, codes in self.points():
            values[entries] += (codes.to(torch.float32) - ((1 << self.code_bits - 1) - 1)) * steps
        return values.reshape(self.shape)

    def picked(self, mask: Tensor) -> MultiPoint:
        flat = mask.reshape(-1)
        rows = torch.arange(len(self.lengths)).repeat_interleave(self.lengths)
        lengths = rows[flat].bincount(minlength=len(self.lengths))
        codes = [self.codes[:0], *(codes[flat[entries]] for entries, _, codes in self.points())]
        return MultiPoint((int(lengths.sum()),), self.code_bits, self.counts, lengths, self.steps, torch.cat(codes))

    def write(self, parts: list[bytes]) -> list[Any]:
        """Counts, lengths of rows, scales, codes."""
        counts = self.counts.numpy()
        count_width = _width(counts)
        parts.append(bitstream.pack(counts, count_width))
        length_width = _write_lengths(self.lengths, parts)
        parts.append(self.steps.numpy().astype("<f4", copy=False).tobytes())
        parts.append(bitstream.pack(self.codes.numpy(), self.code_bits))
        return [self.tag, self.code_bits, len(counts), count_width, length_width]

    @classmethod
    def read(cls, layout: list[Any], shape: tuple[int, ...], reader: Reader) -> MultiPoint:
        _, bits, rows, count_width, length_width = layout
        if not all(isinstance(number, int) and number >= 0 for number in layout[1:]):
            raise ValueError(f"no points are laid out like {layout}")
        counts = _numbers(reader, rows, count_width)
        lengths = _read_lengths(reader, rows, length_width, prod(shape))
        steps = torch.from_numpy(reader.array(int(counts.sum()), "<f4"))
        codes = _numbers(reader, int(counts @ lengths), bits)
        if codes.numel() and int(codes.max()) >= (1 << bits) - 1:
            raise ValueError(f"a code of {int(codes.max())} on a grid of {(1 << bits) - 1} levels")
        return cls(shape, bits, counts, lengths, steps, codes.to(code_type(bits)))


def _width(numbers: np.ndarray) -> int:
    """The bits of the largest number, at least 1."""
    return max(1, int(numbers.max(initial=0)).bit_length())


def _numbers(reader: Reader, count: int, width: int) -> Tensor:
    data = reader.take(bitstream.packed_size(count, width))
    return torch.from_numpy(bitstream.unpack(data, count, width).astype(np.int64))


def _write_lengths(lengths: Tensor, parts: list[bytes]) -> int:
    """Append the lengths of rows if they differ, and return their width: 0 if they are all equal."""
    numbers = lengths.numpy()
    if (numbers == numbers[:1]).all():
        return 0
    parts.append(bitstream.pack(numbers, _width(numbers)))
    return _width(numbers)


def _read_lengths(reader: Reader, rows: int, width: int, entries: int) -> Tensor:
    return _numbers(reader, rows, width) if width else torch.full((rows,), entries // max(1, rows))
