"""MAGIC gamma telescope (R. K. Bock 2004): 19,020 simulated showers of particles, gamma rays or hadrons."""

from __future__ import annotations

from pathlib import Path

from edgepress.datasets import Prepared, split_and_scale, standard_scaler
from edgepress.datasets._tables import read_csv

DATASETS = {
    "telescope": {
        "object": "prepare",
        "about": "19,020 simulated showers of particles, 10 inputs: gamma ray or hadron",
        "task": "classification",
        "input": "table",
    },
}

INPUTS = ["fLength", "fWidth", "fSize", "fConc", "fConc1", "fAsym", "fM3Long", "fM3Trans", "fAlpha", "fDist"]


def prepare(raw: Path, split_seed: int) -> Prepared:
    """10 standard-scaled inputs; class 0 is gamma (g), class 1 is hadron (h)."""
    table = read_csv(raw / "telescope.dat", [*INPUTS, "class"], header=False)
    return split_and_scale(
        "telescope", table.numbers(*INPUTS), table.codes("class", ["g", "h"]), split_seed, standard_scaler
    )
