"""The results of a run as tables to compute with: quality of each cell, and its mean and interval over seeds."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from edgepress import registry
from edgepress.levels import FLOAT_BITS
from edgepress.reporting import steps

CELL = ["dataset", "network", "method", "family", "level", "bits", "act_bits", "sparsity_target", "split"]
SIZES = ["bytes", "bits_per_weight", "compression_ratio", "sparsity", "macs", "bops"]
NAMES = (  # columns that hold text
    *("dataset", "network", "method", "family", "level", "peer", "recipe", "status"),
    *("mode", "instructions", "products"),
)
SEVERAL_CODES = "multipoint"  # the family that stores several codes a weight: its bits are not those of the others
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Quality:
    """The measure by which networks of a task are compared, and how it is averaged.

    Accuracies are averaged as they are. Errors span orders of magnitude and are positive: their mean is geometric
    and their interval is that of the logarithm, so neither is ruled by the worst seed or falls below 0.
    """

    column: str
    label: str
    unit: str
    scale: float  # from the column to the unit
    is_error: bool

    @property
    def axis_label(self) -> str:
        """The measure with its unit."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    @property
    def change_label(self) -> str:
        """What ``change`` is, in words."""
        return f"{self.label} / {self.label} at full precision" if self.is_error else "change in accuracy (points)"

    def change(self, quality: pd.Series, full_precision: pd.Series) -> pd.Series:
        """What compression changed: points of accuracy, or the ratio of errors."""
        return quality / full_precision if self.is_error else self.scale * (quality - full_precision)

    def gain(self, quality: pd.Series) -> pd.Series:
        """The measure as a number that grows with quality."""
        return -quality if self.is_error else quality

    def within(self, quality: pd.Series, full_precision: pd.Series, share: float) -> pd.Series:
        """Whether quality is at most ``share`` worse than full precision: of accuracy, or part of the error."""
        if self.is_error:
            return quality <= full_precision * (1 + share)
        return quality >= full_precision - share

    def mean(self, values: pd.Series) -> float:
        """The mean: arithmetic, or geometric for errors."""
        return float(np.exp(np.log(values).mean())) if self.is_error else float(values.mean())

    def summary(self, rows: pd.DataFrame, name: str, by: list[str]) -> pd.DataFrame:
        """A row a group of ``rows`` by the columns ``by``: the mean of the column ``name``, and as ``<name>_low`` and
        ``<name>_high`` the ends of its 95 % t-interval, NaN for a single value.
        """
        values = np.log(rows[name]) if self.is_error else rows[name]
        groups = values.groupby([rows[column] for column in by], sort=False, dropna=False)
        mean, half = groups.mean(), t_half_width(groups.count(), groups.std(ddof=1))
        ends = pd.DataFrame({name: mean, f"{name}_low": mean - half, f"{name}_high": mean + half})
        return ends.apply(np.exp) if self.is_error else ends


ACCURACY = Quality("accuracy", "accuracy", "%", 100.0, False)
BALANCED = Quality("balanced_accuracy", "balanced accuracy", "%", 100.0, False)
MSE = Quality("mse", "MSE", "", 1.0, True)
CROSS_ENTROPY = Quality("loss", "cross-entropy", "nats", 1.0, True)
TOP5 = Quality("top5", "top-5 accuracy", "%", 100.0, False)
MAE = Quality("mae", "MAE", "", 1.0, True)


def t_half_width(count: Any, deviation: Any) -> Any:
    """Half of the 95 % interval of a mean by Student's t, from how many values it is of and their standard deviation,
    numbers or columns of them; NaN for a single value.
    """
    return stats.t.ppf((1 + CONFIDENCE) / 2, count - 1) * deviation / np.sqrt(count)


def t_interval(values: pd.Series) -> tuple[float, float]:
    """The 95 % interval of the mean by Student's t; NaN, twice, for a single value."""
    mean, half = values.mean(), t_half_width(values.count(), values.std(ddof=1))
    return float(mean - half), float(mean + half)


def read_table(path: str | Path, **options: Any) -> pd.DataFrame:
    """A CSV of a run, its names as they are: a data set may be called 2024, and a network null. ``options`` are those
    of pandas.
    """
    table: pd.DataFrame = pd.read_csv(
        path, dtype=dict.fromkeys(NAMES, str), keep_default_na=False, na_values=[""], **options
    )
    return table


def load(path: str | Path) -> pd.DataFrame:
    """The rows of a metrics.csv with status ok, their ``steps``, and their ``quality``: accuracy, or MSE where there is
    none.

    The registry then knows the user's own methods that the run's manifest, beside it, tells of, and
    ``edgepress.reporting.steps`` its chains. Raises ValueError where columns are missing.
    """
    manifest = Path(path).with_name("manifest.json")
    if manifest.exists():
        registry.set_own(json.loads(manifest.read_text(encoding="utf-8")).get("own", {}))
    rows = read_table(path)
    rows = rows.astype({name: "string" for name in ("level", "reason") if name in rows})
    needed = ("dataset", "network", "method", "level", "status", "accuracy", "mse")
    missing = [name for name in needed if name not in rows]
    if missing:
        raise ValueError(f"{path} is no metrics.csv of a run: it has no column {', '.join(missing)}")
    rows["steps"] = steps.read(rows, manifest)
    rows = rows[rows.status == "ok"].copy()
    rows["quality"] = rows.accuracy.fillna(rows.mse)
    return rows


