"""The tables of the report, and their three forms: CSV for machines, Markdown and LaTeX for people."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from edgepress.files import write_atomically
from edgepress.reporting import selection
from edgepress.reporting.results import MSE, Quality, over_seeds, quality_of

TOLERANCE = 0.01


def full_precision(metrics: pd.DataFrame) -> pd.DataFrame:
    """What each trained network reaches on test, and what it costs, before compression."""
    tables = []
    for dataset, rows in metrics[metrics.method == "fp32"].groupby("dataset", sort=False):
        means = over_seeds(rows[rows.split == "test"])
        costs = rows.groupby("network", sort=False)[["macs", "bits_per_weight", "bytes"]].first()
        means = means.join(costs[["macs"]], on="network")
        parameters = (8 * costs.bytes / costs.bits_per_weight).round().astype(int)
        means["parameters"] = means.network.map(parameters)
        tables.append(_table(means, dataset, quality_of(rows), ["parameters", "macs", "bytes"]))
    return pd.concat(tables, ignore_index=True)


def best_at_each_precision(metrics: pd.DataFrame) -> pd.DataFrame:
    """At each number of bits, the method that is best on val, and its quality on test."""
    return _chosen(metrics, selection.best_at_each_precision, ["bits", "method", "bytes", "compression_ratio"])


def smallest_within_one_percent(metrics: pd.DataFrame) -> pd.DataFrame:
    """The smallest file within 1 % of full precision on val (1 point of accuracy, 1 % of the MSE), and its
    quality on test.
    """

    def choose(rows: pd.DataFrame, dataset: str) -> pd.DataFrame:
        return selection.smallest_within(rows, dataset, TOLERANCE)

    return _chosen(metrics, choose, ["method", "level", "bytes", "compression_ratio"])


def _chosen(metrics, choose, columns: list[str]) -> pd.DataFrame:
    tables = []
    for dataset in metrics.dataset.unique():
        quality = quality_of(metrics[metrics.dataset == dataset])
        tables.append(_table(choose(metrics, dataset), dataset, quality, columns, changed=True))
    return pd.concat(tables, ignore_index=True)


def _table(
    rows: pd.DataFrame, dataset: str, quality: Quality, columns: list[str], changed: bool = False
) -> pd.DataFrame:
    table = rows[["network", *columns]].copy()
    table.insert(0, "dataset", dataset)
    table["measure"] = quality.label if quality is MSE else f"{quality.label} ({quality.unit})"
    table["test"] = quality.scale * rows.quality
    table["test_half_width"] = quality.scale * rows.half_width
    if changed:
        table["change"] = rows.change
        table["change_half_width"] = rows.change_half_width
    table["seeds"] = rows.seeds
    return table


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """The table as people read it: mean ± interval in one column, sizes with units of thousands, names spaced."""
    shown = table.copy()
    for name in ("test", "change"):
        if name in shown:
            halves = shown.pop(f"{name}_half_width")
            ratio = (shown.measure == MSE.label) & (name == "change")
            shown[name] = [
                ("× " if is_ratio else "") + _plus_minus(value, half, signed=name == "change" and not is_ratio)
                for value, half, is_ratio in zip(shown[name], halves, ratio, strict=True)
            ]
    for name in ("bytes", "parameters", "macs"):
        if name in shown:
            shown[name] = shown[name].map("{:,.0f}".format)
    if "compression_ratio" in shown:
        shown["compression_ratio"] = shown.compression_ratio.map("{:.1f} ×".format)
    if "bits" in shown:
        shown["bits"] = shown.bits.astype(int)
    for name in ("dataset", "network", "method"):
        if name in shown:
            shown[name] = shown[name].str.replace("_", " ")
    return shown.rename(columns=lambda name: name.replace("_", " "))


def _plus_minus(value: float, half: float, signed: bool) -> str:
    """Mean ± half width, both to the second significant digit of the half width; no interval for a single seed."""
    spread = half if half > 0 else abs(value) / 100
    digits = 2 if spread == 0 else max(0, min(6, 1 - _exponent(spread)))
    text = f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"
    return text if pd.isna(half) else f"{text} ± {half:.{digits}f}"


def _exponent(value: float) -> int:
    return int(f"{value:e}".split("e")[1])


def write(table: pd.DataFrame, path: str | Path) -> None:
    """Write ``path``.csv with plain numbers, and ``path``.md and ``path``.tex as people read them."""
    write_atomically(f"{path}.csv", table.to_csv(index=False))
    shown = readable(table)
    write_atomically(f"{path}.md", shown.to_markdown(index=False, disable_numparse=True) + "\n")
    latex = shown.map(lambda value: str(value).replace("±", r"$\pm$").replace("×", r"$\times$").replace("%", r"\%"))
    latex.columns = [name.replace("%", r"\%") for name in latex.columns]
    write_atomically(f"{path}.tex", latex.to_latex(index=False, escape=False))
