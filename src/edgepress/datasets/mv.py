"""MV, the artificial regression set of L. Torgo, as KEEL publishes it; see ``mv_synthetic`` for its definition."""

from __future__ import annotations

from pathlib import Path

from edgepress.datasets import Prepared, min_max_scaler, split_and_scale
from edgepress.datasets._tables import read_keel

DATASETS = {
    "mv": {
        "object": "prepare",
        "about": "MV as published, an artificial regression: 40,768 rows, 10 inputs",
        "task": "regression",
        "input": "table",
    },
}

INPUTS = [f"X{number}" for number in range(1, 11)]


def prepare(raw: Path, split_seed: int) -> Prepared:
    """10 min-max scaled inputs; the target in its own unit."""
    table = read_keel(raw / "mv.dat", [*INPUTS, "Y"])
    return split_and_scale("mv", table.numbers(*INPUTS), table.numbers("Y")[:, 0], split_seed, min_max_scaler)
