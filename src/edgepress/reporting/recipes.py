"""Comparison of training recipes: the cost of each to reach the quality of the first. From recipes.csv."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from edgepress.reporting.results import read_table

PLACE = ["dataset", "network"]
COSTS = ["steps", "seconds", "kwh"]


def load(path: str | Path) -> pd.DataFrame:
    """The rows of a recipes.csv, with the ``target`` of each training: the best val quality of the first recipe with
    the same network and seed; NaN if that has no result.
    """
    rows = read_table(path)
    rows = rows.astype(dict.fromkeys(("status", "source", "reason"), "string"))
    first = rows.groupby(PLACE, sort=False).recipe.transform("first")
    best = rows[rows.recipe == first].groupby([*PLACE, "seed"]).val_quality.max()
    return rows.join(best.rename("target"), on=[*PLACE, "seed"])


def to_target(rows: pd.DataFrame) -> pd.DataFrame:
    """The cost of each recipe until it reaches the target on val: means over seeds of steps, seconds and kWh.

    ``rows`` are those of ``load``. ``reached`` is the number of seeds that reach it; if not all do, there are no means,
    because they would be too optimistic. ``test_quality`` is that of the final networks, ``source`` the source of the
    energy, ``reason`` why a value is missing.
    """
    table = []
    for (dataset, network, recipe), trainings in rows.groupby([*PLACE, "recipe"], sort=False):
        arrived = trainings[trainings.val_quality >= trainings.target].groupby("seed")[COSTS].first()
        seeds = trainings.seed.nunique()
        means = arrived.mean(skipna=False) if len(arrived) == seeds else pd.Series(float("nan"), index=COSTS)
        last = trainings.groupby("seed").tail(1)
        table.append(
            {
                "dataset": dataset,
                "network": network,
                "recipe": recipe,
                "target": trainings.groupby("seed").target.first().mean(skipna=False),
                "reached": f"{len(arrived)} of {seeds}",
                **means,
                "source": last.source.dropna().iloc[0] if last.source.notna().any() else "unavailable",
                "test_quality": last.test_quality.mean(skipna=False),
                "reason": "; ".join(last.reason.dropna().unique()),
            }
        )
    return pd.DataFrame(table)
