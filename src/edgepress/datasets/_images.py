"""Prepares image data sets that come with a train/test split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from edgepress.datasets import AGAIN, DataError, Prepared
from edgepress.datasets._scaling import Moments, standard_pixels


@dataclass(frozen=True)
class Images:
    """``pixels``, uint8 of shape (rows, channels, height, width), and ``labels``, of shape (rows,), from ``file``."""

    file: Path
    pixels: np.ndarray
    labels: np.ndarray


def normalise(
    name: str,
    train: Images,
    test: Images,
    classes: int,
    split_seed: int,
    *,
    val: Images | np.ndarray | None = None,
    learn: Callable[[np.ndarray], Moments] = standard_pixels,
) -> Prepared:
    """Normalize images and make a data set of them. ``val`` is given as images or as indices of training images; None
    draws a tenth of the training images by ``split_seed``.

    ``learn`` gets the histogram of pixel values of each channel of the training images, of shape (channels, 256), and
    returns shift and scale per channel. Raises DataError if there are no images or a label is not in the ``classes``.
    """
    every = np.arange(len(train.pixels))
    if val is None:
        val = np.random.default_rng(split_seed).permutation(every)[: len(every) // 10]
    if isinstance(val, Images):
        parts = {"train": (train, every), "val": (val, np.arange(len(val.pixels)))}
    else:
        parts = {"train": (train, np.setdiff1d(every, val)), "val": (train, np.sort(val))}
    parts["test"] = (test, np.arange(len(test.pixels)))
    for images, _ in parts.values():
        if not len(images.pixels):
            raise DataError(f"{images.file} has no images; {AGAIN}")
        if len(images.labels) != len(images.pixels):
            raise DataError(f"{images.file}: {len(images.labels):,} labels for {len(images.pixels):,} images; {AGAIN}")
        if images.labels.max() >= classes:
            row = int(np.argmax(images.labels >= classes))
            raise DataError(
                f"{images.file}: label {images.labels[row]} of image {row + 1} is not one of 0 to {classes - 1}; "
                f"{AGAIN}"
            )
    values = _values(*parts["train"], learn)
    return Prepared(
        name=name,
        task="classification",
        outputs=classes,
        inputs={split: _apply(values, images.pixels, rows) for split, (images, rows) in parts.items()},
        targets={
            split: torch.from_numpy(images.labels[rows].astype(np.int64)) for split, (images, rows) in parts.items()
        },
    )


def _values(images: Images, rows: np.ndarray, learn: Callable[[np.ndarray], Moments]) -> np.ndarray:
    """The normalized value of each pixel value in each channel, float32 of shape (channels, 256)."""
    pixels = images.pixels
    blocks = np.array_split(rows, 1 + len(rows) // 1000)
    counts = np.stack(
        [
            sum(np.bincount(pixels[some, channel].ravel(), minlength=256) for some in blocks)
            for channel in range(pixels.shape[1])
        ]
    )
    shift, width = learn(counts)
    width = np.where(width == 0, 255, width)  # a constant channel: pixels range from 0 to 1
    return ((np.arange(256) - shift[:, None]) / width[:, None]).astype(np.float32)


def _apply(values: np.ndarray, pixels: np.ndarray, rows: np.ndarray) -> torch.Tensor:
    result = np.empty((len(rows), *pixels.shape[1:]), dtype=np.float32)
    for channel, table in enumerate(values):
        result[:, channel] = table[pixels[rows, channel]]
    return torch.from_numpy(result)
