"""How the user's own data are scaled."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from edgepress.datasets import DataError

Moments = tuple[np.ndarray, np.ndarray]  # what to subtract, and what to divide by then


def scaler(
    scaling: str, mean: Sequence[float] | None, std: Sequence[float] | None, axis: int | tuple[int, ...]
) -> Callable[[np.ndarray], Moments]:
    """What learns shift and scale from training rows, over ``axis``, as the settings of the same names ask for.

    ``mean`` and ``std``, where they are given, are taken as they are; DataError where they are too many or too few.
    """

    def fit(train: np.ndarray) -> Moments:
        low, high = train.min(axis=axis, keepdims=True)[0], train.max(axis=axis, keepdims=True)[0]
        if mean is not None and std is not None:
            return _given(mean, std, low.size, low.shape)
        if scaling == "standard":
            return train.mean(axis=axis, keepdims=True)[0], train.std(axis=axis, keepdims=True)[0]
        return (low, high - low) if scaling == "min_max" else (np.zeros_like(low), np.ones_like(low))

    return fit


def pixel_scaler(
    scaling: str, mean: Sequence[float] | None, std: Sequence[float] | None
) -> Callable[[np.ndarray], Moments]:
    """The same for images: it learns from the counts of pixel values, of shape (channels, 256).

    Pixels are from 0 to 255; ``mean`` and ``std`` count them from 0 to 1, and so do they where nothing else is asked.
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
    """Mean and standard deviation of each channel, from the counts of its pixel values (channels, 256)."""
    values, pixels = np.arange(256), counts.sum(axis=1)
    mean = counts @ values / pixels
    return mean, np.sqrt((counts * (values - mean[:, None]) ** 2).sum(axis=1) / pixels)


def _given(mean: Sequence[float], std: Sequence[float], count: int, shape: tuple[int, ...]) -> Moments:
    if len(mean) != count:
        raise DataError(f"`mean` and `std` have {len(mean)} numbers each, for {count} columns or channels")
    return np.reshape(mean, shape), np.reshape(std, shape)
