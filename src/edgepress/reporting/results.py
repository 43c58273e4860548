"""The results of a run as tables to compute with: quality of each cell, and its mean and interval over seeds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

CELL = ["dataset", "network", "method", "family", "level", "bits", "sparsity_target", "split"]
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Quality:
    """The measure by which networks of a task are compared."""

    column: str
    label: str
    unit: str
    scale: float  # from the column to the unit
    higher_is_better: bool

    def change(self, quality: pd.Series, full_precision: pd.Series) -> pd.Series:
        """What compression changed: percentage points of accuracy, or the ratio of errors."""
        return self.scale * (quality - full_precision) if self.higher_is_better else quality / full_precision

    @property
    def change_label(self) -> str:
        """The label of ``change`` on an axis."""
        return "change in accuracy (points)" if self.higher_is_better else "MSE / MSE at full precision"

    def within(self, quality: pd.Series, full_precision: pd.Series, share: float) -> pd.Series:
        """Whether quality is at most ``share`` below full precision: points of accuracy, or part of the error."""
        if self.higher_is_better:
            return quality >= full_precision - share
        return quality <= full_precision * (1 + share)


ACCURACY = Quality("accuracy", "accuracy", "%", 100.0, True)
MSE = Quality("mse", "MSE", "", 1.0, False)


def load(path: str | Path) -> pd.DataFrame:
    """The rows of a metrics.csv with status ok, and their ``quality``: accuracy, or MSE where there is none."""
    rows = pd.read_csv(path, dtype={"level": "string", "reason": "string"})
    rows = rows[rows.status == "ok"].copy()
    rows["quality"] = rows.accuracy.fillna(rows.mse)
    return rows


def quality_of(rows: pd.DataFrame) -> Quality:
    """The measure of the one data set that ``rows`` belong to."""
    return MSE if rows.accuracy.isna().all() else ACCURACY


def per_seed(rows: pd.DataFrame) -> pd.DataFrame:
    """A row a cell, level, split and seed: draws averaged, with ``full_precision``, the same seed's quality."""
    keys = [*CELL, "seed"]
    means = rows.groupby(keys, sort=False, dropna=False)[["quality", "bytes", "compression_ratio", "sparsity"]].mean()
    means = means.reset_index()
    reference = means[means.method == "fp32"].set_index(["dataset", "network", "seed", "split"]).quality
    return means.join(reference.rename("full_precision"), on=["dataset", "network", "seed", "split"])


def half_width(values: pd.Series) -> float:
    """Half the width of the 95 % t-interval of the mean; NaN for a single value."""
    count = values.count()
    if count < 2:
        return float("nan")
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1) * values.std(ddof=1) / np.sqrt(count))


def interval(values: pd.Series) -> tuple[float, float]:
    """The 95 % t-interval of the mean; the mean itself, twice, for a single value."""
    mean, half = values.mean(), half_width(values)
    return (mean, mean) if np.isnan(half) else (mean - half, mean + half)


def over_seeds(rows: pd.DataFrame) -> pd.DataFrame:
    """A row a cell, level and split: means over seeds, with ``half_width`` of quality and of its change."""
    seeds = per_seed(rows)
    quality = quality_of(rows)
    seeds["change"] = quality.change(seeds.quality, seeds.full_precision)
    groups = seeds.groupby(CELL, sort=False, dropna=False)
    means = groups[["quality", "full_precision", "change", "bytes", "compression_ratio", "sparsity"]].mean()
    means["half_width"] = groups.quality.apply(half_width)
    means["change_half_width"] = groups.change.apply(half_width)
    means["seeds"] = groups.size()
    return means.reset_index()


def histories(run_folder: str | Path, metrics: pd.DataFrame) -> pd.DataFrame:
    """The training histories of the networks in ``metrics``: a row a data set, network, seed and epoch."""
    trainings = metrics[["dataset", "network", "seed"]].drop_duplicates().itertuples(index=False)
    return pd.concat(
        pd.read_csv(Path(run_folder) / f"{dataset}/{network}/seed{seed}/fp32/history.csv").assign(
            dataset=dataset, network=network, seed=seed
        )
        for dataset, network, seed in trainings
    )
