"""Codebooks: the values that a weight may take, and their codes.

A codebook is fitted to a tensor at b bits and has 2^b values in ascending order (attribute ``levels``). ``encode``
gives each weight the code of the nearest value or, given random bits, of either neighbour so that the mean is kept;
``decode`` returns the values. The definitions are the study's, corrected (values sorted, fitted to weights only).

``uniform``, ``uniform_iqr``, ``histogram``, ``midrise``, ``normal``, ``kde``, ``lloyd_max`` and ``symmetric`` fit one.
Each takes finite weights, a float tensor of any shape, and 1 to 16 bits; values are in the unit of the weights. Each
raises ValueError if there is no weight, one is NaN or infinite, or bits are out of range. The first five are the
study's definitions, except for the scale of ``midrise``.

Positions are computed in float32: on a grid of 12 bits and more, a weight within some hundredths of a scale of the
midpoint of two values may round to the other one, which is equally near up to a few units in the last place.

Operations work in place on blocks that fit the cache: quantizing costs a few passes over the L2 cache and one over
memory.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from edgepress.distribution import quantiles_of, smooth_density, tukey_fences

MAX_BITS = 16
_BLOCK = 1 << 17
_LARGEST = torch.finfo(torch.float32).max
_SMALLEST_STEP, _LARGEST_REACH = 2.0**-100, 2.0**100  # beyond these float32 cannot hold weight / scale
_LLOYD_ROUNDS = 100
_STEP_CANDIDATES = 100
_RANDOM_STEPS = 1 << 16  # resolution of the uniform numbers behind stochastic rounding


def code_type(bits: int) -> torch.dtype:
    """The dtype of codes: uint8 up to 8 bits, else int32, the narrowest that torch computes with."""
    return torch.uint8 if bits <= 8 else torch.int32


def random_bits(count: int, generator: torch.Generator) -> Tensor:
    """Draw ``count`` uniform int16 numbers, four from each 64-bit draw, which is the expensive part of rounding."""
    words = torch.empty(-(-count // 4), dtype=torch.int64)
    return words.random_(-(2**63), None, generator=generator).view(torch.int16)[:count]


class Codebook(ABC):
    """2^bits float32 values in ascending order, stored as a few parameters."""

    kind: ClassVar[str]
    parameter_count: ClassVar[int | None]  # None if it depends on the weights
    stored_as: ClassVar[torch.dtype] = torch.float64

    def __init__(self, bits: int, parameters: Tensor) -> None:
        self.size = _level_count(bits)
        if self.parameter_count not in (None, parameters.numel()):
            raise ValueError(f"a {self.kind} has {self.parameter_count} parameters, not {parameters.numel()}")
        self.bits = bits
        self.parameters = parameters.to(self.stored_as)

    def in_float32(self) -> Codebook:
        """The codebook with its parameters in single precision."""
        return type(self)(self.bits, self.parameters.to(torch.float32))

    @cached_property
    def levels(self) -> Tensor:
        """The values, float32, shape (2^bits,), ascending."""
        return self._levels().clamp(-_LARGEST, _LARGEST).to(torch.float32)

    @abstractmethod
    def _levels(self) -> Tensor: ...

    def encode(self, weights: Tensor, noise: Tensor | None = None) -> Tensor:
        """Give each weight the code of a value.

        Without ``noise`` the nearest value; ties go up. With ``noise``, one int16 of random bits per weight, one of the
        neighbouring values l < w < u, u with probability (w − l)/(u − l); a weight that equals a value or is outside
        the codebook is not drawn.

        Returns codes in [0, 2^bits), of the shape of ``weights``: uint8 up to 8 bits, else int32.
        """
        flat = weights.detach().reshape(-1).to(torch.float32)
        codes = torch.empty(flat.numel(), dtype=code_type(self.bits))
        for rows in _blocks(flat.numel()):
            self._encode_block(flat[rows], None if noise is None else noise[rows], codes[rows])
        return codes.reshape(weights.shape)

    @abstractmethod
    def _encode_block(self, weights: Tensor, noise: Tensor | None, codes: Tensor) -> None: ...

    def decode(self, codes: Tensor) -> Tensor:
        """The values of ``codes``, float32, of the same shape."""
        flat = codes.reshape(-1)
        values = torch.empty(flat.numel(), dtype=torch.float32)
        for rows in _blocks(flat.numel()):
            torch.index_select(self.levels, 0, flat[rows].to(torch.int32), out=values[rows])
        return values.reshape(codes.shape)


class Grid(Codebook):
    """Evenly spaced values: value i is offset + i·step; ``step`` is the scale."""

    kind = "grid"
    parameter_count = 2

    @classmethod
    def of(cls, bits: int, offset: float, step: float) -> Grid:
        """The grid that starts at ``offset`` with scale ``step`` ≥ 0."""
        return cls(bits, torch.tensor([offset, step], dtype=torch.float64))

    @property
    def offset(self) -> float:
        """The lowest value."""
        return float(self.parameters[0])

    @property
    def step(self) -> float:
        """The scale: the distance between neighbouring values."""
        return float(self.parameters[-1])

    def _levels(self) -> Tensor:
        return self.offset + self.step * torch.arange(self.size, dtype=torch.float64)

    @cached_property
    def _scale(self) -> tuple[torch.dtype, float, float, float, float]:
        """Constants of encoding: the dtype to compute in, the origin in it, the remainder of the offset in units of the
        scale, 1/scale, and the guard.

        A float32 weight on a value of the grid deviates from it by up to half a unit in the last place, and so does its
        position. The guard is that error in units of the scale; stochastic rounding does not draw within it.
        """
        offset, step = self.offset, self.step
        reach = max(abs(offset), abs(offset + step * (self.size - 1)))
        dtype = torch.float32 if step > _SMALLEST_STEP and reach < _LARGEST_REACH else torch.float64
        origin = float(torch.tensor(offset, dtype=dtype))
        if step == 0:
            return dtype, origin, 0.0, 0.0, 0.0
        guard = min(0.5, torch.finfo(torch.float32).eps * (reach / step + self.size))
        return dtype, origin, (offset - origin) / step, 1 / step, guard

    def _encode_block(self, weights: Tensor, noise: Tensor | None, codes: Tensor) -> None:
        dtype, origin, missed, per_step, guard = self._scale
        position = weights.to(dtype) - origin
        if noise is None:
            torch.add(torch.tensor(0.5 - missed, dtype=dtype), position, alpha=per_step, out=position)
        else:
            # The added number is uniform on [guard, 1 − guard), the midpoint of one of 2^16 intervals.
            spread = (1 - 2 * guard) / _RANDOM_STEPS
            torch.add(torch.tensor(0.5 + spread / 2 - missed, dtype=dtype), position, alpha=per_step, out=position)
            position.add_(noise.to(dtype), alpha=spread)
        # Conversion to integer truncates, which is the floor because no position is negative here.
        codes.copy_(position.clamp_(0, self.size - 1))


class Symmetric(Grid):
    """Integer multiples of a scale, from −2^(b−1) to 2^(b−1) − 1, as integer arithmetic multiplies them."""

    kind = "symmetric"
    parameter_count = 1
    stored_as = torch.float32

    @property
    def offset(self) -> float:
        """The lowest value."""
        return -(self.size // 2) * self.step


class Sorted(Codebook):
    """Values at any distance from each other, found by binary search."""

    @cached_property
    def _subtrahends(self) -> Tensor:
        """The values in float32, or in float64 if differences overflow float32."""
        return self.levels if bool((self.levels[-1] - self.levels[0]).isfinite()) else self.levels.to(torch.float64)

    def _encode_block(self, weights: Tensor, noise: Tensor | None, codes: Tensor) -> None:
        below = torch.bucketize(weights, self.levels, right=True, out_int32=True)
        below.sub_(1).clamp_(0, max(0, self.size - 2))
        low = torch.index_select(self._subtrahends, 0, below)
        high = torch.index_select(self._subtrahends, 0, (below + 1).clamp_(max=self.size - 1))
        share = (weights - low).div_(high - low)
        if noise is None:
            goes_up = share >= 0.5
        else:
            threshold = noise.to(torch.float32).add_(_RANDOM_STEPS / 2 + 0.5).div_(_RANDOM_STEPS)
            goes_up = share >= threshold
        codes.copy_(below.add_(goes_up))


class Normal(Sorted):
    """Quantiles of a normal distribution at equal probabilities, and the smallest and largest weight."""

    kind = "normal"
    parameter_count = 4

    def _levels(self) -> Tensor:
        mean, std, low, high = self.parameters
        shares = torch.linspace(0, 1, self.size, dtype=torch.float64)[1:-1]
        inner = torch.special.ndtri(shares) * std + mean
        return torch.cat([low[None], inner, high[None]]).sort().values


class Table(Sorted):
    """Up to 2^bits arbitrary values, each stored as float32."""

    kind = "table"
    parameter_count = None
    stored_as = torch.float32

    def __init__(self, bits: int, parameters: Tensor) -> None:
        super().__init__(bits, parameters)
        if not 1 <= parameters.numel() <= self.size:
            raise ValueError(f"{parameters.numel()} values are not between 1 and {self.size}")
        self.size = parameters.numel()

    def _levels(self) -> Tensor:
        return self.parameters

    def without_unused(self, codes: Tensor) -> tuple[Tensor, Table]:
        """The codes renumbered, and the table reduced to the values that they use, with as few bits as possible."""
        used, renumbered = torch.unique(codes, return_inverse=True)
        bits = max(1, (used.numel() - 1).bit_length())
        return renumbered.to(code_type(bits)), Table(bits, self.levels[used.long()])


KINDS: dict[str, type[Codebook]] = {kind.kind: kind for kind in (Grid, Symmetric, Normal, Table)}


def uniform(weights: Tensor, bits: int) -> Grid:
    """2^b values evenly spaced from the smallest weight to the largest.

    >>> uniform(torch.tensor([-1.0, 0.2, 2.0]), bits=2).levels
    tensor([-1.,  0.,  1.,  2.])
    """
    low, high = _extremes(weights)
    return Grid.of(bits, low, (high - low) / (_level_count(bits) - 1))


def uniform_iqr(weights: Tensor, bits: int) -> Grid:
    """2^b values evenly spaced between Tukey's fences, Q1 − 1.5·IQR and Q3 + 1.5·IQR; weights outside are clipped."""
    _extremes(weights)
    low, high = (min(max(fence, -_LARGEST), _LARGEST) for fence in tukey_fences(weights))
    return Grid.of(bits, low, (high - low) / (_level_count(bits) - 1))


