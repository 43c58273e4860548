"""What the steps of a method are: their texts, as in the column ``steps`` of metrics.csv, and their settings there.

A step that the registry does not know, a plugin of another machine say, has no settings but those in the table.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from edgepress import registry
from edgepress.spec import COLUMNS, STEPS, Spec

CONTROL = "random"  # the pruning that others are compared with


def described(rows: pd.DataFrame, manifest: Path | None = None) -> pd.DataFrame:
    """The rows of a metrics.csv with ``steps`` and the columns of ``Spec``, which are text.

    Tables of older runs lack some. There the ``manifest`` beside them tells of chains, or else a name is that of a
    method, and the registry tells of settings.
    """
    rows = rows.assign(
        steps=rows.steps.astype(object).fillna(rows.method) if "steps" in rows else _configured(rows, manifest)
    )
    specs = {text: registry.spec(of(text)) for text in rows.steps.unique()}
    told = {name: rows.steps.map({text: getattr(spec, name) for text, spec in specs.items()}) for name in COLUMNS}
    if set(COLUMNS) <= set(rows):
        told = {name: rows[name].astype(object).fillna("").where(rows.when.notna(), told[name]) for name in COLUMNS}
    return rows.assign(**told)


def _configured(rows: pd.DataFrame, manifest: Path | None) -> pd.Series:
    """The steps of each row by the config of its run."""
    config = json.loads(manifest.read_text(encoding="utf-8"))["config"] if manifest and manifest.exists() else {}
    places = rows[["dataset", "network"]].drop_duplicates().itertuples(index=False, name=None)
    told = {place: _chains(config, *place) for place in places}
    cells = zip(rows.dataset, rows.network, rows.method, strict=True)
    return pd.Series([told[d, n].get(method, method) for d, n, method in cells], rows.index, dtype=object)


def _chains(config: Mapping[str, Any], dataset: str, network: str) -> dict[str, str]:
    """The chains of one network by the config of its run: name → steps."""
    overrides = config.get("overrides") or {}
    asked = [overrides.get(key, {}).get("chains") for key in (f"{dataset}/{network}", dataset)]
    chains = next((chains for chains in asked if chains is not None), config.get("chains") or {})
    return {name: STEPS.join(chain["steps"]) for name, chain in chains.items()}


def of(text: str) -> list[str]:
    """The methods that a method consists of, in order."""
    return text.split(STEPS)


def after_training(text: str) -> str:
    """The steps, each that fine-tunes the network replaced by the one with the same settings that does not, where
    there is one.
    """
    return STEPS.join(map(_twin, of(text)))


def _twin(step: str) -> str:
    spec = registry.spec([step])
    return registry.named(spec.after_training) or step if spec.rounds else step


def without_pruning(text: str) -> str:
    """The steps of a chain without those that only prune."""
    return STEPS.join(step for step in of(text) if not _prunes(step))


def prunes_last(text: str) -> bool:
    """Whether a chain quantizes weights, then prunes, and does nothing after. The control's pruning does not count."""
    kept = [step for step in of(text) if not _prunes(step)]
    pruned = of(text)[len(kept) :]
    return any("bits" in _sweeps(step) for step in kept) and all(map(_prunes, pruned)) and CONTROL not in pruned


def _prunes(step: str) -> bool:
    return _sweeps(step) == ["sparsity"]


def _sweeps(step: str) -> list[str]:
    entry = registry.methods().get(step)
    return entry.sweeps if entry else []


def specs(rows: pd.DataFrame) -> dict[str, Spec]:
    """The settings of each method of the rows, by its name there."""
    return {str(row.method): Spec.of(row) for row in rows.drop_duplicates("method").itertuples(index=False)}
