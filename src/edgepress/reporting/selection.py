"""Choices among methods and levels: by quality on val, reported on test.

Methods that fine-tune, and networks without val, do not take part. Only points that work are chosen
(``results.WORKS``); if none does, the least bad is named as such. Ties go to the smaller file, then to the better on
val, then to the first by name, so that choices do not depend on the order of methods in a run.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import pandas as pd

from edgepress.reporting.results import (
    TOLERANCE,
    Quality,
    one_code_a_weight,
    over_seeds,
    quality_of,
    retrained,
    weights_alone,
)
from edgepress.reporting.rivals import Rivals

_POINT = ["dataset", "network", "method", "level"]
_NAMES = ["method", "level"]
_ON_VAL = {
    "quality": "val",
    "full_precision": "val_full_precision",
    "change_worst": "val_change_worst",
    "chance": "val_chance",
}


def val_beside_test(means: pd.DataFrame, quality: Quality) -> pd.DataFrame:
    """The test rows of ``over_seeds`` that have val, with ``val`` (quality on val), ``gain`` (the same as a number that
    grows with quality), ``works`` (whether they work on val) and ``val_change_worst``.
    """
    val = means[means.split == "val"].set_index(_POINT)[list(_ON_VAL)].rename(columns=_ON_VAL)
    points = means[means.split == "test"].join(val, on=_POINT).dropna(subset="val")
    works = quality.works(points.val, points.val_full_precision, points.val_chance)
    return points.assign(gain=quality.gain(points.val), works=works)


def pareto_front(means: pd.DataFrame, quality: Quality, cost: str = "bytes") -> pd.DataFrame:
    """The Pareto front of one network: test rows that work and that no other beats on val in both cost and quality,
    cheapest first.

    ``cost`` is a column of ``means``; rows where it is unknown are ignored.
    """
    points = val_beside_test(means, quality).dropna(subset=cost)
    points = points[points.works].sort_values([cost, "gain", *_NAMES], ascending=[True, False, True, True])
    return points[points.gain > points.gain.cummax().shift(fill_value=float("-inf"))]


def best_at_each_precision(metrics: pd.DataFrame, dataset: str) -> pd.DataFrame:
    """For each network and nominal number of bits, the test row of the best method on val with one code per weight;
    ``tied`` as in ``best_within``.
    """
    rows = weights_alone(_closed_division(metrics, dataset))
    rows = rows[one_code_a_weight(rows)]
    quality, rivals = quality_of(rows), Rivals.of(rows)
    points = val_beside_test(over_seeds(rows), quality)
    points = points[points.bits.notna() & points.sparsity_target.isna() & (points.method != "fp32")]
    chosen = [best(pool, rivals, "bytes") for _, pool in points.groupby(["network", "bits"])]
    table = pd.DataFrame(chosen, columns=[*points.columns, "tied"])
    return table.sort_values(["network", "bits"], ascending=[True, False])


def smallest_within_tolerance(metrics: pd.DataFrame, dataset: str) -> pd.DataFrame:
    """For each network, the test row of the smallest file whose change on val, including its 95 % interval over seeds,
    is within ``TOLERANCE``; of equal files, the best on val. It is the row of ``fp32`` if there is no such compressed
    file.

    ``shown`` is whether the interval of the change on test is also within the tolerance. ``tied`` is the number of
    other methods with such a file, at most ``TOLERANCE`` larger, that does not differ significantly on test.
    """
    rows = _closed_division(metrics, dataset)
    quality, rivals = quality_of(rows), Rivals.of(rows)
    points = val_beside_test(over_seeds(rows), quality)
    good = points[quality.within(points.val_change_worst)]
    found: list[dict[Hashable, Any]] = []
    for _, pool in good.groupby("network"):
        ranked = pool.sort_values(["bytes", "gain", *_NAMES], ascending=[True, False, True, True])
        smallest = ranked.iloc[0].to_dict()
        as_small = pool[pool.bytes <= (1 + TOLERANCE) * smallest["bytes"]]
        found.append({**smallest, "tied": rivals.not_told_apart(smallest, as_small)})
    table = pd.DataFrame(found, columns=[*points.columns, "tied"])
    worse_end = table.change_high if quality.is_error else table.change_low
    return table.assign(shown=(quality.within(worse_end) | (table.method == "fp32")).astype(bool))


def best_within(
    means: pd.DataFrame, quality: Quality, cost: str, shares: Sequence[float], rivals: Rivals
) -> pd.DataFrame:
    """For each network and fraction in ``shares``, the test row of the best on val whose cost is at most that fraction
    of full precision's, the cheapest of equals; with columns ``share`` and ``limit``.

    ``means`` are those of ``over_seeds`` with a column ``cost``. ``works`` is whether it works, ``tied`` the number of
    other methods within the limit that do not differ significantly. If nothing is within a limit, only network, share
    and limit are set. Networks without choices, or with unknown cost in full precision, are omitted.
    """
    points = val_beside_test(means, quality).dropna(subset=cost)
    found = []
    for network, rows in points.groupby("network", sort=False):
        choice = rows[rows.method != "fp32"]
        for whole in [] if choice.empty else rows[cost][rows.method == "fp32"]:
            for share in shares:
                row: dict[Hashable, Any] = {"network": network, "share": share, "limit": share * whole}
                within = choice[choice[cost] <= row["limit"]]
                found.append(row if within.empty else {**best(within, rivals, cost), **row})
    return pd.DataFrame(found, columns=[*points.columns, "tied", "share", "limit"])


def ranked(points: pd.DataFrame, cost: str = "bytes") -> pd.DataFrame:
    """Points of ``val_beside_test`` sorted by quality on val, then by cost."""
    order = list(dict.fromkeys(["gain", cost, "bytes", *_NAMES]))
    return points.sort_values(order, ascending=[name != "gain" for name in order])


def best(pool: pd.DataFrame, rivals: Rivals, cost: str) -> dict[Hashable, Any]:
    """The best row on val, the cheapest of equals, among those that work, or among all if none does."""
    usable = pool[pool.works] if pool.works.any() else pool
    chosen = ranked(usable, cost).iloc[0].to_dict()
    return {**chosen, "tied": rivals.not_told_apart(chosen, usable)}


def _closed_division(metrics: pd.DataFrame, dataset: str) -> pd.DataFrame:
    rows = metrics[metrics.dataset == dataset]
    return rows[~retrained(rows)]