def histogram(weights: Tensor, bits: int) -> Grid:
    """The midpoints of 2^b bins of equal width from the smallest weight to the largest."""
    low, high = _extremes(weights)
    step = (high - low) / _level_count(bits)
    return Grid.of(bits, low + step / 2, step)


def midrise(weights: Tensor, bits: int) -> Grid:
    """Mid-rise values Δ(k + ½), k = −2^(b−1) … 2^(b−1) − 1, with Δ = 2·max|w|/2^b: symmetric, no weight is clipped.

    Rounding to the nearest is q = Δ(⌊w/Δ⌋ + ½), at most Δ/2 away. A constant tensor is kept. (The study's Δ,
    (max − min)/2^b, needs another value at one end, or clips there, unless the extremes are multiples of it.)
    """
    low, high = _extremes(weights)
    step = 2 * max(-low, high) / _level_count(bits)
    return Grid.of(bits, low, 0.0) if low == high else Grid.of(bits, step / 2 - max(-low, high), step)


def normal(weights: Tensor, bits: int) -> Normal:
    """Quantiles of a normal distribution with the weights' mean and sample standard deviation at linspace(0, 1, 2^b)
    without its ends, and the smallest and largest weight."""
    low, high = _extremes(weights)
    std, mean = torch.std_mean(weights.detach().to(torch.float64), correction=min(1, weights.numel() - 1))
    return Normal(bits, torch.tensor([mean, std, low, high], dtype=torch.float64))


