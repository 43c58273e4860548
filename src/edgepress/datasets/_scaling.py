"""Scaling of the user's own data."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from edgepress.datasets import SPLITS, DataError, Prepared, counted, note, some

_LOST = 1e-3  # rounding error allowed in a column, relative to its standard deviation
_FAR = 1000
_EXACT_INTEGERS = 2.0**53  # beyond this float64 skips integers
Moments = tuple[np.ndarray, np.ndarray]  # (shift, scale): subtract, then divide


def scaler(
    scaling: str, mean: Sequence[float] | None, std: Sequence[float] | None, axis: int | tuple[int, ...]
) -> Callable[[np.ndarray], Moments]:
    """A function that fits shift and scale to training rows, over ``axis``, by the settings of the same names.

    ``mean`` and ``std`` are used unchanged if given; DataError if their number is wrong.
    """

    def fit(train: np.ndarray) -> Moments:
        low, high = (end(axis=axis, keepdims=True)[0].astype(np.float64) for end in (train.min, train.max))
        if mean is not None and std is not None:
            return _given(mean, std, low.size, low.shape)
        if scaling == "standard":
            return _moments(train, axis)
        return (low, high - low) if scaling == "min_max" else (np.zeros_like(low), np.ones_like(low))

    return fit


def first(columns: int, fit: Callable[[np.ndarray], Moments]) -> Callable[[np.ndarray], Moments]:
    """``fit`` for the first ``columns``; later ones keep their values."""

    def fit_first(train: np.ndarray) -> Moments:
        shift, width = np.zeros(train.shape[1]), np.ones(train.shape[1])
        if columns:
            shift[:columns], width[:columns] = fit(train[:, :columns])
        return shift, width

    return fit_first


def _moments(train: np.ndarray, axis: int | tuple[int, ...]) -> Moments:
    """Mean and standard deviation, computed after subtracting the minimum: exact for a constant, and a large offset
    costs no digits.
    """
    low = train.min(axis=axis, keepdims=True).astype(np.float64)
    # In float64 block by block, because uint8 images would take eight times their memory at once.
    blocks = np.array_split(train, 1 + len(train) // 1000)
    count = train.size / low.size
    mean = sum((block - low).sum(axis=axis, keepdims=True) for block in blocks) / count
    variance = sum(((block - low - mean) ** 2).sum(axis=axis, keepdims=True) for block in blocks) / count
    return (low + mean)[0], np.sqrt(variance)[0]


def pixel_scaler(
    scaling: str, mean: Sequence[float] | None, std: Sequence[float] | None
) -> Callable[[np.ndarray], Moments]:
    """The same for images, fitted to the histogram of pixel values, of shape (channels, 256).

    Pixels range from 0 to 255; ``mean`` and ``std`` refer to 0 to 1, the range without scaling.
    """

    def fit(counts: np.ndarray) -> Moments:
        channels, values = len(counts), np.arange(256)
        if mean is not None and std is not None:
            shift, width = _given(mean, std, channels, (channels,))
            return 255 * shift, 255 * width
        if scaling == "standard":
            return standard_pixels(counts)
        there = np.where(counts > 0, values, np.nan)
        low, high = np.nanmin(there, axis=1), np.nanmax(there, axis=1)
        return (low, high - low) if scaling == "min_max" else (np.zeros(channels), np.full(channels, 255.0))

    return fit


def standard_pixels(counts: np.ndarray) -> Moments:
    """Mean and standard deviation of each channel, from its histogram of pixel values (channels, 256)."""
    values, pixels = np.arange(256), counts.sum(axis=1)
    mean = counts @ values / pixels
    return mean, np.sqrt((counts * (values - mean[:, None]) ** 2).sum(axis=1) / pixels)


def _given(mean: Sequence[float], std: Sequence[float], count: int, shape: tuple[int, ...]) -> Moments:
    if len(mean) != count:
        raise DataError(f"`mean` and `std` have {len(mean)} numbers each, for {count} columns or channels")
    return np.reshape(mean, shape), np.reshape(std, shape)


def in_float32(source: str, targets: np.ndarray) -> np.ndarray:
    """The targets of a regression as float32, in which networks compute.

    Raises DataError if float32 shifts them by more than a thousandth of their standard deviation.
    """
    exact = targets.astype(np.float64)
    with np.errstate(over="ignore"):
        rounded = exact.astype(np.float32)
    distinct, kept = len(np.unique(targets)), len(np.unique(rounded))
    error = np.abs(rounded - exact)
    if np.isfinite(rounded).all() and error.max() > _LOST * (exact - exact[0]).std() and distinct > 1:
        row = int(np.argmax(error))
        raise DataError(f"{source}: float32, in which networks compute, distinguishes {kept:,} of its {distinct:,} "
                        f"values ({targets[row]!s} becomes {rounded[row]:.0f}); subtract an offset, such as "
                        f"{exact.min():.17g}, from all of them")  # fmt: skip
    return rounded


def say_odd_columns(source: str, columns: Sequence[str], inputs: np.ndarray, data: Prepared) -> None:
    """Note columns whose values float32 merges, columns that are constant in train, and columns where val or test are
    far beyond train.

    ``inputs`` are unscaled, of shape (rows, columns) in the order of ``columns``; ``data`` may have further columns.
    """
    scaled = {split: data.inputs[split][:, : len(columns)].numpy() for split in SPLITS}
    spread = scaled["train"].std(axis=0, dtype=np.float64)
    top = {split: np.abs(numbers).max(axis=0) for split, numbers in scaled.items()}
    step = np.finfo(np.float32).eps * np.maximum.reduce(list(top.values()))
    merged, constant = [], []
    largest = np.abs(inputs).max(axis=0).astype(np.float64)
    for place in map(int, np.flatnonzero((step >= _LOST * spread) | (largest >= _EXACT_INTEGERS))):
        distinct = len(np.unique(inputs[:, place]))
        kept = len(np.unique(np.concatenate([numbers[:, place] for numbers in scaled.values()])))
        if kept < distinct:
            merged.append(f"{columns[place]} (keeps {kept:,} of {distinct:,})")
        elif spread[place] == 0:
            constant.append(columns[place])
    beyond = (np.maximum(top["val"], top["test"]) > _FAR * top["train"]) & (spread > 0)
    far = [name for name, is_far in zip(columns, beyond, strict=True) if is_far]
    for names, what in (
        (merged, "with values that float32, in which networks compute, does not distinguish; subtract an offset first"),
        (constant, "constant in train, kept in the file's unit"),
        (far, f"with values in val or test more than {_FAR:,} times as far from 0, once scaled, as any in train"),
    ):
        if names:
            note(f"{source}: {counted(len(names), 'column', 'columns')} {what}: {some(names)}")
