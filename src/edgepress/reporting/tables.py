"""The tables of the report, and their three forms: CSV for machines, Markdown and LaTeX for people."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from edgepress.files import write_atomically
from edgepress.reporting import selection
from edgepress.reporting.results import MSE, Quality, over_seeds, quality_of

TOLERANCE = 0.01
_MULTIPOINT = "multipoint"
_MOST_POINT_BITS = 8
_ENDS = ("", "_low", "_high")


def full_precision(metrics: pd.DataFrame) -> pd.DataFrame:
    """What each trained network reaches on train and test, and what it costs, before compression."""
    tables = []
    for dataset, rows in metrics[metrics.method == "fp32"].groupby("dataset", sort=False):
        means = _with_train(over_seeds(rows))
        costs = rows.groupby("network", sort=False)[["macs", "bits_per_weight", "bytes"]].first()
        means = means.join(costs[["macs"]], on="network")
        parameters = (8 * costs.bytes / costs.bits_per_weight).round().astype(int)
        means["parameters"] = means.network.map(parameters)
        tables.append(_table(means, str(dataset), quality_of(rows), ["parameters", "macs", "bytes"]))
    return pd.concat(tables, ignore_index=True)


def multipoint(metrics: pd.DataFrame) -> pd.DataFrame:
    """Multi-point quantization from 8 bits a point down: quality, and the bytes and bits a weight that it stores."""
    tables = []
    rows = metrics[(metrics.method == "fp32") | (metrics.family == _MULTIPOINT)]
    for dataset in rows.dataset[rows.family == _MULTIPOINT].unique():
        of_set = rows[rows.dataset == dataset]
        means = _with_train(over_seeds(of_set))
        means = means[(means.family == _MULTIPOINT) & (means.bits <= _MOST_POINT_BITS)]
        means = means.sort_values(["network", "method", "bits"], ascending=[False, True, False])
        tables.append(_table(means, dataset, quality_of(of_set), ["method", "bits", "bytes", "bits_per_weight"], True))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["dataset", "network", "method"])


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


def _with_train(means: pd.DataFrame) -> pd.DataFrame:
    """The test rows of ``over_seeds``, with their quality on train as ``train``; NaN where it was not measured."""
    place = ["network", "method", "level"]
    train = means[means.split == "train"].set_index(place)[[f"quality{end}" for end in _ENDS]]
    train.columns = [f"train{end}" for end in _ENDS]
    return means[means.split == "test"].join(train, on=place)


def _table(
    rows: pd.DataFrame, dataset: str, quality: Quality, columns: list[str], changed: bool = False
) -> pd.DataFrame:
    table = rows[["network", *columns]].copy()
    table.insert(0, "dataset", dataset)
    table["measure"] = quality.axis_label
    for end in _ENDS:
        if "train" in rows:
            table[f"train{end}"] = quality.scale * rows[f"train{end}"]
    for end in _ENDS:
        table[f"test{end}"] = quality.scale * rows[f"quality{end}"]
    if changed:
        for end in _ENDS:
            table[f"change{end}"] = rows[f"change{end}"]
    table["seeds"] = rows.seeds
    return table


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """The table as people read it: mean and interval in one column, thousands apart, names without underscores."""
    shown = table.copy()
    for name in ("train", "test", "change", "difference"):
        if name in shown:
            is_error = shown.measure == MSE.axis_label
            ends = shown.pop(f"{name}_low"), shown.pop(f"{name}_high")
            compared = name in ("change", "difference")
            shown[name] = [
                _with_interval(mean, low, high, signed=compared and not error, ratio=compared and error)
                for mean, low, high, error in zip(shown[name], *ends, is_error, strict=True)
            ]
    for name in ("bytes", "parameters", "macs"):
        if name in shown:
            shown[name] = shown[name].map("{:,.0f}".format)
    if "compression_ratio" in shown:
        shown["compression_ratio"] = shown.compression_ratio.map("{:.1f} ×".format)
    if "bits_per_weight" in shown:
        shown["bits_per_weight"] = shown.bits_per_weight.map("{:.2f}".format)
    for name in ("after_training", "target", "test_quality", "steps", "seconds", "kwh"):
        if name in shown:
            shown[name] = ["" if pd.isna(value) else f"{value:,.4g}" for value in shown[name]]
    if "bits" in shown:
        shown["bits"] = shown.bits.astype(int)
    for name in ("dataset", "network", "method", "against", "chosen", "recipe"):
        if name in shown:
            shown[name] = shown[name].fillna("").str.replace("_", " ")
    return shown.rename(columns=lambda name: name.replace("_", " "))


def _with_interval(mean: float, low: float, high: float, signed: bool, ratio: bool) -> str:
    """``mean [low, high]``, in three digits, or two decimals of points; the mean alone for a single seed, and nothing
    where there is none.
    """
    if pd.isna(mean):
        return ""
    texts = [f"{value:+.2f}" if signed else _number(value) for value in (mean, low, high)]
    text = texts[0] if pd.isna(low) else f"{texts[0]} [{texts[1]}, {texts[2]}]"
    return f"× {text}" if ratio else text


def _number(value: float) -> str:
    """Three digits, or all of those before the point."""
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e6 else f"{value:#.3g}".rstrip(".")


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