def kde(weights: Tensor, bits: int) -> Table:
    """Quantiles of a Gaussian kernel density estimate at linspace(0, 1, 2^b) without its ends, and the extremes: like
    ``normal``, for weights of any distribution.
    """
    low, high = _extremes(weights)
    shares = torch.linspace(0, 1, _level_count(bits), dtype=torch.float64)[1:-1]
    inner = quantiles_of(*smooth_density(weights), shares).clamp_(low, high)
    ends = torch.tensor([low, high], dtype=torch.float64)
    return Table(bits, torch.cat([inner, ends]).to(torch.float32).unique())


def lloyd_max(weights: Tensor, bits: int) -> Table:
    """The values of least mean squared error, by Lloyd's iteration (Lloyd 1982; k-means).

    The initial density of values is the cube root of the weights' density, which is optimal for many values (Panter and
    Dite 1951). Exact if there are at most 2^b distinct weights. A value that is nearest to no weight does not move.

    >>> lloyd_max(torch.tensor([-1.0, -0.9, 0.1, 0.2]), bits=1).levels
    tensor([-0.9500,  0.1500])
    """
    low, high = _extremes(weights)
    ordered = weights.detach().reshape(-1).to(torch.float64).sort().values
    distinct = ordered.unique_consecutive()
    if distinct.numel() <= _level_count(bits):
        return Table(bits, distinct)
    sums = torch.cat([torch.zeros(1, dtype=torch.float64), ordered.cumsum(0)])
    density, start, end = smooth_density(weights)
    shares = (torch.arange(_level_count(bits), dtype=torch.float64) + 0.5) / _level_count(bits)
    levels = quantiles_of(density ** (1 / 3), start, end, shares).clamp_(low, high)
    for _ in range(_LLOYD_ROUNDS):
        edges = torch.searchsorted(ordered, (levels[1:] + levels[:-1]) / 2)
        edges = torch.cat([torch.zeros(1, dtype=torch.int64), edges, torch.tensor([ordered.numel()])])
        counts, totals = edges.diff(), sums[edges].diff()
        moved = torch.where(counts > 0, totals / counts.clamp(min=1), levels)
        settled = bool((moved - levels).abs().max() <= 1e-6 * (high - low) / _level_count(bits))
        levels = moved
        if settled:
            break
    return Table(bits, levels.to(torch.float32).unique())


