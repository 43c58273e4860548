"""MV, the artificial regression set of L. Torgo, generated from its definition at the size of the published file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgepress.datasets import Prepared, min_max_scaler, split_and_scale

DATASETS = {
    "mv_synthetic": {
        "object": "prepare",
        "about": "MV, an artificial regression with interacting inputs: 40,768 rows, 10 inputs",
        "task": "regression",
        "input": "table",
    },
}

ROWS = 40_768
_SEED = 0  # fixed: the data set does not depend on the seeds of a run


def generate(rows: int, generator: np.random.Generator) -> np.ndarray:
    """Draw inputs X1 … X10, shape (rows, 10): dependent, some of them discrete."""
    x1 = generator.uniform(-5, 5, rows)
    x2 = generator.uniform(-15, -10, rows)
    shares = np.where(x1[:, None] > 0, [[0.52, 0.76]], [[0.68, 1.0]])
    x3 = (generator.uniform(size=rows)[:, None] >= shares).sum(axis=1)
    x4 = np.where(generator.uniform(size=rows) < 0.7, x2 / 2, x1 / 2)
    x5 = generator.uniform(-1, 1, rows)
    x6 = x4 * generator.uniform(0, 5, rows)
    x7 = generator.uniform(size=rows) < 0.3
    x8 = x5 >= 0.5
    x9 = generator.uniform(100, 500, rows)
    x10 = generator.integers(1000, 1200, rows, endpoint=True)
    return np.stack([x1, x2, x3, x4, x5, x6, x7, x8, x9, x10], axis=1).astype(np.float64)


def target(inputs: np.ndarray) -> np.ndarray:
    """The target of each row, shape (rows,): the minimum of the clauses that apply."""
    x1, _, _, x4, _, x6, x7, x8, _, _ = inputs.T
    with np.errstate(divide="ignore"):
        clauses = [
            x1 / 2,
            np.where(x8 == 0, x6 + x1, np.inf),
            np.where(x7 == 1, 3 - x1 / x4, np.inf),
            np.where((x4 >= -2) & (x4 <= 2), 10 - 2 * x1, np.inf),
        ]
    smallest: np.ndarray = np.min(clauses, axis=0)
    return smallest


def prepare(raw: Path, split_seed: int) -> Prepared:
    """10 min-max scaled inputs; the target in its own unit."""
    inputs = generate(ROWS, np.random.default_rng(_SEED))
    return split_and_scale("mv_synthetic", inputs, target(inputs), split_seed, min_max_scaler)
