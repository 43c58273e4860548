"""Ways to train, side by side: what each of them takes to get as good as the first. From recipes.csv."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from edgepress.reporting.results import read_table

PLACE = ["dataset", "network"]
COSTS = ["steps", "seconds", "kwh"]


def load(path: str | Path) -> pd.DataFrame:
    """The rows of a recipes.csv, with the ``target`` of each training: what the first recipe of its network reached at
    best on val, with the same seed; NaN where that has no result.
    """
    rows = read_table(path)
    rows = rows.astype(dict.fromkeys(("status", "source", "reason"), "string"))
    first = rows.groupby(PLACE, sort=False).recipe.transform("first")
    best = rows[rows.recipe == first].groupby([*PLACE, "seed"]).val_quality.max()
    return rows.join(best.rename("target"), on=[*PLACE, "seed"])


def to_target(rows: pd.DataFrame) -> pd.DataFrame:
    """What each recipe takes until it reaches the target on val: means over seeds of steps, seconds and kWh.

    ``rows`` are those of ``load``. ``reached`` says of how many of the seeds it did; where not of all, there are no
    means: those that did would flatter it. ``test`` is the quality on test of the networks that are kept in the end,
    ``source`` how the energy is known, ``reason`` why something is not.
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