def symmetric(weights: Tensor, bits: int) -> Symmetric:
    """Multiples of the scale of least squared error, among a hundred scales up to the one that clips no weight."""
    _extremes(weights)
    return Symmetric(bits, least_error_steps(weights.detach().reshape(1, -1), bits))


def least_error_steps(rows: Tensor, bits: int) -> Tensor:
    """For each row, the scale of the symmetric grid of least squared error, float32, shape (rows,).

    ``rows`` is a float tensor of shape (rows, entries). A row of zeros gets scale 0.
    """
    half = _level_count(bits) / 2
    rows = rows.to(torch.float32)
    largest = (rows.abs().amax(dim=1) / max(half - 1, 0.5)).clamp(max=_LARGEST / half)
    unit = rows / largest.clamp(min=torch.finfo(torch.float32).tiny)[:, None]
    best, least = torch.ones_like(largest), torch.full_like(largest, torch.inf)
    levels = torch.empty_like(unit)
    for place in range(_STEP_CANDIDATES, 0, -1):
        share = place / _STEP_CANDIDATES
        torch.mul(unit, 1 / share, out=levels).round_().clamp_(-half, half - 1).mul_(share).sub_(unit)
        error = torch.linalg.vector_norm(levels, dim=1)
        best = torch.where(error < least, share, best)
        least = torch.minimum(error, least)
    return largest * best


def _level_count(bits: int) -> int:
    """2^bits. Raises ValueError if ``bits`` is out of range."""
    if not 1 <= bits <= MAX_BITS:
        raise ValueError(f"{bits} bits are not between 1 and {MAX_BITS}")
    return 1 << bits


def _extremes(weights: Tensor) -> tuple[float, float]:
    """The smallest and largest weight. Raises ValueError if there is none or one is not finite in float32."""
    if weights.numel() == 0:
        raise ValueError("an empty tensor has no codebook")
    low, high = (float(value) for value in torch.aminmax(weights.detach()))
    if not (abs(low) <= _LARGEST and abs(high) <= _LARGEST):  # also false for NaN
        raise ValueError("weights that are NaN or infinite have no codebook")
    return low, high


def _blocks(count: int) -> Iterator[slice]:
    return (slice(first, first + _BLOCK) for first in range(0, count, _BLOCK))
