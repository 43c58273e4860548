"""What a run found, in sentences made from its numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pandas as pd

from edgepress.levels import Level
from edgepress.reporting import selection, style, tables
from edgepress.reporting.results import quality_of


def sentences(metrics: pd.DataFrame) -> Iterator[str]:
    """For each data set and network: how small its file gets within 1 % of full precision, and at what price."""
    for dataset in metrics.dataset.unique():
        quality = quality_of(metrics[metrics.dataset == dataset])
        row: Any
        for row in selection.smallest_within(metrics, dataset, tables.TOLERANCE).itertuples():
            who = f"**{style.label(row.network)}** on **{style.label(dataset)}**"
            if row.method == "fp32":
                yield f"{who}: no method keeps it within 1 % of full precision on val."
                continue
            if quality.is_error:
                price = f"with {row.change:.3f} times the error"
            else:
                price = f"for {row.change:+.2f} points of accuracy".replace("-", "−")
            yield (
                f"{who} fits in {_size(row.bytes)}, {row.compression_ratio:.1f} times smaller than float32, "
                f"{price} on test, by {style.label(row.method)} at {_level(row.level)}."
            )


def notes(rows: Iterable[Mapping[str, str]]) -> list[str]:
    """What the results of each network leave out, and which trainings have no result, once each; ``rows`` are those of
    metrics.csv as text.
    """
    said: dict[str, None] = {}
    for row in rows:
        who = f"**{style.label(row['network'])}** on **{style.label(row['dataset'])}**"
        if row.get("note"):
            said[f"{who}: {row['note']}."] = None
        elif row["method"] == "fp32" and row["status"] == "failed":
            said[f"{who}, seed {row['seed']}: no result, since {row['reason']}."] = None
    return list(said)


def _level(name: str) -> str:
    level = Level.parse(name)
    parts = [f"{level.bits} bits"] if level.bits else []
    parts += [f"activations in {level.act_bits}"] if level.act_bits else []
    parts += [f"{level.sparsity:.0%} sparsity"] if level.sparsity is not None else []
    return " and ".join(parts)


def _size(count: float) -> str:
    for unit, factor in (("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count:.0f} bytes"
