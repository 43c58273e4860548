"""How one tensor is stored: as float32, as codes of a codebook, dithered or not, as sums of points, or as what a mask
keeps.

Each encoding rebuilds its tensor bit for bit (``decode``), and goes to bytes and back (``write``, ``read``). What a
reader must know before the bytes — shape, width, kind of mask — is the *layout*, a small JSON list beside them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from math import prod
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from edgepress import bitstream
from edgepress.codebooks import KINDS, MAX_BITS, Codebook, Grid, Table, code_type
from edgepress.noise import dither

MAX_ENTRIES = 1 << 31  # of a tensor: what a damaged or hostile file can ask for


class Reader:
    """Bytes read one part after the other. Raises ValueError where there are too few."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.place = 0

    def take(self, count: int) -> bytes:
        """The next ``count`` bytes."""
        part = self.data[self.place : self.place + count]
        if count < 0 or len(part) != count:
            raise ValueError(f"{count} bytes expected at byte {self.place}, {len(part)} found")
        self.place += count
        return part

    def array(self, count: int, dtype: str) -> np.ndarray:
        """The next ``count`` numbers, little-endian; a copy that may be written to."""
        return np.frombuffer(self.take(count * np.dtype(dtype).itemsize), dtype).copy()


class Encoding(ABC):
    """A tensor in the form in which it is stored."""

    tag: ClassVar[str]
    mask: Tensor | None = None  # which entries are kept, where others have been removed

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """The shape of the tensor."""

    @property
    @abstractmethod
    def bits(self) -> float:
        """The bits of one stored number, as an operation sees it; masks and codebooks not counted.

        A mean where that differs from entry to entry.
        """

    @abstractmethod
    def decode(self) -> Tensor:
        """The tensor itself, float32; the same bits before packing and after unpacking."""

    @abstractmethod
    def picked(self, mask: Tensor) -> Encoding:
        """The entries that ``mask``, of this shape, picks, in one row."""

    def recoded(self, encode: Callable[[Tensor], Encoding]) -> Encoding:
        """What ``encode`` makes of the values; of the kept ones alone where a mask has removed others."""
        values = self.decode()
        return encode(values) if self.mask is None else Sparse(self.mask, encode(values[self.mask]))

    def masked(self, mask: Tensor) -> Encoding:
        """This tensor with what ``mask`` does not keep removed."""
        return Sparse(mask, self.picked(mask))

    @abstractmethod
    def write(self, parts: list[bytes]) -> list[Any]:
        """Append the bytes to ``parts`` and return the layout, which begins with ``tag``."""

    @classmethod
    @abstractmethod
    def read(cls, layout: list[Any], shape: tuple[int, ...], reader: Reader) -> Encoding:
        """Rebuild what ``write`` wrote. Raises ValueError where layout and bytes do not fit."""


class Dense(Encoding):
    """Every entry as float32."""

    tag = "f32"

    def __init__(self, values: Tensor) -> None:
        self.values = values.detach().to("cpu", torch.float32).clone()

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.values.shape)

    @property
    def bits(self) -> int:
        return 32

    def decode(self) -> Tensor:
        return self.values

    def picked(self, mask: Tensor) -> Dense:
        return Dense(self.values[mask])

    def write(self, parts: list[bytes]) -> list[Any]:
        parts.append(self.values.contiguous().numpy().astype("<f4", copy=False).tobytes())
        return [self.tag]

    @classmethod
    def read(cls, layout: list[Any], shape: tuple[int, ...], reader: Reader) -> Dense:
        return cls(torch.from_numpy(reader.array(prod(shape), "<f4")).reshape(shape))


class Quantized(Encoding):
    """A code of ``codebook.bits`` bits for every entry, and the parameters of the codebook."""

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
            raise ValueError(f"a code of {int(codes.max())} in a codebook of {codebook.size} levels")
        codes = torch.from_numpy(codes.astype(np.int32) if bits > 8 else codes)
        return cls(codes.reshape(shape), codebook)


