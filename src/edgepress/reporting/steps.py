"""What a method is: the steps of a chain, and what the registry declares of each. Names say nothing about it.

A function takes the name of a method or chain of the run that was loaded last, or the steps themselves, joined by
``+`` as in metrics.csv. What the registry does not know, a plugin of another machine say, is a step without codebook.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from edgepress import registry

CONTROL = "random"  # the pruning that others are compared with
_PER_CHANNEL = "rounding_channel"  # the family of methods with a codebook a channel
_JOINED = "+"
_chains: dict[str, tuple[str, ...]] = {}


def read(rows: pd.DataFrame, manifest: Path) -> pd.Series:
    """The steps of each row of a metrics.csv, and from now on those that go by the names in it.

    Tables of older runs lack the column; there the ``manifest`` beside them tells of chains. Where neither does, a name
    is that of a method.
    """
    if "steps" in rows:
        steps = rows.steps.fillna(rows.method)
    else:
        config = json.loads(manifest.read_text(encoding="utf-8"))["config"] if manifest.exists() else {}
        places = rows[["dataset", "network"]].drop_duplicates().itertuples(index=False, name=None)
        told = {place: _configured(config, *place) for place in places}
        cells = zip(rows.dataset, rows.network, rows.method, strict=True)
        steps = pd.Series([told[d, n].get(method, method) for d, n, method in cells], rows.index, dtype=object)
    _chains.clear()
    _chains.update({str(name): tuple(text.split(_JOINED)) for name, text in zip(rows.method, steps, strict=True)})
    return steps


def _configured(config: Mapping[str, Any], dataset: str, network: str) -> dict[str, str]:
    """The chains of one network by the config of its run: name → steps."""
    overrides = config.get("overrides") or {}
    asked = [overrides.get(key, {}).get("chains") for key in (f"{dataset}/{network}", dataset)]
    chains = next((chains for chains in asked if chains is not None), config.get("chains") or {})
    return {name: _JOINED.join(chain["steps"]) for name, chain in chains.items()}


def of(method: str) -> tuple[str, ...]:
    """The methods that a method consists of, in order; for one that is no chain, itself."""
    return _chains.get(method) or tuple(method.split(_JOINED))


def joined(method: str) -> str:
    """The steps of a method in one text, as in the column ``steps``."""
    return _JOINED.join(of(method))


def _declared(step: str) -> registry.MethodEntry | None:
    return registry.methods().get(step)


def _sweeps(step: str) -> list[str]:
    entry = _declared(step)
    return entry.sweeps if entry else []


def families(method: str) -> set[str]:
    """The families of the steps of a method that the registry knows."""
    return {entry.family for entry in map(_declared, of(method)) if entry}


def retrains(method: str) -> bool:
    """Whether a step of a method trains the network again."""
    return any(entry.retrains for entry in map(_declared, of(method)) if entry)


def main(method: str) -> str:
    """The step that a chain is drawn as: the first that quantizes weights, else that prunes, else the first."""
    found = of(method)
    return next((step for kind in ("bits", "sparsity") for step in found if kind in _sweeps(step)), found[0])


def codebook(method: str) -> str:
    """Where the weights' levels lie, ``uniform`` say; '' for methods that are no rounding to a codebook."""
    entry = _declared(main(method))
    return str(entry.args.get("codebook", "")) if entry and entry.sweep == "bits" else ""


def rounding(method: str) -> str:
    """How weights come to the levels of their codebook, ``nearest``, ``stochastic`` or ``dithered``; '' without one."""
    entry = _declared(main(method))
    if entry is None or not codebook(method):
        return ""
    return entry.rounding or ("stochastic" if entry.args.get("stochastic") else "nearest")


def per_channel(method: str) -> bool:
    """Whether a method is the variant, of another, that has a codebook or step for each output channel."""
    entry = _declared(main(method))
    return entry is not None and (entry.family == _PER_CHANNEL or entry.args.get("granularity") == "channel")


def after_training(method: str) -> str:
    """The steps of ``method``, each that trains the network again replaced by the rounding after training to the same
    codebook where there is one.
    """
    return _JOINED.join(map(_twin, of(method)))


def _twin(step: str) -> str:
    entry = _declared(step)
    if entry is None or not entry.retrains or not codebook(step):
        return step
    same = codebook(step), rounding(step), per_channel(step)
    others = (name for name, other in registry.methods().items() if not other.retrains)
    return next((name for name in others if (codebook(name), rounding(name), per_channel(name)) == same), step)


def without_pruning(method: str) -> str:
    """The steps of a chain without those that only prune."""
    return _JOINED.join(step for step in of(method) if not _prunes(step))


def prunes_last(method: str) -> bool:
    """Whether a chain quantizes weights, then prunes, and does nothing after. The control's pruning does not count."""
    kept = [step for step in of(method) if not _prunes(step)]
    pruned = of(method)[len(kept) :]
    return any("bits" in _sweeps(step) for step in kept) and all(map(_prunes, pruned)) and CONTROL not in pruned


def _prunes(step: str) -> bool:
    return _sweeps(step) == ["sparsity"]


def by_magnitude(method: str) -> bool:
    """Whether a method does nothing but prune the weights of least magnitude."""
    entries = [_declared(step) for step in of(method)]
    return len(entries) == 1 and entries[0] is not None and entries[0].args.get("score") == "magnitude"
