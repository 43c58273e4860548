"""The figures of the report, each a function from rows of metrics to a matplotlib figure.

Statistics come from ``results.over_seeds``, the same as in the tables; a figure only draws them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, PercentFormatter

from edgepress.reporting import style
from edgepress.reporting.results import Quality, over_seeds, quality_of
from edgepress.reporting.selection import pareto_front

_CHANGE_COLUMNS = 3
_MOST_BYTE_TICKS = 6
_NETWORK_LINES = ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (4, 1, 1, 1)), (0, (6, 1, 1, 1, 1, 1)))


def precision(metrics: pd.DataFrame, dataset: str) -> Figure:
    """Quality on test against bits a weight: a panel a network, a line a method, bands the 95 % interval."""
    rows = _of_sweep(metrics, dataset, "bits")
    ticks = sorted(rows[rows.method != "fp32"].bits.unique())

    def finish(axes: Axes) -> None:
        axes.set_xscale("log", base=2)  # the bits that matter lie close together
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.xaxis.set_minor_locator(plt.NullLocator())
        axes.set_xlabel("bits a weight")

    return _quality_panels(rows, dataset, "bits", finish)


def pruning(metrics: pd.DataFrame, dataset: str) -> Figure:
    """Quality on test against the share of weights removed: a panel a network, a line a method."""

    def finish(axes: Axes) -> None:
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set_xlabel("share of weights removed")

    return _quality_panels(_of_sweep(metrics, dataset, "sparsity_target"), dataset, "sparsity_target", finish)


def change(metrics: pd.DataFrame, dataset: str) -> Figure:
    """Change in quality on test, seed by seed against full precision, against the bits saved: a panel a method."""
    rows = _of_sweep(metrics, dataset, "bits")
    quality = quality_of(rows)
    means = over_seeds(rows[rows.split == "test"])
    means = means[means.method != "fp32"]
    methods = list(dict.fromkeys(means.method))
    looks = {name: _NETWORK_LINES[i % len(_NETWORK_LINES)] for i, name in enumerate(dict.fromkeys(means.network))}
    levels = sorted(means.bits.unique(), reverse=True)
    columns = min(_CHANGE_COLUMNS, len(methods))
    width, height = style.PANEL
    figure, grid = plt.subplots(
        -(-len(methods) // columns),
        columns,
        figsize=(0.75 * width * columns, 0.75 * height * -(-len(methods) // columns)),
        sharex=True,
        sharey=True,
        squeeze=False,
    )
    for axes in grid.flat[len(methods) :]:
        axes.set_visible(False)
    for axes, method in zip(grid.flat, methods, strict=False):
        for network, line in means[means.method == method].groupby("network", sort=False):
            places = line.bits.map(levels.index)  # evenly spaced, so that the last bits are not crowded
            look = {"color": style.colour(method), "marker": style.marker(line.family.iloc[0])}
            _line(axes, places, line, "change", 1.0, linestyle=looks[network], **look)
        axes.axhline(1 if quality.is_error else 0, color="black", linewidth=0.8, zorder=1)
        axes.set_title(style.label(method))
        axes.tick_params(labelbottom=True)
        axes.set_xlabel("bits saved of 32")
    grid[0][0].set_xticks(range(len(levels)), [f"{32 - bits:g}" for bits in levels])
    _fill_with_means(grid[0][0], quality, means.change)
    figure.supylabel(f"{style.label(dataset)}: {quality.change_label}", fontsize=9)
    handles = [Line2D([], [], color="#444444", linestyle=look, label=style.label(name)) for name, look in looks.items()]
    _legend_below(figure, handles)
    return figure


def pareto(metrics: pd.DataFrame, dataset: str) -> Figure:
    """Quality on test against the bytes of the file: a point a method and level, and the front of all methods.

    The front is the one on val; what is drawn is its quality on test, so it may step down.
    """
    rows = metrics[metrics.dataset == dataset]
    quality = quality_of(rows)
    means = over_seeds(rows)
    figure, panels = _panels(means, dataset, quality)
    for axes, panel in panels:
        for method, points in panel[panel.split == "test"].groupby("method", sort=False):
            look = {"color": style.colour(method), "marker": style.marker(points.family.iloc[0])}
            size = 60 if method == "fp32" else 14
            axes.scatter(
                points.bytes,
                quality.scale * points.quality,
                s=size,
                alpha=0.85,
                linewidths=0,
                zorder=3,
                **look,
            )
        front = pareto_front(panel, quality)
        axes.plot(front.bytes, quality.scale * front.quality, color="black", linewidth=1, zorder=2)
        axes.set(xlabel="size of the file", xscale="log")
        _byte_ticks(axes)
    front_line = Line2D([], [], color="black", linewidth=1, label="Pareto front (chosen on val)")
    _legend_below(figure, [*_method_handles(means, lines=False), front_line])
    return figure


def training_curves(histories: pd.DataFrame, dataset: str) -> Figure:
    """Loss on train and val against the epoch: a panel a network, a line a seed and split."""
    rows = histories[histories.dataset == dataset]
    looks = {"train": {"linestyle": "--", "color": "#E69F00"}, "val": {"color": "#0072B2"}}
    figure, panels = _panels(rows, dataset, None)
    for axes, panel in panels:
        for split, look in looks.items():
            for _, run in panel.groupby("seed"):
                axes.plot(run.epoch, run[f"{split}_loss"], alpha=0.8, linewidth=1, **look)
        axes.set(xlabel="epoch", yscale="log")
    figure.axes[0].set_ylabel("loss")
    _legend_below(figure, [Line2D([], [], label=split, **look) for split, look in looks.items()])
    return figure


def _of_sweep(metrics: pd.DataFrame, dataset: str, sweep: str) -> pd.DataFrame:
    """The rows of a data set that belong to a sweep, over bits or over sparsity, and those of full precision."""
    other = {"bits": "sparsity_target", "sparsity_target": "bits"}[sweep]
    rows = metrics[metrics.dataset == dataset]
    return rows[(rows.method == "fp32") | (rows[sweep].notna() & rows[other].isna())]


def _quality_panels(rows: pd.DataFrame, dataset: str, x: str, finish: Callable[[Axes], None]) -> Figure:
    """A panel a network: quality on test against ``x``, a line a method with its band, full precision dotted."""
    quality = quality_of(rows)
    means = over_seeds(rows[rows.split == "test"])
    compressed = means[means.method != "fp32"]
    figure, panels = _panels(means, dataset, quality)
    for axes, panel in panels:
        for method, line in panel[panel.method != "fp32"].groupby("method", sort=False):
            family = line.family.iloc[0]
            look = {
                "color": style.colour(method),
                "marker": style.marker(family),
                "linestyle": style.line(family),
            }
            _line(axes, line[x], line, "quality", quality.scale, **look)
        full = panel[panel.method == "fp32"].quality
        axes.axhline(quality.scale * full.iloc[0], color="black", linewidth=1, linestyle=":", zorder=1)
        _fill_with_means(axes, quality, quality.scale * panel.quality)
        finish(axes)
    full_line = Line2D([], [], color="black", linewidth=1, linestyle=":", label="full precision")
    _legend_below(figure, [*_method_handles(compressed), full_line])
    return figure


def _panels(
    rows: pd.DataFrame, dataset: str, quality: Quality | None
) -> tuple[Figure, list[tuple[Axes, pd.DataFrame]]]:
    """A row of panels, one a network, each with the rows that belong in it."""
    groups = list(rows.groupby("network", sort=False))
    width, height = style.PANEL
    figure, grid = plt.subplots(1, len(groups), figsize=(width * len(groups), height), squeeze=False)
    for axes, (network, _) in zip(grid[0], groups, strict=True):
        axes.set_title(f"{style.label(dataset)}, {style.label(network)}")
        if quality is not None and quality.is_error:
            axes.set_yscale("log")
    if quality is not None:
        grid[0][0].set_ylabel(f"test {quality.axis_label}")
    return figure, [(axes, panel) for axes, (_, panel) in zip(grid[0], groups, strict=True)]


def _line(axes: Axes, x: pd.Series, line: pd.DataFrame, column: str, scale: float, **look: object) -> None:
    """Means joined by a line, over the band of their intervals."""
    order = x.argsort()
    x, line = x.iloc[order], line.iloc[order]
    axes.plot(x, scale * line[column], markeredgecolor="white", markeredgewidth=0.4, **look)
    low, high = scale * line[f"{column}_low"], scale * line[f"{column}_high"]
    axes.fill_between(x, low, high, color=look["color"], alpha=0.07, linewidth=0)


def _fill_with_means(axes: Axes, quality: Quality, means: pd.Series) -> None:
    """Let the means, not the widest interval, decide what an axis shows."""
    if quality.is_error:
        axes.set_yscale("log")
        axes.set_ylim(means.min() / 2, means.max() * 2)
    else:
        room = 0.06 * (means.max() - means.min()) + 0.3
        axes.set_ylim(means.min() - room, means.max() + room)


def _byte_ticks(axes: Axes) -> None:
    def text(size: float, _: int) -> str:
        for unit, factor in (("MB", 1e6), ("kB", 1e3)):
            if size >= factor:
                return f"{size / factor:g} {unit}"
        return f"{size:g} B"

    low, high = axes.get_xlim()
    for steps in ((1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1,)):
        ticks = [step * 10**decade for decade in range(12) for step in steps if low <= step * 10**decade <= high]
        if len(ticks) <= _MOST_BYTE_TICKS:
            break
    axes.set_xticks(ticks)
    axes.xaxis.set_major_formatter(FuncFormatter(text))
    axes.xaxis.set_minor_locator(plt.NullLocator())


def _method_handles(means: pd.DataFrame, lines: bool = True) -> Iterable[Line2D]:
    for method, family in means[["method", "family"]].drop_duplicates().itertuples(index=False):
        yield Line2D(
            [],
            [],
            color=style.colour(method),
            marker=style.marker(family),
            markersize=7 if method == "fp32" else None,
            linestyle=style.line(family) if lines else "none",
            label="full precision" if method == "fp32" else style.label(method),
        )


def _legend_below(figure: Figure, handles: Iterable[Line2D]) -> None:
    """Lay the panels out and put the legend under them, where it hides nothing and is not clipped."""
    handles = list(handles)
    figure.tight_layout()
    columns = min(len(handles), max(2, round(figure.get_figwidth() / 1.5)))
    figure.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=columns)
