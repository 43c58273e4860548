"""Choosing among methods and levels: always by quality on val, always reported on test.

Methods that train the network again are not among those chosen from. A network without val has no part in choices.
Only what works is chosen (``results.WORKS``); where nothing does, the least bad is named as such. Of equals the smaller
file is taken, of equal files the one that is better on val, and then the first by name: in whatever order a run has its
methods, it chooses the same.
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
    """The test rows of ``over_seeds``, with ``val``, their quality on val, ``gain``, the same as a number that grows
    with quality, ``works``, whether they work there, and ``val_change_worst``.

    Rows without val are left out.
    """
    val = means[means.split == "val"].set_index(_POINT)[list(_ON_VAL)].rename(columns=_ON_VAL)
    points = means[means.split == "test"].join(val, on=_POINT).dropna(subset="val")
    works = quality.works(points.val, points.val_full_precision, points.val_chance)
    return points.assign(gain=quality.gain(points.val), works=works)


def pareto_front(means: pd.DataFrame, quality: Quality, cost: str = "bytes") -> pd.DataFrame:
    """The test rows of one network that work and that no other beats on val in both cost and quality, cheapest first.

    ``cost`` is a column of ``means``; rows where it is unknown have no part.
    """
    points = val_beside_test(means, quality).dropna(subset=cost)
    points = points[points.works].sort_values([cost, "gain", *_NAMES], ascending=[True, False, True, True])
    return points[points.gain > points.gain.cummax().shift(fill_value=float("-inf"))]


def best_at_each_precision(metrics: pd.DataFrame, dataset: str) -> pd.DataFrame:
    """For each network and nominal number of bits, the test row of the method that is best on val, of those with one
    code a weight; with ``tied``, see ``best_within``.
    """
    rows = weights_alone(_closed_division(metrics, dataset))
    rows = rows[one_code_a_weight(rows)]
    quality, rivals = quality_of(rows), Rivals.of(rows)
    points = val_beside_test(over_seeds(rows), quality)
    points = points[points.bits.notna() & points.sparsity_target.isna() & (points.method != "fp32")]
    best = [_best(pool, rivals, "bytes") for _, pool in points.groupby(["network", "bits"])]
    table = pd.DataFrame(best, columns=[*points.columns, "tied"])
    return table.sort_values(["network", "bits"], ascending=[True, False])


def smallest_within_tolerance(metrics: pd.DataFrame, dataset: str) -> pd.DataFrame:
    """For each network, the test row of the smallest file whose change on val is within ``TOLERANCE``, with its 95 %
    interval over seeds; of files as small, the best on val. Where no compressed file is, it is the row of ``fp32``.

    ``shown`` says whether the interval of the change on test lies within the tolerance, too. ``tied`` is how many other
    methods have such a file, larger by ``TOLERANCE`` at most, that is not told apart on test.
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
    """For each network and share, the test row of the best on val whose cost is at most that share of full precision's,
    the cheapest of equals; with the ``share`` and the ``limit`` that it is.

    ``means`` are those of ``over_seeds`` with a column ``cost``. ``works`` is whether it does, and ``tied`` how many
    other methods within the limit are not told apart from it. Where nothing is within a limit, only network, share
    and limit are there. A network with nothing to choose from, or whose cost in full precision is unknown, is left out.
    """
    points = val_beside_test(means, quality).dropna(subset=cost)
    found = []
    for network, rows in points.groupby("network", sort=False):
        choice = rows[rows.method != "fp32"]
        for whole in [] if choice.empty else rows[cost][rows.method == "fp32"]:
            for share in shares:
                row: dict[Hashable, Any] = {"network": network, "share": share, "limit": share * whole}
                within = choice[choice[cost] <= row["limit"]]
                found.append(row if within.empty else {**_best(within, rivals, cost), **row})
    return pd.DataFrame(found, columns=[*points.columns, "tied", "share", "limit"])


def ranked(points: pd.DataFrame, cost: str = "bytes") -> pd.DataFrame:
    """Points of ``val_beside_test``, the best on val first, of equals the cheapest."""
    order = list(dict.fromkeys(["gain", cost, "bytes", *_NAMES]))
    return points.sort_values(order, ascending=[name != "gain" for name in order])


def _best(pool: pd.DataFrame, rivals: Rivals, cost: str) -> dict[Hashable, Any]:
    """The row of those that work, or of all where none does, that is best on val, the cheapest of equals."""
    usable = pool[pool.works] if pool.works.any() else pool
    best = ranked(usable, cost).iloc[0].to_dict()
    return {**best, "tied": rivals.not_told_apart(best, usable)}


def _closed_division(metrics: pd.DataFrame, dataset: str) -> pd.DataFrame:
    rows = metrics[metrics.dataset == dataset]
    return rows[~retrained(rows)]
