"""Choosing among methods and levels: always by quality on val, always reported on test.

Methods that train the network again are not among those chosen from. A network without val has no part in choices.
"""

from __future__ import annotations

import pandas as pd

from edgepress.reporting.results import Quality, over_seeds, quality_of, retrained

_POINT = ["dataset", "network", "method", "level"]


def val_beside_test(means: pd.DataFrame) -> pd.DataFrame:
    """The test rows of ``over_seeds``, with ``val`` and ``val_full_precision``, their quality on val.

    Rows without val are left out.
    """
    val = means[means.split == "val"].set_index(_POINT)[["quality", "full_precision"]]
    val.columns = ["val", "val_full_precision"]
    return means[means.split == "test"].join(val, on=_POINT).dropna(subset="val")


def pareto_front(means: pd.DataFrame, quality: Quality) -> pd.DataFrame:
    """The test rows of one network that no other beats on val in both bytes and quality, smallest first."""
    points = val_beside_test(means)
    points["gain"] = quality.gain(points.val)
    points = points.sort_values(["bytes", "gain"], ascending=[True, False], kind="stable")
    return points[points.gain > points.gain.cummax().shift(fill_value=float("-inf"))]


def best_at_each_precision(metrics: pd.DataFrame, dataset: str) -> pd.DataFrame:
    """For each network and number of bits, the test row of the method that is best on val."""
    rows = _closed_division(metrics, dataset)
    quality = quality_of(rows)
    points = val_beside_test(over_seeds(rows))
    points = points[points.bits.notna() & points.sparsity_target.isna() & (points.method != "fp32")]
    points["gain"] = quality.gain(points.val)
    ranked = points.sort_values("gain", ascending=False, kind="stable")
    best = ranked.groupby(["network", "bits"]).head(1)
    return best.sort_values(["network", "bits"], ascending=[True, False])


def smallest_within(metrics: pd.DataFrame, dataset: str, share: float) -> pd.DataFrame:
    """For each network, the test row of the smallest file whose quality on val is within ``share`` of full precision.

    ``share`` is of the accuracy, 0–1, or a part of the error. Where no compressed file is, it is the row of ``fp32``.
    """
    rows = _closed_division(metrics, dataset)
    quality = quality_of(rows)
    points = val_beside_test(over_seeds(rows))
    good = points[quality.within(points.val, points.val_full_precision, share)]
    return good.sort_values("bytes", kind="stable").groupby("network").head(1).sort_values("network")


def _closed_division(metrics: pd.DataFrame, dataset: str) -> pd.DataFrame:
    rows = metrics[metrics.dataset == dataset]
    return rows[~retrained(rows)]
