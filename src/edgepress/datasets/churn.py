"""Churn: 10,000 customers of a bank, and whether they left, as in the study that edgepress began from."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgepress.datasets import Prepared, split_and_scale, standard_scaler
from edgepress.datasets._tables import read_csv

DATASETS = {
    "churn": {
        "object": "prepare",
        "about": "10,000 customers of a bank, 13 inputs: who leaves",
        "task": "classification",
        "input": "table",
    },
}

COLUMNS = ["RowNumber", "CustomerId", "Surname", "CreditScore", "Geography", "Gender", "Age", "Tenure", "Balance",
           "NumOfProducts", "HasCrCard", "IsActiveMember", "EstimatedSalary", "Exited"]  # fmt: skip
CATEGORIES = {"Geography": ["France", "Germany", "Spain"], "Gender": ["Female", "Male"]}
NUMBERS = ["CreditScore", "Age", "Tenure", "Balance", "NumOfProducts", "HasCrCard", "IsActiveMember", "EstimatedSalary"]


def prepare(raw: Path, split_seed: int) -> Prepared:
    """13 inputs: country and gender one-hot, then the standard-scaled numbers. Customers' names and IDs are dropped."""
    table = read_csv(raw / "churn.csv", COLUMNS)
    one_hot = [np.eye(len(labels))[table.codes(column, labels)] for column, labels in CATEGORIES.items()]
    inputs = np.concatenate([*one_hot, table.numbers(*NUMBERS)], axis=1)
    return split_and_scale("churn", inputs, table.codes("Exited", ["0", "1"]), split_seed, _scaler)


def _scaler(train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the numbers; the one-hot columns stay 0 and 1."""
    shift, scale = standard_scaler(train)
    is_number = np.arange(train.shape[1]) >= train.shape[1] - len(NUMBERS)
    return np.where(is_number, shift, 0), np.where(is_number, scale, 1)
