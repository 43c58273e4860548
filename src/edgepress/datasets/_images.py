"""Prepare sets of images that come divided into training and test images."""

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
    val: Images | float = 0.1,
    learn: Callable[[np.ndarray], Moments] = standard_pixels,
) -> Prepared:
    """A tenth of the training images, drawn by ``split_seed``, becomes val, or another share; or val is given.

    Each channel is shifted and scaled by what ``learn`` makes of the counts of its pixel values, of shape (channels,
    256), in the images left to train on: by their mean and deviation. Raises DataError where there are no images, or
    a label is none of the ``classes``.
    """
    count = int(val * len(train.pixels)) if isinstance(val, float) else 0
    drawn = np.random.default_rng(split_seed).permutation(len(train.pixels))
    parts = {
        "train": (train, np.sort(drawn[count:])),
        "val": (train, np.sort(drawn[:count])) if isinstance(val, float) else (val, np.arange(len(val.pixels))),
        "test": (test, np.arange(len(test.pixels))),
    }
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
    """What each pixel value becomes in each channel, float32 of shape (channels, 256)."""
    pixels = images.pixels
    blocks = np.array_split(rows, 1 + len(rows) // 1000)
    counts = np.stack(
        [
            sum(np.bincount(pixels[some, channel].ravel(), minlength=256) for some in blocks)
            for channel in range(pixels.shape[1])
        ]
    )
    shift, width = learn(counts)
    return ((np.arange(256) - shift[:, None]) / np.where(width == 0, 1, width)[:, None]).astype(np.float32)


def _apply(values: np.ndarray, pixels: np.ndarray, rows: np.ndarray) -> torch.Tensor:
    result = np.empty((len(rows), *pixels.shape[1:]), dtype=np.float32)
    for channel, table in enumerate(values):
        result[:, channel] = table[pixels[rows, channel]]
    return torch.from_numpy(result)
