"""The results of a run as data frames: quality of each cell, with means and intervals over seeds."""

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
from edgepress.reporting.steps import described
from edgepress.spec import COLUMNS, TRAINED, Spec

CELL = [
    *("dataset", "network", "method", "family", "steps", *COLUMNS),
    *("level", "bits", "act_bits", "sparsity_target", "split"),
]
SIZES = ["bytes", "bits_per_weight", "compression_ratio", "sparsity", "macs", "bops"]
NAMES = (  # text columns
    *("dataset", "network", "method", "family", "level", "peer", "recipe", "status", *COLUMNS),
    *("mode", "instructions", "products"),
)
_EXACT_DIGITS = 9  # decimals of percentage points; further ones are rounding errors
CONFIDENCE = 0.95
TOLERANCE = 0.01  # a negligible loss throughout the report: accuracy (0–1), or relative error
TOLERATED = f"{100 * TOLERANCE:g} percentage point of accuracy, or {100 * TOLERANCE:g} % of the mean squared error"
WORKS = (
    "A network works if it keeps at least half of what full precision gains over a constant prediction: the most "
    "frequent class, or the mean for regression."
)


@dataclass(frozen=True)
class Quality:
    """A quality measure and how it is averaged.

    Accuracies have arithmetic means. Errors are positive and span orders of magnitude: their mean is geometric and
    their interval is that of the logarithm, so that the worst seed does not dominate and no end is below 0.
    """

    column: str
    label: str
    unit: str
    scale: float  # factor from the column to the unit
    is_error: bool

    @property
    def axis_label(self) -> str:
        """The measure with its unit, and its mean unless arithmetic."""
        told = ", ".join(filter(None, (self.unit, self.mean_label)))
        return f"{self.label} ({told})" if told else self.label

    @property
    def mean_label(self) -> str:
        """The kind of mean, unless arithmetic."""
        return "geometric mean" if self.is_error else ""

    @property
    def possible(self) -> tuple[float, float] | None:
        """The minimum and maximum possible value in its unit; None for errors, which are unbounded."""
        return None if self.is_error else (0.0, self.scale)

    @property
    def change_label(self) -> str:
        """The label of ``change``."""
        if self.is_error:
            return f"{self.label} / {self.label} at full precision ({self.mean_label})"
        return f"change in {self.label} (percentage points)"

    def change(self, quality: pd.Series, full_precision: pd.Series) -> pd.Series:
        """The change by compression: percentage points of accuracy, without rounding errors, or the ratio of errors."""
        if self.is_error:
            return quality / full_precision
        return (self.scale * (quality - full_precision)).round(_EXACT_DIGITS) + 0.0  # avoid −0

    def gain(self, quality: pd.Series) -> pd.Series:
        """The measure as a number that grows with quality."""
        return -quality if self.is_error else quality

    def within(self, change: pd.Series) -> pd.Series:
        """Whether each ``change`` is a loss of at most ``TOLERANCE``; False if unknown."""
        return change <= 1 + TOLERANCE if self.is_error else change >= -self.scale * TOLERANCE

    def works(self, quality: pd.Series, full_precision: pd.Series, chance: pd.Series) -> pd.Series:
        """Whether each quality keeps at least half of what full precision gains over ``chance``, see ``WORKS``. An
        unknown chance is taken as the worst possible value.
        """
        halfway = (chance.fillna(np.inf if self.is_error else 0.0) + full_precision) / 2
        floor = halfway.where(self.gain(halfway) < self.gain(full_precision), full_precision)
        return self.gain(quality) >= self.gain(floor)

    def mean(self, values: pd.Series) -> float:
        """The mean: arithmetic, or geometric for errors."""
        return float(np.exp(np.log(values).mean())) if self.is_error else float(values.mean())

    def summary(self, rows: pd.DataFrame, name: str, by: list[str]) -> pd.DataFrame:
        """One row per group of ``rows`` by the columns ``by``: the mean of the column ``name``, and the ends of its 95
        % interval as ``<name>_low`` and ``<name>_high``, NaN if unknown.

        The interval is Student's t over seeds and, for accuracies on a known number of ``examples``, the sampling error
        of the split, which all seeds share, added in quadrature. ``<name>_worst`` is the worse end over seeds only, or
        the mean for a single seed.
        """
        groups = [rows[column] for column in by]
        values = (np.log(rows[name]) if self.is_error else rows[name]).groupby(groups, sort=False, dropna=False)
        mean, half = values.mean(), t_half_width(values.count(), values.std(ddof=1))
        ends = pd.DataFrame({name: mean, f"{name}_worst": mean + (1 if self.is_error else -1) * half.fillna(0.0)})
        if not self.is_error:
            scale = self.scale if name == "change" else 1.0
            share = mean.abs() / scale if name == "change" else np.minimum(mean, 1 - mean)
            examples = rows.examples.groupby(groups, sort=False, dropna=False).first()
            half = np.hypot(half.fillna(0.0), scale * sampling_half_width(share, examples).fillna(0.0))
        unchanged = self.is_error & (name == "change") & (mean == 0)  # equal errors come from equal outputs
        half = half.where((half > 0) | unchanged)
        ends = ends.assign(**{f"{name}_low": mean - half, f"{name}_high": mean + half})
        return ends.apply(np.exp) if self.is_error else ends


