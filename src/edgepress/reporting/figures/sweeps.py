"""Quality along a sweep: against measured bits per weight, and against sparsity."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import fill
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, MultipleLocator, PercentFormatter

from edgepress.reporting import style
from edgepress.reporting.figures import panels
from edgepress.reporting.figures.panels import Column
from edgepress.reporting.results import (
    CROSS_ENTROPY,
    Quality,
    over_seeds,
    quality_of,
    retrained,
    weights_alone,
    with_settings,
)
from edgepress.spec import BY_CHANCE, Spec

_CHANGE_COLUMNS = 4
_KINDS = ("deterministic", "stochastic", "per-channel", "others")  # kinds of methods in the order of their panels
_FEW_SHARES = 5  # up to this many, each has a tick
_TITLE = 19  # characters per line of a small panel's title
_SPLITS = ("train", "test")
_NETWORK_LINES = ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (4, 1, 1, 1)), (0, (6, 1, 1, 1, 1, 1)))


def precision(metrics: pd.DataFrame, dataset: str) -> Figure:
    """Quality on train and test against measured bits per weight, with nominal bits above and bands of 95 % intervals:
    one row per network, one line per method.

    Stochastic methods have separate panels on the same scale. With many methods, so have per-channel methods, and those
    that do more than round one tensor.
    """
    rows = of_sweep(metrics, dataset, "bits")
    methods = panels.methods(rows)
    kind = _by_kind if len(methods) > style.MANY and len(list(_splits(rows))) == 1 else _by_chance_or_not
    groups: dict[str, list[str]] = {}
    for method in sorted(methods, key=lambda method: _KINDS.index(kind(method))):
        groups.setdefault(kind(method), []).append(method.method)
    groups = groups or {"": []}
    columns = [
        Column(
            f"{split}, {title}" if len(groups) > 1 else split,
            measure.quality,
            measure.means[measure.means.method.isin([*names, "fp32"])],
        )
        for title, names in groups.items()
        for split, measure in _splits(rows)
    ]
    figure, grid = panels.page(dataset, columns)
    for axes, column, means in grid:
        of_network = rows[(rows.method != "fp32") & (rows.network == means.network.iloc[0])]
        panels.measured_bits(axes, of_network)
        panels.nominal_bits_above(axes, of_network)
        panels.full_precision(axes, column.quality, means)
        for _, line in means[means.method != "fp32"].groupby("method", sort=False):
            panels.line(axes, line.bits_per_weight, line, "quality", column.quality.scale, **style.look(line.iloc[0]))
    panels.finish(figure, [*panels.handles(rows), panels.full_precision_handle()])
    return figure


def _by_chance_or_not(method: Any) -> str:
    return "stochastic" if method.rounding in BY_CHANCE else "deterministic"


def _by_kind(method: Any) -> str:
    if style.per_channel(method):
        return "per-channel"
    return _by_chance_or_not(method) if Spec.of(method).rounds else "others"


def pruning(metrics: pd.DataFrame, dataset: str) -> Figure:
    """Quality (and cross-entropy for classification) on train and test against sparsity: one row per network, one line
    per method, with bands of 95 % intervals.
    """
    rows = of_sweep(metrics, dataset, "sparsity_target")
    quality = quality_of(rows)
    measures = [quality] if quality.is_error else [quality, CROSS_ENTROPY]
    columns = [
        Column(f"{split}, {measure.label}", measure, column.means)
        for measure in measures
        for split, column in _splits(rows, measure)
    ]
    shares = sorted({share for column in columns for share in column.means.sparsity_target.dropna()})
    figure, grid = panels.page(dataset, columns)
    for axes, column, means in grid:
        axes.xaxis.set_major_locator(FixedLocator(shares) if len(shares) <= _FEW_SHARES else MultipleLocator(0.25))
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=""))
        axes.tick_params(axis="x", labelsize="small")
        axes.set_xlabel("sparsity (%)")
        panels.full_precision(axes, column.quality, means)
        for _, line in means[means.method != "fp32"].groupby("method", sort=False):
            panels.line(axes, line.sparsity_target, line, "quality", column.quality.scale, **style.look(line.iloc[0]))
    panels.finish(figure, [*panels.handles(rows), panels.full_precision_handle()])
    return figure


def change(metrics: pd.DataFrame, dataset: str) -> Figure:
    """Change of quality from full precision, seed by seed, against measured bits per weight: one panel per method, one
    line per network; on test with a band, on train in grey.
    """
    rows = of_sweep(metrics, dataset, "bits")
    quality = quality_of(rows)
    measured = {split: column.means[column.means.method != "fp32"] for split, column in _splits(rows)}
    if not measured:
        return panels.note(dataset, "not measured")
    means = pd.concat(measured.values())
    methods = list(dict.fromkeys(means.method))
    networks = dict.fromkeys(rows.network)
    looks = {name: _NETWORK_LINES[i % len(_NETWORK_LINES)] for i, name in enumerate(networks)}
    figure, grid = _small_panels(len(methods))
    for axes, method in zip(grid, methods, strict=False):
        axes.axhline(1 if quality.is_error else 0, zorder=1, **style.FULL_PRECISION)
        for split, (network, line) in _lines(measured, method):
            if split == "train":
                line = line.sort_values("bits")
                axes.plot(line.bits_per_weight, line.change, color="#999999", lw=0.9, ls=looks[network])
            else:
                look = style.look(line.iloc[0]) | {"linestyle": looks[network]}
                panels.line(axes, line.bits_per_weight, line, "change", **look)
        axes.set_title(fill(style.label(method), _TITLE))
        axes.tick_params(axis="x", labelbottom=True, labelsize="small")
    panels.measured_bits(grid[0], means)
    panels.fill_with_means(grid[0], quality, means.change)
    for place, axes in enumerate(grid):
        axes.set_xlabel(panels.MEASURED_BITS if place >= len(methods) - _CHANGE_COLUMNS else "", fontsize="small")
    figure.supylabel(f"{style.label(dataset)}: {quality.change_label}")
    entries = [Line2D([], [], color=panels.GREY, ls=look, label=style.label(name)) for name, look in looks.items()]
    entries += [Line2D([], [], color="#999999", lw=0.9, label="the same on train")] if "train" in measured else []
    panels.finish(figure, entries)
    return figure


def of_sweep(metrics: pd.DataFrame, dataset: str, sweep: str) -> pd.DataFrame:
    """The rows of a data set in a sweep over ``bits`` or ``sparsity_target``, and those of full precision; without rows
    with quantized activations, methods that fine-tune, and networks without such rows.
    """
    other = {"bits": "sparsity_target", "sparsity_target": "bits"}[sweep]
    rows = weights_alone(with_settings(metrics[metrics.dataset == dataset]))
    swept = rows[sweep].notna() & rows[other].isna() & (rows.method != "fp32") & ~retrained(rows)
    return with_full_precision(rows, swept)


def with_full_precision(rows: pd.DataFrame, chosen: pd.Series) -> pd.DataFrame:
    """The chosen rows and full precision of the same networks and splits, or all of full precision if there are
    none.
    """
    shown = rows[chosen] if chosen.any() else rows
    return rows[chosen | ((rows.method == "fp32") & rows.network.isin(shown.network) & rows.split.isin(shown.split))]


def _splits(rows: pd.DataFrame, quality: Quality | None = None) -> Iterator[tuple[str, Column]]:
    """The means on each measured split, train first."""
    quality = quality or quality_of(rows)
    means = over_seeds(rows, quality)
    for split in _SPLITS:
        if (means.split == split).any():
            yield split, Column(split, quality, means[means.split == split])


def _lines(measured: dict[str, pd.DataFrame], method: str) -> Iterator[tuple[str, tuple[str, pd.DataFrame]]]:
    for split, means in measured.items():
        for network, line in means[means.method == method].groupby("network", sort=False):
            yield split, (str(network), line)


def _small_panels(count: int) -> tuple[Figure, list[Axes]]:
    """Panels with shared axes; surplus panels of the last row are hidden."""
    columns = max(1, min(_CHANGE_COLUMNS, count))
    rows = max(1, -(-count // columns))
    size = style.inches(style.PAGE * max(columns, 2) / _CHANGE_COLUMNS, 1.3 * rows + 0.5)
    figure, grid = plt.subplots(
        rows, columns, figsize=size, sharex=True, sharey=True, squeeze=False, layout="constrained"
    )
    for axes in grid.flat[max(count, 1) :]:
        axes.set_visible(False)
    return figure, list(grid.flat)
