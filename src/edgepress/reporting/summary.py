"""The findings of a run in sentences generated from its numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pandas as pd

from edgepress.levels import Level
from edgepress.reporting import numbers, selection, style
from edgepress.reporting.numbers import counted
from edgepress.reporting.results import TOLERANCE, Quality, quality_of

_WITHIN = f"within {100 * TOLERANCE:g} % of full precision"


def sentences(metrics: pd.DataFrame) -> Iterator[str]:
    """For each data set and network: the smallest file within ``results.TOLERATED``, and its loss."""
    for dataset in metrics.dataset.unique():
        quality = quality_of(metrics[metrics.dataset == dataset])
        for row in selection.smallest_within_tolerance(metrics, dataset).itertuples():
            yield f"**{style.label(row.network)}** on **{style.label(dataset)}**{_told(row, quality)}"


def _told(row: Any, quality: Quality) -> str:
    """The sentence on a network, from its row of ``selection.smallest_within_tolerance``."""
    if row.method == "fp32":
        return f": no smaller file is {_WITHIN} on val."
    by = f"{style.label(row.method)} at {_level(row.level)}"
    small = f"{numbers.size(row.bytes)}, {row.compression_ratio:.1f} times smaller than float32"
    tied = f"; no significant difference from {counted(row.tied, 'other')} of about that size" if row.tied else ""
    if row.shown:
        return f" fits in {small}, {_WITHIN}: {_price(row, quality)}, by {by}{tied}."
    told = f": the smallest file {_WITHIN} on val, {small}, is not confirmed on test"
    return f"{told}: {_price(row, quality)}, by {by}{tied}."


def _price(row: Any, quality: Quality) -> str:
    """The change on test in words, with its interval and sample sizes."""
    seeds = counted(row.seeds, "seed")
    if quality.is_error:
        ends = "" if pd.isna(row.change_low) else f" [{row.change_low:.3f}, {row.change_high:.3f}]"
        return f"{row.change:.3f}{ends} times the error on test (geometric mean of {seeds})"
    change = numbers.with_interval(row.change, row.change_low, row.change_high, signs=True)
    examples = "" if pd.isna(row.examples) else f", {counted(row.examples, 'example')}"
    return f"{change} percentage points of accuracy on test ({seeds}{examples})"


def notes(rows: Iterable[Mapping[str, str]]) -> list[str]:
    """Sentences on what the results of each network omit, and on trainings without result; ``rows`` are those of
    metrics.csv as text.
    """
    said: dict[str, None] = {}
    for row in rows:
        who = f"**{style.label(row['network'])}** on **{style.label(row['dataset'])}**"
        if row.get("note"):
            said[f"{who}: {row['note']}."] = None
        elif row["method"] == "fp32" and row["status"] == "failed":
            said[f"{who}, seed {row['seed']}: no result: {row['reason']}."] = None
    return list(said)


def _level(name: str) -> str:
    level = Level.parse(name)
    parts = [f"{level.bits} bits"] if level.bits else []
    parts += [f"activations in {level.act_bits}"] if level.act_bits else []
    parts += [f"{level.sparsity:.0%} sparsity"] if level.sparsity is not None else []
    return " and ".join(parts)