ACCURACY = Quality("accuracy", "accuracy", "%", 100.0, False)
BALANCED = Quality("balanced_accuracy", "balanced accuracy", "%", 100.0, False)
MSE = Quality("mse", "MSE", "", 1.0, True)
CROSS_ENTROPY = Quality("loss", "cross-entropy", "nats", 1.0, True)
TOP5 = Quality("top5", "top-5 accuracy", "%", 100.0, False)
MAE = Quality("mae", "MAE", "", 1.0, True)


def t_half_width(count: Any, deviation: Any) -> Any:
    """Half the width of the 95 % interval of a mean by Student's t, from the number of values and their standard
    deviation (scalars or columns); NaN for a single value.
    """
    return stats.t.ppf((1 + CONFIDENCE) / 2, count - 1) * deviation / np.sqrt(count)


def sampling_half_width(share: Any, examples: Any) -> Any:
    """Half the width of the 95 % interval due to the number of ``examples``, of a fraction of them (scalars or
    columns): of wrong predictions, or of the difference between two networks.

    Networks whose accuracies differ by d on n examples differ on at least n·d of them, and at least on one by chance:
    the variance of d is at least McNemar's, (max(d, 1/n) − d²)/n. For a fraction of errors it is binomial, with at
    least one error.
    """
    variance = (np.maximum(share, 1 / examples) - share**2) / examples
    return stats.norm.ppf((1 + CONFIDENCE) / 2) * np.sqrt(np.maximum(variance, 0))


def t_interval(values: pd.Series) -> tuple[float, float]:
    """The 95 % interval of the mean by Student's t; (NaN, NaN) for a single value."""
    mean, half = values.mean(), t_half_width(values.count(), values.std(ddof=1))
    return float(mean - half), float(mean + half)


def read_table(path: str | Path, **options: Any) -> pd.DataFrame:
    """Read a CSV of a run with names as text: a data set may be called 2024, and a network null. ``options`` are
    pandas'.
    """
    table: pd.DataFrame = pd.read_csv(
        path, dtype=dict.fromkeys(NAMES, str), keep_default_na=False, na_values=[""], **options
    )
    return table


def load(path: str | Path) -> pd.DataFrame:
    """The rows of a metrics.csv with status ok, the settings of their methods (``described``), and their ``quality``:
    accuracy, or MSE if there is none.

    Registers the user's own methods of the run's manifest in the same folder. Raises ValueError if columns are missing.
    """
    manifest = Path(path).with_name("manifest.json")
    if manifest.exists():
        registry.set_own(json.loads(manifest.read_text(encoding="utf-8")).get("own", {}))
    rows = read_table(path)
    rows = rows.astype({name: "string" for name in ("level", "reason") if name in rows})
    needed = ("dataset", "network", "method", "level", "status", "accuracy", "mse")
    missing = [name for name in needed if name not in rows]
    if missing:
        raise ValueError(f"{path} is not a metrics.csv of a run: it lacks the column {', '.join(missing)}")
    rows = described(rows, manifest)
    rows = rows[rows.status == "ok"].copy()
    rows["quality"] = rows.accuracy.fillna(rows.mse)
    return rows


def datasets_with(run_folder: str | Path, family: str) -> list[str]:
    """The data sets of a run with methods of a family, whether they succeeded or not."""
    rows = read_table(Path(run_folder) / "metrics.csv", usecols=["dataset", "family"])
    return list(rows.dataset[rows.family == family].unique())


def histories(run_folder: str | Path, metrics: pd.DataFrame) -> pd.DataFrame:
    """The training histories of the networks in ``metrics``: one row per data set, network, seed and epoch."""
    trainings = metrics[["dataset", "network", "seed"]].drop_duplicates().itertuples(index=False)
    return pd.concat(
        pd.read_csv(Path(run_folder) / f"{dataset}/{network}/seed{seed}/fp32/history.csv").assign(
            dataset=dataset, network=network, seed=seed
        )
        for dataset, network, seed in trainings
    )


def quality_of(rows: pd.DataFrame) -> Quality:
    """The quality measure of ``rows``, which belong to one data set."""
    return MSE if rows.accuracy.isna().all() else ACCURACY


def examples(rows: pd.DataFrame, split: str) -> pd.Series:
    """The number of examples of a split, by data set.

    If an older table lacks it, it is one over the smallest difference between accuracies, NaN if there are none.
    """
    groups = rows[rows.split == split].groupby("dataset")
    by_step = groups.accuracy.apply(lambda values: 1 / accuracy_step(values) if values.notna().any() else np.nan)
    return groups.examples.max().combine_first(by_step) if "examples" in rows else by_step


