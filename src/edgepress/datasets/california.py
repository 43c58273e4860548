"""California housing (Pace and Barry 1997, as KEEL publishes it): the median value of houses in 20,640 districts."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgepress.datasets import Prepared, divide, min_max_scaler, scale
from edgepress.datasets._tables import read_keel

DATASETS = {
    "california": {
        "object": "prepare",
        "about": "about 18,600 districts of California, 6 inputs: the median value of a house, in thousands of dollars",
        "task": "regression",
        "input": "table",
    },
}

PLACE = ["Longitude", "Latitude"]
INPUTS = ["HousingMedianAge", "TotalRooms", "TotalBedrooms", "Population", "Households", "MedianIncome"]
TARGET = "MedianHouseValue"


def prepare(raw: Path, split_seed: int) -> Prepared:
    """6 min-max scaled inputs, without longitude and latitude; the target in thousands of dollars.

    Only districts whose target is within the 5 % and 95 % quantiles of the training rows are kept, in all three splits,
    so the sizes depend a little on ``split_seed``.
    """
    table = read_keel(raw / "california.dat", [*PLACE, *INPUTS, TARGET])
    targets = table.numbers(TARGET)[:, 0] / 1000
    parts = divide(len(targets), split_seed)
    low, high = np.quantile(targets[parts["train"]], [0.05, 0.95])
    parts = {split: rows[(targets[rows] >= low) & (targets[rows] <= high)] for split, rows in parts.items()}
    return scale("california", table.numbers(*INPUTS), targets, parts, min_max_scaler)
