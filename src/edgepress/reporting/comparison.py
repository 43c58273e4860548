"""Two runs beside each other: which cells changed, and which changes are more than noise."""

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
from edgepress.reporting.results import CONFIDENCE, Quality, t_half_width

IDENTITY = ["dataset", "network", "method", "level"]
IDENTICAL, WITHIN, DIFFERS, UNSURE = "identical", "within noise", "differs", "changed, one seed"
LOST, GAINED, ONLY_BEFORE, ONLY_AFTER = "lost its result", "gained a result", "only in A", "only in B"
NO_RESULT = "no result in either"


@dataclass(frozen=True)
class Comparison:
    """Run A, ``before``, and run B, ``after``, on one split.

    ``cells`` has a row a data set, network, method and level: its ``verdict``, ``measure`` (accuracy, MSE), the means
    ``quality_before`` and ``quality_after``, their ``change`` with the ends ``low`` and ``high`` of its 95 % interval
    (a difference; the logarithm of a ratio for errors), ``bytes_before`` and ``bytes_after``, and ``seeds``, their
    number. ``beyond_noise`` is whether cells lost or gained their result, or differ in more ways than chance explains:
    of all intervals one in twenty misses 0 by chance, so the false discovery rate of those that count is kept at 5 %
    (Benjamini and Hochberg 1995).
    """

    before: str
    after: str
    split: str
    cells: pd.DataFrame
    beyond_noise: bool

    def count(self, *verdicts: str) -> int:
        """How many cells have one of these verdicts."""
        return int(self.cells.verdict.isin(verdicts).sum())


def compare(before: str | Path, after: str | Path, split: str = "test") -> Comparison:
    """Compare two tables of metrics on a split, seed by seed where they have the same seeds.

    A cell is ``identical`` where its rows, of all splits, are the same bytes, and ``differs`` where the interval of
    what changed in its quality or its bytes does not hold 0. Raises ValueError where they share no cell on the split,
    or one is no table of metrics.
    """
    seeds = [_per_seed(path, split) for path in (before, after)]
    texts = [_rows_as_text(path) for path in (before, after)]
    rows = []
    for cell in dict.fromkeys([*texts[0], *texts[1]]):
        found = [text.get(cell) for text in texts]
        measured = [table.get(cell) for table in seeds]
        rows.append(dict(zip(IDENTITY, cell, strict=True)) | _judged(found, measured))
    cells = pd.DataFrame(rows)
    if not cells.verdict.isin([IDENTICAL, WITHIN, DIFFERS, UNSURE]).any():
        raise ValueError(f"{before} and {after} have no cell with results on {split} in common")
    chances = _chances(cells)
    discovered = bool((stats.false_discovery_control(chances) <= 1 - CONFIDENCE).any()) if len(chances) else False
    status_changed = bool(cells.verdict.isin([LOST, GAINED]).any())
    return Comparison(str(before), str(after), split, cells, discovered or status_changed)


def _chances(cells: pd.DataFrame) -> np.ndarray:
    """The p-values of everything that moved at all."""
    chances = cells.reindex(columns=["p_quality", "p_bytes"]).to_numpy(float)
    return chances[chances < 1]


