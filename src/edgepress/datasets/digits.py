"""Handwritten digits: 1,797 grey images of 8×8, 10 classes (Alpaydin and Kaynak 1998), bundled with scikit-learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from edgepress.datasets import Prepared, split_and_scale

DATASETS = {
    "digits": {
        "object": "prepare",
        "about": "1,797 grey images of handwritten digits, 8×8, 10 classes",
        "task": "classification",
        "input": "image",
    },
}


def prepare(raw: Path, split_seed: int) -> Prepared:
    """Images of shape (1, 8, 8), standardized over all training pixels."""
    images, labels = load_digits(return_X_y=True)
    return split_and_scale(
        "digits",
        images.reshape(-1, 1, 8, 8),
        labels,
        split_seed,
        lambda train: (np.asarray(train.mean()), np.asarray(train.std())),
    )