class Dithered(Encoding):
    """The levels of a grid less the noise that the weights had when they were rounded: subtractive dither.

    ``rounded`` holds the codes, all of them or those that a mask keeps. The noise is in steps of the grid and follows
    from ``seed``, of 32 bits, and an entry's place in the tensor: so a mask goes inside, where places are known.
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
        # The noise is scaled first: a fused multiplication and addition, where a machine has one, rounds otherwise.
        noise = dither(prod(self.shape), self.seed).mul_(self.step).reshape(self.shape)
        return self.rounded.decode().sub_(noise if self.mask is None else noise.mul_(self.mask))

    def picked(self, mask: Tensor) -> Dense:
        return Dense(self.decode()[mask])  # in another place, an entry would have another noise

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


class MultiPoint(Encoding):
    """Rows of entries, each row a sum of points: Σ step · level, the levels whole numbers of −K to K, K = 2^(b−1) − 1.

    A row is an output channel, in row-major order; ``lengths`` says how many entries of it there are, which differs
    between rows where a mask has picked some. ``counts`` says how many points a row has. Everything else goes point
    by point: the first one of every row, then the second one of those rows that have two, and so on. ``steps`` holds
    a float32 number for each point of a row, and ``codes`` level + K for each entry of it, in b bits.
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

    def _points(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Of each point: which entries have it (bool, all entries of the tensor), and the step and code of these."""
        steps, codes = self.steps, self.codes
        for point in range(int(self.counts.max()) if self.counts.numel() else 0):
            rows = self.counts > point
            lengths = self.lengths[rows]
            entries, rest = int(lengths.sum()), len(lengths)
            yield rows.repeat_interleave(self.lengths), steps[:rest].repeat_interleave(lengths), codes[:entries]
            steps, codes = steps[rest:], codes[entries:]

    def decode(self) -> Tensor:
        values = torch.zeros(prod(self.shape), dtype=torch.float32)
        for entries, steps, codes in self._points():
            values[entries] += (codes.to(torch.float32) - ((1 << self.code_bits - 1) - 1)) * steps
        return values.reshape(self.shape)

    def picked(self, mask: Tensor) -> MultiPoint:
        flat = mask.reshape(-1)
        rows = torch.arange(len(self.lengths)).repeat_interleave(self.lengths)
        lengths = rows[flat].bincount(minlength=len(self.lengths))
        codes = [self.codes[:0], *(codes[flat[entries]] for entries, _, codes in self._points())]
        return MultiPoint((int(lengths.sum()),), self.code_bits, self.counts, lengths, self.steps, torch.cat(codes))

    def write(self, parts: list[bytes]) -> list[Any]:
        """Counts, lengths of rows where these differ (their width is 0 where not), steps, codes."""
        counts, lengths = self.counts.numpy(), self.lengths.numpy()
        count_width, length_width = (max(1, int(numbers.max(initial=0)).bit_length()) for numbers in (counts, lengths))
        parts.append(bitstream.pack(counts, count_width))
        if (lengths == lengths[:1]).all():
            length_width = 0
        else:
            parts.append(bitstream.pack(lengths, length_width))
        parts.append(self.steps.numpy().astype("<f4", copy=False).tobytes())
        parts.append(bitstream.pack(self.codes.numpy(), self.code_bits))
        return [self.tag, self.code_bits, len(counts), count_width, length_width]

    @classmethod
    def read(cls, layout: list[Any], shape: tuple[int, ...], reader: Reader) -> MultiPoint:
        _, bits, rows, count_width, length_width = layout
        if not all(isinstance(number, int) and number >= 0 for number in layout[1:]):
            raise ValueError(f"no points are laid out like {layout}")

        def numbers(count: int, width: int) -> Tensor:
            data = reader.take(bitstream.packed_size(count, width))
            return torch.from_numpy(bitstream.unpack(data, count, width).astype(np.int64))

        counts = numbers(rows, count_width)
        lengths = numbers(rows, length_width) if length_width else torch.full_like(counts, prod(shape) // max(1, rows))
        steps = torch.from_numpy(reader.array(int(counts.sum()), "<f4"))
        codes = numbers(int(counts @ lengths), bits)
        if codes.numel() and int(codes.max()) >= (1 << bits) - 1:
            raise ValueError(f"a code of {int(codes.max())} on a grid of {(1 << bits) - 1} levels")
        return cls(shape, bits, counts, lengths, steps, codes.to(code_type(bits)))


class Sparse(Encoding):
    """The entries that a mask keeps, in an encoding of their own; every other entry is 0.

    The mask is stored as a bitmap (a bit an entry) or as gaps (how many entries are skipped before each kept one,
    in the width of the widest gap), whichever is smaller.
    """

    tag = "sparse"

    def __init__(self, mask: Tensor, kept: Encoding) -> None:
        if kept.shape != (int(mask.count_nonzero()),):
            raise ValueError(f"a mask that keeps {int(mask.count_nonzero())} entries, and {kept.shape} kept ones")
        self.mask = mask
        self.kept = kept

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.mask.shape)

    @property
    def bits(self) -> int:
        return self.kept.bits

    def decode(self) -> Tensor:
        values = torch.zeros(self.mask.numel(), dtype=torch.float32)
        values[self.mask.reshape(-1)] = self.kept.decode()
        return values.reshape(self.mask.shape)

    def picked(self, mask: Tensor) -> Encoding:
        return self.masked(mask).kept if bool((mask <= self.mask).all()) else Dense(self.decode()[mask])

    def masked(self, mask: Tensor) -> Sparse:
        both = mask & self.mask
        return Sparse(both, self.kept.picked(both[self.mask]))

    def write(self, parts: list[bytes]) -> list[Any]:
        flat = self.mask.reshape(-1).numpy()
        positions = np.flatnonzero(flat)
        gaps = np.diff(positions, prepend=-1) - 1
        width = max(1, int(gaps.max(initial=0)).bit_length())
        if positions.size == flat.size:
            mask, form = b"", ["all"]
        elif bitstream.packed_size(positions.size, width) < bitstream.packed_size(flat.size, 1):
            mask, form = bitstream.pack(gaps, width), ["gaps", width, positions.size]
        else:
            mask, form = bitstream.pack(flat.view(np.uint8), 1), ["bitmap"]
        parts.append(mask)
        return [self.tag, form, self.kept.write(parts)]

    @classmethod
    def read(cls, layout: list[Any], shape: tuple[int, ...], reader: Reader) -> Sparse:
        _, (form, *details), kept = layout
        count = prod(shape)
        mask = np.full(count, form == "all")
        if form == "gaps":
            width, positions = details
            if positions < 0:
                raise ValueError(f"a mask keeps {positions} entries")
            gaps = bitstream.unpack(reader.take(bitstream.packed_size(positions, width)), positions, width)
            places = np.cumsum(gaps.astype(np.int64) + 1) - 1
            if positions and places[-1] >= count:
                raise ValueError(f"a mask points at entry {places[-1]} of {count}")
            mask[places] = True
        elif form == "bitmap":
            mask = bitstream.unpack(reader.take(bitstream.packed_size(count, 1)), count, 1).astype(bool)
        elif form != "all":
            raise ValueError(f"there is no mask of kind '{form}'")
        return cls(torch.from_numpy(mask).reshape(shape), read(kept, (int(mask.sum()),), reader))


_ENCODINGS = (Dense, Quantized, Dithered, MultiPoint, Sparse)
_TAGS: dict[str, type[Encoding]] = {encoding.tag: encoding for encoding in _ENCODINGS}


def read(layout: Any, shape: Any, reader: Reader) -> Encoding:
    """Rebuild the encoding that a layout describes. Raises ValueError or TypeError where that cannot be: where
    layout, shape and bytes do not fit, or a tensor would have more than 2^31 entries.
    """
    if not isinstance(layout, list) or not layout or layout[0] not in _TAGS:
        raise ValueError(f"there is no encoding like {layout}")
    if not all(isinstance(side, int) and side >= 0 for side in shape) or prod(shape) > MAX_ENTRIES:
        raise ValueError(f"no tensor has the shape {shape}")
    return _TAGS[layout[0]].read(layout, tuple(shape), reader)
