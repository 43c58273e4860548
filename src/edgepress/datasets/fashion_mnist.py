"""Fashion-MNIST (Xiao, Rasul and Vollgraf 2017): 70,000 grey images of articles of clothing, 10 classes."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from edgepress.datasets import AGAIN, DataError, Prepared, read_bytes
from edgepress.datasets._images import Images, normalise

DATASETS = {
    "fashion_mnist": {
        "object": "prepare",
        "about": "70,000 grey images of clothing, 28×28 within 32×32, 10 classes",
        "task": "classification",
        "input": "image",
    },
}

SIDE, MARGIN = 28, 2


def prepare(raw: Path, split_seed: int) -> Prepared:
    """Images of shape (1, 32, 32), padded with background and standardized over all training pixels.

    The official 10,000 test images are test; 6,000 of the other 60,000, drawn by ``split_seed``, are val.
    """
    return normalise("fashion_mnist", _read(raw, "train"), _read(raw, "t10k"), 10, split_seed)


def _read(raw: Path, part: str) -> Images:
    file = raw / f"{part}-images-idx3-ubyte"
    pixels = read_idx(file, 3)
    if pixels.shape[1:] != (SIDE, SIDE):
        raise DataError(f"{file}: images are {pixels.shape[1]}×{pixels.shape[2]} but must be {SIDE}×{SIDE}; {AGAIN}")
    margin = (MARGIN, MARGIN)
    return Images(
        file, np.pad(pixels, ((0, 0), margin, margin))[:, None], read_idx(raw / f"{part}-labels-idx1-ubyte", 1)
    )


def read_idx(file: Path, dimensions: int) -> np.ndarray:
    """Read a file of bytes in the idx format (Y. LeCun's MNIST) as uint8 with ``dimensions`` dimensions.

    It starts with the bytes 0, 0, 8 and the number of dimensions, then their sizes, 32 bits each, big-endian.
    """
    content = read_bytes(file)
    begin = 4 + 4 * dimensions
    if len(content) < begin or content[:4] != bytes([0, 0, 8, dimensions]):
        raise DataError(f"{file}: its header is not that of bytes in {dimensions} dimensions; {AGAIN}")
    shape = struct.unpack(f">{dimensions}I", content[4:begin])
    expected = begin + int(np.prod(shape, dtype=object))
    if len(content) != expected:
        raise DataError(f"{file} has {len(content):,} bytes but its header says {expected:,}; {AGAIN}")
    return np.frombuffer(content, dtype=np.uint8, offset=begin).reshape(shape)