def _rows_as_text(path: str | Path) -> dict[tuple[str, ...], list[tuple[str, ...]]]:
    """The rows of each cell as they stand in the file."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    groups = table.groupby(IDENTITY, sort=False)
    return {_cell(key): list(rows.itertuples(index=False, name=None)) for key, rows in groups}


def _cell(key: tuple[object, ...]) -> tuple[str, ...]:
    return tuple(map(str, key))


def _per_seed(path: str | Path, split: str) -> dict[tuple[str, ...], tuple[Quality, pd.DataFrame]]:
    """Of each cell with results: how it is measured, and quality and bytes of each seed, its draws averaged."""
    metrics = results.load(path)
    found = {}
    for _, rows in metrics[metrics.split == split].groupby("dataset", sort=False):
        quality = results.quality_of(rows)
        for key, table in results.per_seed(rows).groupby(IDENTITY, sort=False):
            found[_cell(key)] = quality, table.set_index("seed")[["quality", "bytes"]]
    return found


def _judged(
    texts: list[list[tuple[str, ...]] | None], measured: list[tuple[Quality, pd.DataFrame] | None]
) -> dict[str, object]:
    if None in texts:
        return {"verdict": ONLY_AFTER if texts[0] is None else ONLY_BEFORE}
    before_and_quality, after_and_quality = measured
    if before_and_quality is None:
        return {"verdict": NO_RESULT if after_and_quality is None else GAINED}
    if after_and_quality is None:
        return {"verdict": LOST}
    (quality, before), (_, after) = before_and_quality, after_and_quality
    row: dict[str, object] = {
        "measure": quality.label,
        "quality_before": quality.mean(before.quality),
        "quality_after": quality.mean(after.quality),
        "bytes_before": before.bytes.mean(),
        "bytes_after": after.bytes.mean(),
        "seeds": min(len(before), len(after)),
    }
    if texts[0] == texts[1]:
        return row | {"verdict": IDENTICAL, "change": 0.0, "low": 0.0, "high": 0.0}
    scale = np.log if quality.is_error else np.asarray
    change, low, high, p_quality = _change(before.quality.map(scale), after.quality.map(scale))
    _, bytes_low, bytes_high, p_bytes = _change(before.bytes, after.bytes, exact=True)
    row |= {"change": change, "low": low, "high": high, "p_quality": p_quality, "p_bytes": p_bytes}
    if low > 0 or high < 0 or bytes_low > 0 or bytes_high < 0:
        return row | {"verdict": DIFFERS}
    return row | {"verdict": UNSURE if np.isnan(p_quality) or np.isnan(p_bytes) else WITHIN}


def _change(before: pd.Series, after: pd.Series, exact: bool = False) -> tuple[float, float, float, float]:
    """How far the mean moved, its 95 % interval, and the p-value of no change; NaN where one seed tells nothing.

    Student's t over the differences of each seed, or Welch's where the seeds are not the same. Where all seeds moved
    alike, what is ``exact`` is certain; accuracy comes in steps, and a few seeds may take the same one by chance: their
    deviation counts as the smallest step between any two of the values.
    """
    paired = set(before.index) == set(after.index)
    moved = (after - before.reindex(after.index)) if paired else after - before.mean()
    change = float(after.mean() - before.mean())
    if moved.nunique() == 1 and (paired or before.nunique() == 1) and (change == 0 or min(len(before), len(after)) > 1):
        if exact or change == 0:
            return change, change, change, float(change == 0)
        step = float(np.diff(np.unique([*before, *after])).min())
        half = t_half_width(len(moved), step)
        chance = 2 * stats.t.sf(abs(change) * np.sqrt(len(moved)) / step, len(moved) - 1)
        return change, change - half, change + half, float(chance)
    if min(len(before), len(after)) < 2:
        return change, np.nan, np.nan, np.nan
    test = stats.ttest_1samp(moved, 0) if paired else stats.ttest_ind(after, before, equal_var=False)
    low, high = test.confidence_interval(CONFIDENCE)
    return change, float(low), float(high), float(test.pvalue)


def page(comparison: Comparison) -> str:
    """The comparison as one HTML page that needs nothing else."""
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
    """What differs in how the runs were made, by their manifests: its name, and what it is in A and in B."""
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
    """The texts of a row, each with the number that it is sorted by; None where the text serves."""
    numbers = {"A": "quality_before", "B": "quality_after", "bytes A": "bytes_before", "bytes B": "bytes_after"}
    values = {name: getattr(cell, column, None) for name, column in (numbers | {"change": "change"}).items()}
    return [
        (text, None if pd.isna(values.get(name)) else values[name]) for name, text in zip(names, texts, strict=True)
    ]


def _span(cell: Any, cells: pd.DataFrame) -> dict[str, Any] | None:
    """Where low, change and high stand on an axis from −1 to 1 that all cells of the same measure share."""
    values = {name: getattr(cell, name, None) for name in ("low", "change", "high")}
    if pd.isna(list(values.values())).any():
        return None
    widest = cells.loc[cells.measure == cell.measure, list(values)].abs().max().max()
    if not widest:
        return None
    places = {name: float(value / widest) for name, value in values.items()}
    return {**places, "differs": cell.verdict == DIFFERS}


def sentences(comparison: Comparison) -> list[str]:
    """What the comparison found, in words."""
    both = comparison.count(IDENTICAL, WITHIN, DIFFERS, UNSURE)
    judged = len(_chances(comparison.cells))
    said = [
        f"{both:,} cells have results in both, on {comparison.split}.",
        f"{comparison.count(IDENTICAL):,} are identical in every byte of their rows, {comparison.count(WITHIN):,} "
        f"within noise; {comparison.count(DIFFERS):,} differ beyond their 95 % interval.",
    ]
    if judged:
        said.append(f"By chance alone, one in twenty of {judged:,} intervals would miss 0: {judged / 20:.0f}.")
    if comparison.count(UNSURE):
        said.append(f"{comparison.count(UNSURE):,} changed but have one seed, which has no interval to judge by.")
    for verdict in (LOST, GAINED, ONLY_BEFORE, ONLY_AFTER, NO_RESULT):
        if comparison.count(verdict):
            said.append(f"{comparison.count(verdict):,} {verdict}.")
    end = "Something differs beyond noise." if comparison.beyond_noise else "Nothing differs beyond noise."
    return [*said, end]


def _changed(comparison: Comparison) -> pd.DataFrame:
    """The cells that are worth a line: not those that are the same, the widest changes first within a verdict."""
    order = [LOST, GAINED, DIFFERS, UNSURE, ONLY_BEFORE, ONLY_AFTER, WITHIN]
    cells = comparison.cells[comparison.cells.verdict.isin(order)]
    ranks = pd.DataFrame({"verdict": cells.verdict.map(order.index), "change": -cells.change.abs()})
    return cells.loc[ranks.sort_values(["verdict", "change"], kind="stable").index]


def readable(comparison: Comparison) -> pd.DataFrame:
    """The cells that changed or are missing, as one reads them."""
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
