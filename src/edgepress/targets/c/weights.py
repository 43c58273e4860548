"""Weights as they lie in a device's flash: in the codes of the packed file, channel after channel.

Kernels read a channel's weights in the order (height, width, input channel), so codes and masks are put in that order
once, here; widths, tables and what Huffman's code makes of them stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from edgepress import bitstream
from edgepress.codebooks import Grid, Symmetric
from edgepress.encodings import Dense, Dithered, Encoding, Huffman, MultiPoint, PerChannel, Quantized, Scaled, Sparse
from edgepress.encodings.huffman import deflated
from edgepress.packing import Compressed
from edgepress.targets import NotServedError

MAX_BITS = 8
MAX_LENGTH = (1 << 16) - 1  # weights of a channel: positions have 16 bits
POINT_BITS = 16  # of the fraction in which a device multiplies the levels of points
_LEVELS = 127  # int8 values on each side of 0


@dataclass(frozen=True)
class Parts:
    """An encoding taken apart: ``core`` holds codes or floats of the entries that ``mask`` keeps, of all where it is
    None; ``factors`` multiply channels; ``inflates``: codes are stored by Huffman's code.
    """

    core: Encoding
    mask: Tensor | None
    factors: Tensor | None
    inflates: bool


def parts_of(name: str, encoding: Encoding) -> Parts:
    """The parts of what ``name`` is stored as. Raises NotServedError where C does not read it."""
    mask, factors, inflates = None, None, False
    while isinstance(encoding, Huffman | Scaled | Sparse):
        if isinstance(encoding, Huffman):
            inflates, encoding = True, encoding.coded
        elif isinstance(encoding, Scaled):
            factors, encoding = encoding.factors, encoding.coded
        else:
            mask, encoding = encoding.mask, encoding.kept
    if isinstance(encoding, Dithered):
        raise NotServedError(f"'{name}' is dithered, and C does not make that noise again")
    width = encoding.code_bits if isinstance(encoding, MultiPoint) else encoding.bits
    if not isinstance(encoding, Dense) and width > MAX_BITS:
        raise NotServedError(f"'{name}' has codes of {width:g} bits, and C reads those of {MAX_BITS} at most")
    return Parts(encoding, mask, factors, inflates)


@dataclass(frozen=True)
class Mask:
    """Which weights are kept: bool of the shape of the rows, and their bytes in the form ``kind``. ``width`` is the
    bits of a gap, or the N of N in 4; ``first`` the position of the first, from which gaps go on.
    """

    kept: np.ndarray
    kind: str
    data: bytes
    width: int
    first: int


@dataclass(frozen=True)
class Rows:
    """Stored weights, one row per output channel: the fields of ``ep_weights`` in the C code.

    ``values`` are the numbers that reading gives, int16 of shape (channels, length), which the bytes do not hold:
    codes where floats are to be made of them. ``most`` is the largest number of kept weights of a channel.
    """

    values: np.ndarray
    bits: int
    codes: bytes
    inflates: bool = False
    mask: Mask | None = None
    table: np.ndarray | None = None
    lowest: int = 0
    lowests: np.ndarray | None = None
    points: np.ndarray | None = None
    factors: np.ndarray | None = None

    @property
    def length(self) -> int:
        """Weights of a channel."""
        return int(self.values.shape[1])

    @property
    def most(self) -> int:
        """The most weights that a channel keeps."""
        return self.length if self.mask is None else int(self.mask.kept.sum(axis=1).max(initial=0))

    @property
    def density(self) -> float:
        """The share of weights that are kept."""
        return 1.0 if self.mask is None else float(self.mask.kept.mean())


@dataclass(frozen=True)
class Levels:
    """What floats are made of codes by: ``kind`` names the rule, ``numbers`` its float32 parameters, row by row where
    there are several, ``factors`` what each channel is multiplied by.
    """

    kind: str
    numbers: np.ndarray = field(default_factory=lambda: np.zeros((1, 0), np.float32))
    factors: np.ndarray | None = None


def in_kernel_order(tensor: Tensor, shape: Sequence[int]) -> np.ndarray:
    """A tensor of weights, (channels, …), of an input of ``shape`` (channels, height, width) as a kernel reads it."""
    ordered = tensor.reshape(len(tensor), *shape).permute(0, 2, 3, 1)
    return np.ascontiguousarray(ordered.reshape(len(tensor), -1).numpy())


def integer_rows(name: str, encoding: Encoding, integers: Tensor, shape: Sequence[int]) -> Rows:
    """The rows that reading gives as ``integers``, int8: what ``encoding`` is in integers."""
    parts = parts_of(name, encoding)
    values = in_kernel_order(integers, shape).astype(np.int16)
    kept = _kept(name, parts, encoding.shape, shape)
    if isinstance(parts.core, MultiPoint):
        steps = torch.from_numpy(_unit_of_rows(encoding))
        factors = point_factors(parts, steps)
        if (in_kernel_order(summed_points(parts, encoding.shape, factors), shape) == values).all():
            return _point_rows(parts, encoding.shape, shape, values, kept, factors)
        return _rows(values, kept, MAX_BITS, parts.inflates)
    return _rows(values, kept, int(parts.core.bits), parts.inflates)


def float_rows(name: str, encoding: Encoding, shape: Sequence[int]) -> tuple[Rows | None, Levels, np.ndarray]:
    """The rows of codes, and the levels that floats are made of them by; and these floats, in kernel order, as the
    device makes them. Rows of float32 are the levels alone, unless a mask has removed some.
    """
    parts = parts_of(name, encoding)
    core, kept = parts.core, _kept(name, parts, encoding.shape, shape)
    factors = None if parts.factors is None else parts.factors.numpy()
    if isinstance(core, Dense):
        floats = in_kernel_order(encoding.decode(), shape)
        raw = floats if kept is None else floats[kept]
        values = np.zeros(floats.shape, np.int16)
        rows = None if kept is None else Rows(values, 0, b"", mask=_masked(kept))
        return rows, Levels("raw", raw.reshape(1, -1).astype(np.float32)), floats.astype(np.float32)
    if isinstance(core, MultiPoint):
        steps = _steps_by_channel(core)
        levels = Levels("points", np.concatenate([np.zeros(0, np.float32), *steps]).reshape(1, -1), factors)
        rows = _point_rows(parts, encoding.shape, shape, np.zeros((encoding.shape[0], 0)), kept, None)
        return rows, levels, in_kernel_order(encoding.decode(), shape)
    assert isinstance(core, Quantized | PerChannel)
    codes = in_kernel_order(_full(core.codes, parts.mask, encoding.shape), shape).astype(np.int16)
    levels = _levels(core, factors)
    rows = _rows(codes, kept, int(core.bits), parts.inflates, lowest=0)
    return rows, levels, _floats(levels, codes, kept, int(core.bits))


def in_int8(stored: Compressed, names: Sequence[str]) -> Compressed:
    """The same network with weights whose levels are no multiples of a step rounded to such, of 8 bits.

    The step is that of the codebook, or of the channel where each has its own, or weights are sums of points: the
    largest magnitude over 127. Raises NotServedError where weights have no codes.
    """
    return stored.with_tensors({name: _int8(name, stored.tensors[name]) for name in names})


def _int8(name: str, encoding: Encoding) -> Encoding:
    parts = parts_of(name, encoding)
    core = parts.core
    if isinstance(core, Dense):
        raise NotServedError(
            f"'{name}' is stored as float32, of which C computes nothing in integers: quantize it, too"
        )
    if isinstance(core, Quantized) and isinstance(core.codebook, Symmetric):
        return encoding
    if isinstance(core, PerChannel) and all(isinstance(each, Symmetric) for each in core.codebooks):
        return encoding
    values = encoding.decode().to(torch.float64)
    steps = torch.from_numpy(_unit_of_rows(encoding))
    if isinstance(core, MultiPoint):
        whole = summed_points(parts, encoding.shape, point_factors(parts, steps))
    else:
        divisors = torch.where(steps > 0, steps, 1).reshape(-1, *[1] * (values.dim() - 1)).to(torch.float64)
        whole = (values / divisors).round().to(torch.int64)
    codes = (whole + _LEVELS + 1).to(torch.uint8)
    eight, mask = Symmetric(MAX_BITS, torch.ones(1)), encoding.mask
    coded = Quantized(codes, eight) if mask is None else Sparse(mask, Quantized(codes[mask], eight))
    return Scaled(coded, steps)


def _unit_of_rows(encoding: Encoding) -> np.ndarray:
    """The step of each channel in int8, float32: the largest magnitude is 127 of it; of sums of points, 126."""
    parts = parts_of("", encoding)
    core = parts.core
    if isinstance(core, Quantized):
        largest = core.decode().abs().max() if core.codes.numel() else torch.zeros(())
        factors = torch.ones(encoding.shape[0]) if parts.factors is None else parts.factors.abs()
        return (factors * (largest / _LEVELS)).to(torch.float32).numpy()
    rows = encoding.decode().flatten(1).abs().amax(dim=1)
    return (rows / (_LEVELS - isinstance(core, MultiPoint))).to(torch.float32).numpy()


def _steps_by_channel(core: MultiPoint) -> list[np.ndarray]:
    """The steps of the points of each channel, float32."""
    counts, steps = core.counts, core.steps.numpy()
    found: list[list[float]] = [[] for _ in counts]
    place = 0
    for point in range(int(counts.max()) if counts.numel() else 0):
        for channel in (counts > point).nonzero().flatten().tolist():
            found[channel].append(steps[place])
            place += 1
    return [np.array(each, np.float32) for each in found]


def point_factors(parts: Parts, steps: Tensor) -> list[np.ndarray]:
    """What each point's level is multiplied by, in 2^-16 of a channel's step, int64."""
    assert isinstance(parts.core, MultiPoint)
    signed = np.ones(len(steps)) if parts.factors is None else parts.factors.double().numpy()
    whole = np.where(steps > 0, steps, 1).astype(np.float64)
    each = _steps_by_channel(parts.core)
    return [np.rint(own * (1 << POINT_BITS) * signed[c] / whole[c]).astype(np.int64) for c, own in enumerate(each)]


def summed_points(parts: Parts, shape: tuple[int, ...], factors: list[np.ndarray]) -> Tensor:
    """The whole numbers that a device makes of points, int64 of ``shape``."""
    core = parts.core
    assert isinstance(core, MultiPoint)
    middle, total = (
        (1 << core.code_bits - 1) - 1,
        torch.full((core.codes.new_zeros(core.shape).numel(),), 1 << 15).long(),
    )
    channels = torch.arange(len(core.lengths)).repeat_interleave(core.lengths)
    for point, (entries, _, codes) in enumerate(core.points()):
        each = torch.tensor([own[point] if point < len(own) else 0 for own in factors])
        total[entries] += each[channels[entries]] * (codes.long() - middle)
    return _full(total >> POINT_BITS, parts.mask, shape)


def _point_rows(
    parts: Parts, stored: tuple[int, ...], shape: Sequence[int], values: np.ndarray, kept: np.ndarray | None,
    factors: list[np.ndarray] | None,
) -> Rows:  # fmt: skip
    core = parts.core
    assert isinstance(core, MultiPoint)
    each: list[list[np.ndarray]] = [[] for _ in core.counts]
    for point, (entries, _, codes) in enumerate(core.points()):
        full = torch.zeros(entries.numel(), dtype=torch.int64)
        full[entries] = codes.long()
        ordered = in_kernel_order(_full(full, parts.mask, stored), shape)
        for channel in (core.counts > point).nonzero().flatten().tolist():
            row = ordered[channel]
            each[channel].append(row if kept is None else row[kept[channel]])
    rows = [row for channel in each for row in channel]
    length = int(np.prod(shape))
    return Rows(
        values if values.size else np.zeros((len(each), length), np.int16), core.code_bits,
        _written(rows, core.code_bits, parts.inflates), parts.inflates, mask=_masked(kept),
        lowest=1 - (1 << core.code_bits - 1), points=core.counts.numpy().astype(np.uint8),
        factors=None if factors is None else np.concatenate([np.zeros(0, np.int64), *factors]),
    )  # fmt: skip


def _full(numbers: Tensor, mask: Tensor | None, shape: tuple[int, ...]) -> Tensor:
    """Numbers of the kept entries in their places, 0 elsewhere."""
    if mask is None:
        return numbers.reshape(shape)
    full = torch.zeros(shape, dtype=numbers.dtype)
    full[mask] = numbers.reshape(-1)
    return full


def _kept(name: str, parts: Parts, stored: tuple[int, ...], shape: Sequence[int]) -> np.ndarray | None:
    if int(np.prod(shape)) > MAX_LENGTH:
        raise NotServedError(
            f"'{name}' has {int(np.prod(shape)):,} weights a channel, and C reads {MAX_LENGTH:,} at most"
        )
    return None if parts.mask is None else in_kernel_order(parts.mask, shape)


def _rows(values: np.ndarray, kept: np.ndarray | None, bits: int, inflates: bool, lowest: int | None = None) -> Rows:
    """Rows of whole numbers in ``bits`` each: above a lowest one, or by a table, whichever holds them."""
    each = [row if kept is None else row[kept[c]] for c, row in enumerate(values)]
    least = np.array([row.min(initial=0 if not row.size else row[0]) for row in each])
    most = np.array([row.max(initial=0 if not row.size else row[0]) for row in each])
    half = 1 << bits - 1
    mask = _masked(kept)
    if lowest is None:
        lowest = -half if least.min() >= -half and most.max() < half else int(least.min())
    if most.max() - lowest < 1 << bits:
        return Rows(
            values, bits, _written([row - lowest for row in each], bits, inflates), inflates, mask, lowest=lowest
        )
    if (most - least).max() < 1 << bits:
        codes = [row - low for row, low in zip(each, least, strict=True)]
        return Rows(values, bits, _written(codes, bits, inflates), inflates, mask, lowests=least.astype(np.int8))
    for tables in ([np.unique(np.concatenate(each))], [np.unique(row) for row in each]):
        if max(map(len, tables)) <= 1 << bits:
            table = np.zeros((len(tables), 1 << bits), np.int8)
            for own, row in zip(tables, table, strict=True):
                row[: len(own)] = own
            codes = [np.searchsorted(tables[c % len(tables)], row) for c, row in enumerate(each)]
            return Rows(values, bits, _written(codes, bits, inflates), inflates, mask, table=table)
    return _rows(values, kept, MAX_BITS, inflates)


def _written(rows: Sequence[np.ndarray], bits: int, inflates: bool) -> bytes:
    if inflates:
        return deflated(np.concatenate([np.zeros(0, np.uint8), *rows]).astype(np.uint8))
    return b"".join(bitstream.pack(row, bits) for row in rows)


def _masked(kept: np.ndarray | None) -> Mask | None:
    """The smallest form of a mask whose rows begin at a byte, or follow each other where it says so."""
    if kept is None:
        return None
    forms = [("bitmap", b"".join(bitstream.pack(row.view(np.uint8), 1) for row in kept), 1, 0)]
    positions = np.flatnonzero(kept)
    if positions.size:
        gaps = np.diff(positions) - 1
        width = max(1, int(gaps.max(initial=0)).bit_length())
        forms.append(("gaps", bitstream.pack(gaps, width), width, int(positions[0])))
    groups = kept.reshape(-1, 4) if kept.shape[1] % 4 == 0 else np.zeros((0, 4), bool)
    count = int(groups[0].sum()) if groups.size else 0
    if 0 < count < 4 and (groups.sum(axis=1) == count).all():
        ways = np.array([[j in way for j in range(4)] for way in combinations(range(4), count)])
        numbers = (groups[:, None] == ways).all(axis=2).argmax(axis=1)
        forms.append(("n_of_4", bitstream.pack(numbers, 3 if count == 2 else 2), count, 0))
    kind, data, width, first = min(forms, key=lambda form: len(form[1]))
    return Mask(kept, kind, data, width, first)


def _levels(core: Encoding, factors: np.ndarray | None) -> Levels:
    codebooks = (
        [core.codebook] if isinstance(core, Quantized) else core.codebooks if isinstance(core, PerChannel) else []
    )
    if all(isinstance(each, Symmetric) for each in codebooks):
        return Levels("symmetric", np.array([[each.parameters[0]] for each in codebooks], np.float32), factors)
    if all(isinstance(each, Grid) for each in codebooks):
        numbers = np.array([[each.parameters[0], each.parameters[-1]] for each in codebooks], np.float32)
        return Levels("grid", numbers, factors)
    table = np.zeros((len(codebooks), 1 << int(core.bits)), np.float32)
    for row, each in zip(table, codebooks, strict=True):
        row[: len(each.levels)] = each.levels.numpy()
    return Levels("table", table, factors)


def _floats(levels: Levels, codes: np.ndarray, kept: np.ndarray | None, bits: int) -> np.ndarray:
    """The floats that a device makes of codes, in its order of operations: float32 of the shape of ``codes``."""
    number, rows = codes.astype(np.float32), levels.numbers
    if levels.kind == "symmetric":
        floats = (number - np.float32(1 << bits - 1)) * rows[:, :1]
    elif levels.kind == "grid":
        floats = rows[:, 1:] * number + rows[:, :1]
    else:
        floats = np.take_along_axis(np.broadcast_to(rows, (len(codes), rows.shape[1])), codes.astype(np.int64), axis=1)
    if levels.factors is not None:
        floats = floats * levels.factors[:, None]
    return floats if kept is None else np.where(kept, floats, np.float32(0))
