"""The tables of the report, and their three forms: CSV for machines, Markdown and LaTeX for people."""

from __future__ import annotations

from collections.abc import Callable
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


def _chosen(
    metrics: pd.DataFrame, choose: Callable[[pd.DataFrame, str], pd.DataFrame], columns: list[str]
) -> pd.DataFrame:
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
    table["measure"] = quality.axis_label
    for end in ("", "_low", "_high"):
        table[f"test{end}"] = quality.scale * rows[f"quality{end}"]
    if changed:
        for end in ("", "_low", "_high"):
            table[f"change{end}"] = rows[f"change{end}"]
    table["seeds"] = rows.seeds
    return table


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """The table as people read it: mean and interval in one column, thousands apart, names without underscores."""
    shown = table.copy()
    is_error = shown.measure == MSE.axis_label
    for name in ("test", "change"):
        if name in shown:
            ends = shown.pop(f"{name}_low"), shown.pop(f"{name}_high")
            shown[name] = [
                _with_interval(*values, signed=name == "change" and not error, ratio=name == "change" and error)
                for *values, error in zip(shown[name], *ends, is_error, strict=True)
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


def _with_interval(mean: float, low: float, high: float, signed: bool, ratio: bool) -> str:
    """``mean [low, high]``, in three digits, or two decimals of points; the mean alone for a single seed."""
    texts = [f"{value:+.2f}" if signed else f"{value:.3g}" for value in (mean, low, high)]
    text = texts[0] if pd.isna(low) else f"{texts[0]} [{texts[1]}, {texts[2]}]"
    return f"× {text}" if ratio else text


def write(table: pd.DataFrame, path: str | Path) -> None:
    """Write ``path``.csv with plain numbers, and ``path``.md and ``path``.tex as people read them."""
    shown = readable(table)
    write_atomically(f"{path}.csv", table.to_csv(index=False))
    write_atomically(f"{path}.md", shown.to_markdown(index=False, disable_numparse=True) + "\n")
    write_atomically(f"{path}.tex", _latex(shown))


def _latex(shown: pd.DataFrame) -> str:
    def escaped(value: object) -> str:
        return str(value).replace("%", r"\%").replace("×", r"$\times$")

    return shown.map(escaped).rename(columns=escaped).to_latex(index=False, escape=False)