def accuracy_step(accuracies: pd.Series) -> float:
    """The smallest difference between accuracies, including 0 and 1."""
    return float(np.diff(np.unique(np.round([0.0, 1.0, *accuracies.dropna()], 12))).min())


def retrained(rows: pd.DataFrame) -> pd.Series:
    """Whether each row is of a method that fine-tunes, which is a separate division."""
    return with_settings(rows).when == TRAINED


def trained_on(rows: pd.DataFrame) -> pd.Series:
    """Whether each row is the control of methods that fine-tune: trained for as long in float32, under any name."""
    return retrained(rows) & (rows.bits == FLOAT_BITS)


def weights_alone(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with float32 activations, which are comparable at equal bits per weight."""
    return rows[rows.act_bits.isna()]


def one_code_a_weight(rows: pd.DataFrame) -> pd.Series:
    """Whether a row has one code per weight, so that equal bits mean about equal bytes."""
    return with_settings(rows).options.map(lambda text: Spec(options=text).option("points") is None).astype(bool)


def with_settings(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with the settings of their methods, which tables of older runs lack."""
    return rows if {"steps", *COLUMNS} <= set(rows) else described(rows)


def per_seed(rows: pd.DataFrame, quality: Quality | None = None) -> pd.DataFrame:
    """One row per cell, level, split and seed of one data set, averaged over draws.

    ``quality`` is by the given measure, or the data set's; ``full_precision`` is that of the same seed before
    compression, ``change`` the change from it.
    """
    quality = quality or quality_of(rows)
    measured = ["quality", *SIZES]
    told = with_settings(rows).assign(quality=rows[quality.column])
    groups = told.groupby([*CELL, "seed"], sort=False, dropna=False)
    means = groups[measured].mean().assign(draws=groups.size()).reset_index()
    training = ["dataset", "network", "seed", "split"]
    reference = means[means.method == "fp32"].set_index(training).quality
    means = means.join(reference.rename("full_precision"), on=training)
    means["change"] = quality.change(means.quality, means.full_precision)
    return means


def complete(seeds: pd.DataFrame) -> pd.DataFrame:
    """The rows of ``per_seed`` whose levels have a result for every seed of the network and every draw."""
    drawn = seeds.draws == seeds.groupby(["network", "method"]).draws.transform("max")
    trained = seeds[seeds.method == "fp32"].groupby(["network", "split"]).size().rename("trained")
    present = seeds[drawn].join(trained, on=["network", "split"])
    return present[present.groupby(CELL, dropna=False).seed.transform("size") == present.trained]


def over_seeds(rows: pd.DataFrame, quality: Quality | None = None) -> pd.DataFrame:
    """One row per cell, level and split of one data set: means over seeds, ``quality`` and ``change`` with the ends
    ``_low`` and ``_high`` of their 95 % intervals (``Quality.summary``); the number of ``examples`` of the split, and
    ``chance``, the quality of a constant prediction.

    A level without a result for one seed of its network, or one draw, is omitted, because the mean of the others would
    be too optimistic.
    """
    quality = quality or quality_of(rows)
    present = complete(per_seed(rows, quality))
    by_split = {str(split): of_split for split, of_split in rows.groupby("split", sort=False)}
    known = {split: examples(of_split, split).max().round() for split, of_split in by_split.items()}
    present["examples"] = present.split.map(known).astype(float)
    groups = present.groupby(CELL, sort=False, dropna=False)
    means = groups[[*SIZES, "examples"]].mean()
    means["seeds"] = groups.size()
    means["full_precision"] = quality.summary(present, "full_precision", CELL).full_precision
    for name in ("quality", "change"):
        means = means.join(quality.summary(present, name, CELL))
    means = means.reset_index()
    means["chance"] = means.split.map({split: _chance(of_split, quality) for split, of_split in by_split.items()})
    means.loc[means.method == "fp32", ["change_low", "change_high"]] = np.nan  # zero by definition
    return means if quality.is_error else _possible(means, quality.scale)


def _chance(rows: pd.DataFrame, quality: Quality) -> float:
    """The quality of a constant prediction on the split of ``rows``; NaN if unknown."""
    if quality is ACCURACY and "majority" in rows:
        return float(rows.majority.max())
    if quality is MSE and "r2" in rows:
        return float((rows.mse / (1 - rows.r2)).median())
    return float("nan")


def _possible(means: pd.DataFrame, scale: float) -> pd.DataFrame:
    """Means of accuracies with intervals clipped to possible accuracies."""
    least, most = -scale * means.full_precision, scale * (1 - means.full_precision)
    for end in ("low", "high"):
        means[f"quality_{end}"] = means[f"quality_{end}"].clip(0, 1)
        means[f"change_{end}"] = means[f"change_{end}"].clip(least, most)
    return means
