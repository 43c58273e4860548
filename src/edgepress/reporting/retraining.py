"""The division of methods that fine-tune, each next to the best method after training at the same level."""

from __future__ import annotations

import pandas as pd

from edgepress.reporting.results import one_code_a_weight, over_seeds, quality_of, retrained, trained_on
from edgepress.reporting.selection import ranked, val_beside_test

_LEVEL = ["network", "level"]


def trained_again(metrics: pd.DataFrame) -> pd.DataFrame:
    """One row per method that fine-tunes and level: bytes, quality on test with its interval, and change from full
    precision. ``against`` is the best on val among methods after training at the same level with one code per weight
    (the smallest file of equals), and ``after_training`` its quality on test; both are empty if there is none.
    ``control`` is the quality on test of the network fine-tuned in float32, empty if the run has none.
    """
    tables = [_of_dataset(rows, str(dataset)) for dataset, rows in metrics.groupby("dataset", sort=False)]
    return pd.concat(tables, ignore_index=True)


def _of_dataset(rows: pd.DataFrame, dataset: str) -> pd.DataFrame:
    quality, means = quality_of(rows), over_seeds(rows)
    test = means[(means.split == "test") & retrained(means)].sort_values(["network", "level", "method"])
    control = test[trained_on(test)].drop_duplicates("network").set_index("network").quality.astype(float)
    others = val_beside_test(means[~retrained(means) & one_code_a_weight(means)], quality)
    best = ranked(others).groupby(_LEVEL).head(1).set_index(_LEVEL)[["method", "quality"]]
    test = test.join(best.set_axis(["against", "after_training"], axis=1), on=_LEVEL)
    columns = {"dataset": dataset, **test[["network", "level", "method", "bytes"]], "measure": quality.axis_label}
    for end in ("", "_low", "_high"):
        columns |= {f"test{end}": quality.scale * test[f"quality{end}"], f"change{end}": test[f"change{end}"]}
    columns |= {"against": test.against, "after_training": quality.scale * test.after_training}
    columns |= {"control": quality.scale * test.network.map(control), "seeds": test.seeds}
    return pd.DataFrame(columns)
