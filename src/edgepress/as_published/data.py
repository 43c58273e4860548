"""The four tabular data sets as the study prepared and split them: scalers and quantiles fitted to all rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from edgepress.datasets import SPLITS, Prepared

Table = tuple[np.ndarray, np.ndarray]


def prepare(name: str, folder: str | Path, generator: np.random.RandomState | None = None) -> Prepared:
    """Prepare churn, telescope, california or mv from its raw file in ``folder``.

    Rows are split 60/20/20 with ``generator``, by default the study's ``RandomState(0)``; afterwards its state is that
    at which the study's stochastic rounding starts. Scalers use val and test, a leak that the published numbers need.

    Raises ValueError if the study has no data set of this name, FileNotFoundError if its file is missing.
    """
    if name not in _TABLES:
        raise ValueError(f"the study has no table '{name}'; it has {', '.join(_TABLES)}")
    file, read = _TABLES[name]
    inputs, targets = read(Path(folder) / file)
    classes = np.issubdtype(targets.dtype, np.integer)
    rows = split(len(inputs), np.random.RandomState(0) if generator is None else generator)
    x = torch.from_numpy(inputs.astype(np.float32))
    y = torch.from_numpy(targets.astype(np.int64 if classes else np.float32))
    return Prepared(
        name=name,
        task="classification" if classes else "regression",
        outputs=2 if classes else 1,
        inputs={part: x[rows[part]] for part in SPLITS},
        targets={part: y[rows[part]] for part in SPLITS},
    )


def split(count: int, generator: np.random.RandomState) -> dict[str, np.ndarray]:
    """Row indices of train, val and test: 40 % are held out, half of those are test, both by scikit-learn."""
    train, held_out = train_test_split(np.arange(count), test_size=0.4, random_state=generator)
    val, test = train_test_split(held_out, test_size=0.5, random_state=generator)
    return {"train": train, "val": val, "test": test}


def _churn(path: Path) -> Table:
    """13 inputs: Geography and Gender one-hot, in alphabetical order, then eight scaled; the target is Exited."""
    table = pd.read_csv(path).drop(columns=["RowNumber", "CustomerId", "Surname"])
    words = ["Geography", "Gender"]
    numbers = StandardScaler().fit_transform(table.drop(columns=[*words, "Exited"]).to_numpy(np.float64))
    return np.hstack([pd.get_dummies(table[words], dtype=np.float64), numbers]), table["Exited"].to_numpy()


def _telescope(path: Path) -> Table:
    """10 scaled inputs; gamma is class 0, hadron 1."""
    table = pd.read_csv(path, header=None)
    classes, _ = pd.factorize(table[10], sort=True)
    return StandardScaler().fit_transform(table.iloc[:, :-1].to_numpy(np.float64)), classes


def _california(path: Path) -> Table:
    """Six inputs, without longitude and latitude; the house value in thousands, between its 5 % and 95 % quantiles."""
    table = pd.read_csv(path, header=None, skiprows=13)
    value = table[8] / 1000
    low, high = value.quantile([0.05, 0.95])
    kept = (value >= low) & (value <= high)
    inputs = MinMaxScaler().fit_transform(table.loc[kept, 2:7].to_numpy(np.float64))
    return inputs, value[kept].to_numpy()


def _mv(path: Path) -> Table:
    """10 scaled inputs; the target in its own unit."""
    table = pd.read_csv(path, header=None, skiprows=15)
    return MinMaxScaler().fit_transform(table.iloc[:, :-1].to_numpy(np.float64)), table[10].to_numpy(np.float64)


_TABLES: dict[str, tuple[str, Callable[[Path], Table]]] = {
    "churn": ("churn.csv", _churn),
    "telescope": ("telescope.dat", _telescope),
    "california": ("california.dat", _california),
    "mv": ("mv.dat", _mv),
}
