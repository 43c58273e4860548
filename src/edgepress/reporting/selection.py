"""Choosing among methods and levels: always by quality on val, always reported on test.

Methods that train the network again are not among those chosen from. A network without val has no part in choices.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from edgepress.reporting.results import Quality, one_code_a_weight, over_seeds, quality_of, retrained, weights_alone

_POINT = ["dataset", "network", "method", "level"]


def val_beside_test(means: pd.DataFrame) -> pd.DataFrame:
    """The test rows of ``over_seeds``, with ``val`` and ``val_full_precision``, their quality on val.

    Rows without val are left out.
    """
    val = means[means.split == "val"].set_index(_POINT)[["quality", "full_precision"]]
    val.columns = ["val", "val_full_precision"]
    return means[means.split == "test"].join(val, on=_POINT).dropna(subset="val")


def pareto_front(means: pd.DataFrame, quality: Quality, cost: str = "bytes") -> pd.DataFrame:
    """The test rows of one network that no other beats on val in both cost and quality, cheapest first.

    ``cost`` is a column of ``means``; rows where it is unknown have no part.
    """
    points = val_beside_test(means).dropna(subset=cost)
    points["gain"] = quality.gain(points.val)
    points = points.sort_values([cost, "gain"], ascending=[True, False], kind="stable")
    return points[points.gain > points.gain.cummax().shift(fill_value=float("-inf"))]


def best_at_each_precision(metrics: pd.DataFrame, dataset: str) -> pd.DataFrame:
    """For each network and number of bits, the test row of the method that is best on val, of those with one code a
    weight.
    """
    rows = weights_alone(_closed_division(metrics, dataset))
    rows = rows[one_code_a_weight(rows)]
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


def best_within(means: pd.DataFrame, quality: Quality, cost: str, shares: Sequence[float]) -> pd.DataFrame:
    """For each network and share, the test row of the best on val whose cost is at most that share of full precision's,
    the cheapest of equals; with the ``share`` and the ``limit`` that it is.

    ``means`` are those of ``over_seeds`` with a column ``cost``. Where nothing is within a limit, only network, share
    and limit are there. A network with nothing to choose from, or whose cost in full precision is unknown, is left out.
    """
    points = val_beside_test(means).dropna(subset=cost)
    points["gain"] = quality.gain(points.val)
    points = points.sort_values(["gain", cost], ascending=[False, True], kind="stable")
    found = []
    for network, rows in points.groupby("network", sort=False):
        choice = rows[rows.method != "fp32"]
        for whole in [] if choice.empty else rows[cost][rows.method == "fp32"]:
            for share in shares:
                row = {"network": network, "share": share, "limit": share * whole}
                within = choice[choice[cost] <= row["limit"]]
                found.append(row if within.empty else {**within.iloc[0].to_dict(), **row})
    return pd.DataFrame(found, columns=[*points.columns, "share", "limit"])


def _closed_division(metrics: pd.DataFrame, dataset: str) -> pd.DataFrame:
    rows = metrics[metrics.dataset == dataset]
    return rows[~retrained(rows)]
