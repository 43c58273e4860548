"""Prepare sets of images that come divided into training and test images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from edgepress.datasets import AGAIN, DataError, Prepared


@dataclass(frozen=True)
class Images:
    """``pixels``, uint8 of shape (rows, channels, height, width), and ``labels``, of shape (rows,), from ``file``."""

    file: Path
    pixels: np.ndarray
    labels: np.ndarray


def normalise(name: str, train: Images, test: Images, classes: int, split_seed: int) -> Prepared:
    """A tenth of the training images, drawn by ``split_seed``, becomes val; the test images stay test.

    Each channel is shifted and scaled by its mean and deviation over all pixels of the images left to train on.
    Raises DataError where there are no images, or a label is none of the ``classes``.
    """
    for images in (train, test):
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
    drawn = np.random.default_rng(split_seed).permutation(len(train.pixels))
    val_rows, train_rows = np.sort(drawn[: len(drawn) // 10]), np.sort(drawn[len(drawn) // 10 :])
    values = _values(train.pixels, train_rows)
    parts = {"train": (train, train_rows), "val": (train, val_rows), "test": (test, np.arange(len(test.pixels)))}
    return Prepared(
        name=name,
        task="classification",
        outputs=classes,
        inputs={split: _apply(values, images.pixels, rows) for split, (images, rows) in parts.items()},
        targets={
            split: torch.from_numpy(images.labels[rows].astype(np.int64)) for split, (images, rows) in parts.items()
        },
    )


def _values(pixels: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """What each pixel value becomes in each channel, float32 of shape (channels, 256)."""
    levels, tables = np.arange(256), []
    for channel in range(pixels.shape[1]):
        counts = sum(
            np.bincount(pixels[some, channel].ravel(), minlength=256)
            for some in np.array_split(rows, 1 + len(rows) // 1000)
        )
        mean = counts @ levels / counts.sum()
        deviation = np.sqrt(counts @ (levels - mean) ** 2 / counts.sum())
        tables.append((levels - mean) / (deviation or 1))
    return np.stack(tables).astype(np.float32)


def _apply(values: np.ndarray, pixels: np.ndarray, rows: np.ndarray) -> torch.Tensor:
    result = np.empty((len(rows), *pixels.shape[1:]), dtype=np.float32)
    for channel, table in enumerate(values):
        result[:, channel] = table[pixels[rows, channel]]
    return torch.from_numpy(result)
