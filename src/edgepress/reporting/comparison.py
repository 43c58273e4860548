"""Comparison of two runs: which cells changed, and which changes exceed noise."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from edgepress.reporting import pages, results
from edgepress.reporting.results import CONFIDENCE, Quality

IDENTITY = ["dataset", "network", "method", "level"]
IDENTICAL, WITHIN, DIFFERS, UNSURE = "identical", "within noise", "differs", "changed, one seed"
LOST, GAINED, ONLY_BEFORE, ONLY_AFTER = "lost its result", "gained a result", "only in A", "only in B"
NO_RESULT = "no result in either"
LARGE, LARGE_RATIO = 0.2, 2.0  # never noise: change of accuracy or R², factor of an error
_ROUNDING = 1e-9  # tolerance for rounding of floats
_NUMBERS = ["quality_before", "quality_after", "change", "low", "high", "bytes_before", "bytes_after", "seeds",
            "p_quality", "p_bytes"]  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """Run A, ``before``, and run B, ``after``, on one split.

    ``cells`` has one row per data set, network, method and level: its ``verdict``, ``measure`` (accuracy, MSE), the
    means ``quality_before`` and ``quality_after``, their ``change`` with the ends ``low`` and ``high`` of its 95 %
    interval (a difference; the logarithm of a ratio for errors), ``bytes_before`` and ``bytes_after``, the number of
    ``seeds``, and whether the change is ``large``: at least 0.2 in accuracy or R², or a factor of 2 in error, of the
    mean or of a seed or draw that both runs have.

    ``beyond_noise`` is whether a cell is missing, lost or gained its result, or has a large change, or whether more
    cells differ than chance explains: one in twenty intervals excludes 0 by chance, so the false discovery rate is kept
    at 5 % (Benjamini and Hochberg 1995).
    """

    before: str
    after: str
    split: str
    cells: pd.DataFrame
    beyond_noise: bool

    def count(self, *verdicts: str) -> int:
        """The number of cells with one of these verdicts."""
        return int(self.cells.verdict.isin(verdicts).sum())


@dataclass(frozen=True)
class _Run:
    """A table of metrics: the rows of each cell as text, in columns that both runs have; its results on the split; and
    the seeds of each data set and network.
    """

    texts: dict[tuple[str, ...], list[tuple[str, ...]]]
    measured: dict[tuple[str, ...], _Measured]
    seeds: dict[tuple[str, ...], set[int]]


@dataclass(frozen=True)
class _Measured:
    """The results of a cell: ``seeds`` has quality and bytes per seed, averaged over draws; ``draws`` has accuracy or
    the logarithm of the error, and R² clipped at 0, per seed and draw. Below 0 a network is worse than the mean of the
    targets, and the value means nothing.
    """

    quality: Quality
    seeds: pd.DataFrame
    draws: pd.DataFrame


def compare(before: str | Path, after: str | Path, split: str = "test") -> Comparison:
    """Compare two tables of metrics on a split, seed by seed if they have the same seeds.

    A cell is ``identical`` if its rows of all splits are equal, byte for byte, in the columns that both tables have. It
    ``differs`` if the interval of the change of its quality or bytes excludes 0, or the change is large. It lost its
    result if a seed that both runs have lost it. Raises ValueError if the tables have no cell on the split in common,
    or one is not a table of metrics.
    """
    tables = [results.load(path) for path in (before, after)]
    texts = [pd.read_csv(path, dtype=str, keep_default_na=False) for path in (before, after)]
    columns = [name for name in texts[0] if name in texts[1]]
    first, second = (_run(text[columns], table, split) for text, table in zip(texts, tables, strict=True))
    steps = _steps(tables, split)
    rows = []
    for cell in dict.fromkeys([*first.texts, *second.texts]):
        step = steps.get(cell[0], np.nan)
        rows.append(dict(zip(IDENTITY, cell, strict=True)) | _judged(cell, first, second, step))
    cells = pd.DataFrame(rows).reindex(columns=[*IDENTITY, "verdict", "large", "measure", *_NUMBERS])
    if cells.verdict.isin([ONLY_BEFORE, ONLY_AFTER, NO_RESULT]).all():
        raise ValueError(f"{before} and {after} have no cell with results on {split} in common")
    chances = _chances(cells)
    discovered = bool((stats.false_discovery_control(chances) <= 1 - CONFIDENCE).any()) if len(chances) else False
    certain = cells.verdict.isin([LOST, GAINED, ONLY_BEFORE]) | cells.large
    return Comparison(str(before), str(after), split, cells, discovered or bool(certain.any()))


def _steps(tables: list[pd.DataFrame], split: str) -> dict[str, float]:
    """The resolution of accuracy by data set: one over the number of examples of the split (the smaller one if they
    differ). If older tables lack it, it is the smallest difference between accuracies in a table.
    """
    told = [table for table in tables if "examples" in table and table.examples.notna().any()]
    counts = pd.concat([results.examples(table, split) for table in told or tables], axis=1)
    steps = 1 / (counts.min(axis=1) if told else counts.max(axis=1))
    return {str(dataset): float(step) for dataset, step in steps.items()}


def _chances(cells: pd.DataFrame) -> np.ndarray:
    """The p-values of everything that changed."""
    chances = cells[["p_quality", "p_bytes"]].to_numpy(float)
    return chances[chances < 1]


def _run(text: pd.DataFrame, metrics: pd.DataFrame, split: str) -> _Run:
    lines = list(text.itertuples(index=False, name=None))
    places = text.groupby(IDENTITY, sort=False).indices
    rows = {_cell(key): [lines[place] for place in places[key]] for key in places}
    seeds = {_cell(key): set(values.astype(int)) for key, values in text.groupby(["dataset", "network"]).seed}
    measured = {}
    for _, of_set in metrics[metrics.split == split].groupby("dataset", sort=False):
        quality = results.quality_of(of_set)
        draws = of_set.set_index(["seed", "draw"]).reindex(columns=["quality", "r2", *IDENTITY])
        draws["quality"] = _on_scale(quality, draws.quality)
        draws["r2"] = draws.r2.astype(float).clip(lower=0)
        of_draws = {_cell(key): table for key, table in draws.groupby(IDENTITY, sort=False)}
        for key, table in results.per_seed(of_set).groupby(IDENTITY, sort=False):
            of_seeds = table.set_index("seed")[["quality", "bytes"]]
            measured[_cell(key)] = _Measured(quality, of_seeds, of_draws[_cell(key)])
    return _Run(rows, measured, seeds)


def _cell(key: Any) -> tuple[str, ...]:
    return tuple(map(str, key))


def _judged(cell: tuple[str, ...], run_before: _Run, run_after: _Run, step: float) -> dict[str, object]:
    """The columns of ``Comparison.cells`` for a cell; ``step`` is the resolution of accuracy."""
    for run, verdict in ((run_before, ONLY_AFTER), (run_after, ONLY_BEFORE)):
        if cell not in run.texts:
            return {"verdict": verdict, "large": False}
    before, after = (run.measured.get(cell) for run in (run_before, run_after))
    if before is None or after is None:
        verdict = LOST if before else GAINED if after else NO_RESULT
        return {"verdict": verdict, "large": False}
    quality = before.quality
    row: dict[str, object] = {
        "measure": quality.label,
        "quality_before": _mean(quality, before.seeds.quality),
        "quality_after": _mean(quality, after.seeds.quality),
        "bytes_before": before.seeds.bytes.mean(),
        "bytes_after": after.seeds.bytes.mean(),
        "seeds": min(len(before.seeds), len(after.seeds)),
        "large": False,
    }
    if run_before.texts[cell] == run_after.texts[cell]:
        return row | {"verdict": IDENTICAL, "change": 0.0, "low": 0.0, "high": 0.0}
    row["large"] = _is_large(before, after)
    was, now = (_on_scale(quality, measured.seeds.quality) for measured in (before, after))
    change, low, high, p_quality = _change(was, now, 0.0 if quality.is_error else step)
    _, bytes_low, bytes_high, p_bytes = _change(before.seeds.bytes, after.seeds.bytes, 0.0)
    row |= {"change": change, "low": low, "high": high, "p_quality": p_quality, "p_bytes": p_bytes}
    if (set(before.seeds.index) - set(after.seeds.index)) & run_after.seeds[cell[:2]]:
        return row | {"verdict": LOST}
    if row["large"] or low > 0 or high < 0 or bytes_low > 0 or bytes_high < 0:
        return row | {"verdict": DIFFERS}
    return row | {"verdict": UNSURE if np.isnan(p_quality) or np.isnan(p_bytes) else WITHIN}


def _mean(quality: Quality, values: pd.Series) -> float:
    mean = float(_on_scale(quality, values).mean())
    return float(np.exp(mean)) if quality.is_error else mean


def _on_scale(quality: Quality, values: pd.Series) -> pd.Series:
    """Accuracies unchanged, errors as logarithms; an error of 0 becomes a very small one."""
    return np.log(values.clip(lower=np.finfo(float).tiny)) if quality.is_error else values


def _is_large(before: _Measured, after: _Measured) -> bool:
    """Whether a seed or draw that both runs have has a large change, or the mean if their seeds differ."""
    was, now = (measured.draws[["quality", "r2"]].sort_index() for measured in (before, after))
    paired = was.index.equals(now.index)
    moved = np.abs(now.to_numpy() - was.to_numpy() if paired else (now.mean() - was.mean()).to_numpy()[None])
    least = np.array([np.log(LARGE_RATIO) if before.quality.is_error else LARGE, LARGE])
    return bool((moved >= least - _ROUNDING).any())


def _change(before: pd.Series, after: pd.Series, step: float) -> tuple[float, float, float, float]:
    """The change of the mean, its 95 % interval, and the p-value of no change; NaN for a single seed.

    Student's t over the differences per seed, or Welch's if the seeds differ. Values with resolution ``step`` have a
    rounding variance of step²/12; without it, a few seeds that change equally by chance would look certain. So on three
    seeds one more example is chance, two more on each are not. Bytes and errors have no ``step``: if all change
    equally, that is certain.
    """
    paired = set(before.index) == set(after.index)
    change = float(after.mean() - before.mean())
    if paired and (after == before.reindex(after.index)).all():
        return 0.0, 0.0, 0.0, 1.0
    if min(len(before), len(after)) < 2:
        return change, np.nan, np.nan, np.nan
    if paired:
        variance = (float((after - before).var()) + step**2 / 6) / len(after)
        degrees = len(after) - 1.0
    else:
        parts = [(float(values.var()) + step**2 / 12) / len(values) for values in (before, after)]
        variance = sum(parts)
        squares = [part**2 / (len(values) - 1) for part, values in zip(parts, (before, after), strict=True)]
        degrees = variance**2 / sum(squares) if variance else 1.0
    if not variance:
        return change, change, change, float(change == 0)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, degrees) * np.sqrt(variance))
    chance = float(2 * stats.t.sf(abs(change) / np.sqrt(variance), degrees))
    return change, change - half, change + half, chance


def page(comparison: Comparison) -> str:
    """The comparison as one self-contained HTML page."""
    shown, changed = readable(comparison), _changed(comparison)
    return pages.render(
        "comparison.html.j2",
        comparison=comparison,
        sentences=sentences(comparison),
        origins=_origins(comparison),
        columns=list(shown.columns),
        rows=[
            (_cells(shown.columns, row, cell), _span(cell, comparison.cells))
            for row, cell in zip(shown.itertuples(index=False), changed.itertuples(), strict=True)
        ],
    )


def _origins(comparison: Comparison) -> list[tuple[str, str, str]]:
    """Differences between the manifests of the runs: name, value in A, value in B."""
    paths = [Path(run).with_name("manifest.json") for run in (comparison.before, comparison.after)]
    if not all(path.exists() for path in paths):
        return []
    before, after = (
        {
            "commit": manifest["commit"],
            **{f"config: {name}": value for name, value in manifest["config"].items() if name != "run"},
            **{f"machine: {name}": value for name, value in manifest["machine"].items()},
            **{f"version: {name}": value for name, value in manifest["packages"].items()},
        }
        for manifest in (json.loads(path.read_text(encoding="utf-8")) for path in paths)
    )
    names = dict.fromkeys([*before, *after])
    told = [(name, _told(before.get(name, "")), _told(after.get(name, ""))) for name in names]
    return [row for row in told if row[1] != row[2]]


def _told(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _cells(names: Iterable[str], texts: Iterable[str], cell: Any) -> list[tuple[str, float | None]]:
    """The texts of a row, each with its number for sorting, or None to sort by text."""
    numbers = {"A": "quality_before", "B": "quality_after", "bytes A": "bytes_before", "bytes B": "bytes_after"}
    values = {name: getattr(cell, column, None) for name, column in (numbers | {"change": "change"}).items()}
    return [
        (text, None if pd.isna(values.get(name)) else values[name]) for name, text in zip(names, texts, strict=True)
    ]


def _span(cell: Any, cells: pd.DataFrame) -> dict[str, Any] | None:
    """Positions of low, change and high on an axis from −1 to 1 that all cells of the same measure share."""
    values = {name: getattr(cell, name, None) for name in ("low", "change", "high")}
    if pd.isna(list(values.values())).any():
        return None
    widest = cells.loc[cells.measure == cell.measure, list(values)].abs().max().max()
    if not widest:
        return None
    places = {name: float(value / widest) for name, value in values.items()}
    return {**places, "differs": cell.verdict == DIFFERS}


def sentences(comparison: Comparison) -> list[str]:
    """The result of the comparison in sentences."""
    both = comparison.count(IDENTICAL, WITHIN, DIFFERS, UNSURE)
    judged = len(_chances(comparison.cells))
    said = [
        f"{both:,} cells have results in both, on {comparison.split}.",
        f"{comparison.count(IDENTICAL):,} are identical byte for byte, {comparison.count(WITHIN):,} "
        f"within noise; {comparison.count(DIFFERS):,} differ.",
    ]
    if judged:
        said.append(f"By chance alone, one in twenty of {judged:,} intervals would exclude 0: {judged / 20:.0f}.")
    if large := int(comparison.cells.large.sum()):
        said.append(f"{large:,} changed by at least {LARGE * 100:.0f} percentage points of accuracy, {LARGE:g} of R² "
                    f"or a factor of {LARGE_RATIO:g} in error on a seed: that is never noise.")  # fmt: skip
    said += _largest(comparison.cells)
    if comparison.count(UNSURE):
        said.append(f"{comparison.count(UNSURE):,} changed but have one seed, which has no interval to judge by.")
    for verdict in (LOST, GAINED, ONLY_BEFORE, ONLY_AFTER, NO_RESULT):
        if comparison.count(verdict):
            said.append(f"{comparison.count(verdict):,} {verdict}.")
    end = "Something differs beyond noise." if comparison.beyond_noise else "Nothing differs beyond noise."
    return [*said, end]


def _largest(cells: pd.DataFrame) -> list[str]:
    """One sentence per measure on the cell with the largest change, whatever its verdict."""
    told = []
    moved = cells[cells.change.notna() & (cells.change != 0)]
    for measure, rows in moved.groupby("measure"):
        row = rows.iloc[rows.change.abs().argmax()]
        is_error = measure != results.ACCURACY.label
        change = _interval(row.change, row.low, row.high, is_error) + ("" if is_error else " percentage points")
        place = " ".join(str(row[name]) for name in IDENTITY)
        told.append(f"The largest change in {measure} is {change}, of {place}: {row.verdict}.")
    return told


def _changed(comparison: Comparison) -> pd.DataFrame:
    """The cells that are not identical, sorted by verdict and then by size of the change."""
    order = [LOST, GAINED, DIFFERS, UNSURE, ONLY_BEFORE, ONLY_AFTER, WITHIN]
    cells = comparison.cells[comparison.cells.verdict.isin(order)]
    ranks = pd.DataFrame({"verdict": cells.verdict.map(order.index), "change": -cells.change.abs()})
    return cells.loc[ranks.sort_values(["verdict", "change"], kind="stable").index]


def readable(comparison: Comparison) -> pd.DataFrame:
    """A formatted table of the cells that changed or are missing."""
    rows = []
    cell: Any
    for cell in _changed(comparison).itertuples():
        row = {name: getattr(cell, name) for name in [*IDENTITY, "verdict"]}
        for name in ("measure", "A", "B", "change", "bytes A", "bytes B"):
            row[name] = ""
        if isinstance(cell.measure, str):
            error = cell.measure != results.ACCURACY.label
            row["measure"] = cell.measure
            form = "{:.4g}" if error else "{:.2%}"
            row["A"], row["B"] = form.format(cell.quality_before), form.format(cell.quality_after)
            row["change"] = _interval(cell.change, cell.low, cell.high, error)
            row["bytes A"], row["bytes B"] = f"{cell.bytes_before:,.0f}", f"{cell.bytes_after:,.0f}"
        rows.append(row)
    return pd.DataFrame(rows, columns=[*IDENTITY, "verdict", "measure", "A", "B", "change", "bytes A", "bytes B"])


def _interval(change: float, low: float, high: float, is_error: bool) -> str:
    """A change with its interval: points of accuracy, or the ratio of errors."""
    values = np.exp([change, low, high]) if is_error else 100 * np.array([change, low, high])
    sign = "×{:.3f}" if is_error else "{:+.2f}"
    text = sign.format(values[0])
    return text if np.isnan(low) else f"{text} [{sign.format(values[1])}, {sign.format(values[2])}]"