def datasets_with(run_folder: str | Path, family: str) -> list[str]:
    """The data sets of a run that was asked for methods of a family, whether these gave a network or not."""
    rows = read_table(Path(run_folder) / "metrics.csv", usecols=["dataset", "family"])
    return list(rows.dataset[rows.family == family].unique())


def histories(run_folder: str | Path, metrics: pd.DataFrame) -> pd.DataFrame:
    """The training histories of the networks in ``metrics``: a row a data set, network, seed and epoch."""
    trainings = metrics[["dataset", "network", "seed"]].drop_duplicates().itertuples(index=False)
    return pd.concat(
        pd.read_csv(Path(run_folder) / f"{dataset}/{network}/seed{seed}/fp32/history.csv").assign(
            dataset=dataset, network=network, seed=seed
        )
        for dataset, network, seed in trainings
    )


def quality_of(rows: pd.DataFrame) -> Quality:
    """The measure of the one data set that ``rows`` belong to."""
    return MSE if rows.accuracy.isna().all() else ACCURACY


def examples(rows: pd.DataFrame, split: str) -> pd.Series:
    """The number of examples of a split, by data set.

    Tables of older runs do not say; there it is one over the smallest step between accuracies, NaN where there are
    none.
    """
    groups = rows[rows.split == split].groupby("dataset")
    by_step = groups.accuracy.apply(lambda values: 1 / accuracy_step(values) if values.notna().any() else np.nan)
    return groups.examples.max().combine_first(by_step) if "examples" in rows else by_step


def accuracy_step(accuracies: pd.Series) -> float:
    """The smallest step between accuracies, of which 0 and 1 always are possible."""
    return float(np.diff(np.unique(np.round([0.0, 1.0, *accuracies.dropna()], 12))).min())


def retrained(rows: pd.DataFrame) -> pd.Series:
    """Whether each row is of a method that trains the network again: it competes in a division of its own."""
    return _steps(rows).map(steps.retrains).astype(bool)


def trained_on(rows: pd.DataFrame) -> pd.Series:
    """Whether each row is the control of those that train again: trained for as long in float32, whatever its name."""
    return retrained(rows) & (rows.bits == FLOAT_BITS)


def weights_alone(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows whose activations stay float32: at equal bits a weight, the others lose by their activations, too."""
    return rows[rows.act_bits.isna()]


def one_code_a_weight(rows: pd.DataFrame) -> pd.Series:
    """Whether equal bits are about equal bytes: not where a weight is a sum of several codes."""
    return ~_steps(rows).map(lambda method: SEVERAL_CODES in steps.families(method)).astype(bool)


def _steps(rows: pd.DataFrame) -> pd.Series:
    """What the methods of ``rows`` consist of."""
    return rows.steps if "steps" in rows else rows.method


def per_seed(rows: pd.DataFrame, quality: Quality | None = None) -> pd.DataFrame:
    """A row a cell, level, split and seed of one data set: its draws averaged.

    ``quality`` is that of the data set's measure, or of the one given; ``full_precision`` is that of the same seed
    before compression, ``change`` the change from it.
    """
    quality = quality or quality_of(rows)
    measured = ["quality", *SIZES]
    groups = rows.assign(quality=rows[quality.column], steps=_steps(rows)).groupby(
        [*CELL, "seed"], sort=False, dropna=False
    )
    means = groups[measured].mean().assign(draws=groups.size()).reset_index()
    training = ["dataset", "network", "seed", "split"]
    reference = means[means.method == "fp32"].set_index(training).quality
    means = means.join(reference.rename("full_precision"), on=training)
    means["change"] = quality.change(means.quality, means.full_precision)
    return means


def complete(seeds: pd.DataFrame) -> pd.DataFrame:
    """Of ``per_seed``, the levels that have a result for each of their network's seeds, and for each of their draws."""
    drawn = seeds.draws == seeds.groupby(["network", "method"]).draws.transform("max")
    trained = seeds[seeds.method == "fp32"].groupby(["network", "split"]).size().rename("trained")
    present = seeds[drawn].join(trained, on=["network", "split"])
    return present[present.groupby(CELL, dropna=False).seed.transform("size") == present.trained]


def over_seeds(rows: pd.DataFrame, quality: Quality | None = None) -> pd.DataFrame:
    """A row a cell, level and split of one data set: means over seeds, ``quality`` and ``change`` with the ends
    ``_low`` and ``_high`` of their 95 % intervals.

    A level that has no result for one of its network's seeds, or of its draws, is left out: the mean of those that
    did not fail would flatter it.
    """
    quality = quality or quality_of(rows)
    present = complete(per_seed(rows, quality))
    groups = present.groupby(CELL, sort=False, dropna=False)
    means = groups[SIZES].mean()
    means["seeds"] = groups.size()
    means["full_precision"] = quality.summary(present, "full_precision", CELL).full_precision
    for name in ("quality", "change"):
        means = means.join(quality.summary(present, name, CELL))
    if not quality.is_error:
        means[["quality_low", "quality_high"]] = means[["quality_low", "quality_high"]].clip(0, 1)
    return means.reset_index()
