"""Breast cancer Wisconsin (diagnostic): 569 tumours, 30 measurements, 2 classes, bundled with scikit-learn."""

from __future__ import annotations

from pathlib import Path

from sklearn.datasets import load_breast_cancer

from edgepress.datasets import Prepared, split_and_scale, standard_scaler

DATASETS = {
    "breast_cancer": {
        "object": "prepare",
        "about": "569 tumours, 30 measurements of cell nuclei, malignant or benign",
        "task": "classification",
        "input": "table",
    },
}


def prepare(raw: Path, split_seed: int) -> Prepared:
    """30 standard-scaled inputs."""
    inputs, labels = load_breast_cancer(return_X_y=True)
    return split_and_scale("breast_cancer", inputs, labels, split_seed, standard_scaler)
