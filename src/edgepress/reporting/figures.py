"""The figures of the report, each a function from rows of metrics to a matplotlib figure."""

from __future__ import annotations

from collections.abc import Iterable

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter, PercentFormatter

from edgepress.reporting import style
from edgepress.reporting.results import Quality, interval, over_seeds, per_seed, quality_of
from edgepress.reporting.selection import pareto_front

_CHANGE_COLUMNS = 3


def precision(metrics: pd.DataFrame, dataset: str) -> Figure:
    """Quality on test against bits a weight: a panel a network, a line a method, bands the 95 % interval."""
    rows = _of_dataset(metrics, dataset, sweep="bits")
    figure = _quality_panels(rows, dataset, x="bits", x_label="bits a weight")
    ticks = sorted(rows[rows.method != "fp32"].bits.unique())
    for axes in figure.axes:
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    return figure


def pruning(metrics: pd.DataFrame, dataset: str) -> Figure:
    """Quality on test against the share of weights removed: a panel a network, a line a method."""
    rows = _of_dataset(metrics, dataset, sweep="sparsity_target")
    figure = _quality_panels(rows, dataset, x="sparsity_target", x_label="share of weights removed")
    for axes in figure.axes:
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    return figure


def change(metrics: pd.DataFrame, dataset: str) -> Figure:
    """Change in quality on test, seed by seed against full precision, against the bits saved: a panel a method."""
    rows = _of_dataset(metrics, dataset, sweep="bits")
    quality = quality_of(rows)
    seeds = per_seed(rows[rows.split == "test"])
    seeds["change"] = quality.change(seeds.quality, seeds.full_precision)
    seeds["saved"] = 32 - seeds.bits
    seeds = seeds[seeds.method != "fp32"]
    methods = list(dict.fromkeys(seeds.method))
    columns = min(_CHANGE_COLUMNS, len(methods))
    lines = -(-len(methods) // columns)
    width, height = style.PANEL
    figure, grid = plt.subplots(
        lines, columns, figsize=(0.8 * width * columns, 0.75 * height * lines), sharex=True, sharey=True, squeeze=False
    )
    networks = list(dict.fromkeys(seeds.network))
    looks = dict(zip(networks, ("-", "--", ":", "-."), strict=False))
    for axes, method in zip(grid.flat, methods, strict=False):
        for network in networks:
            panel = seeds[(seeds.method == method) & (seeds.network == network)]
            sns.lineplot(
                panel,
                x="saved",
                y="change",
                errorbar=interval,
                color=style.colour(method),
                linestyle=looks.get(network, "-"),
                marker=style.marker(panel.family.iloc[0]),
                ax=axes,
                err_kws={"alpha": 0.15, "linewidth": 0},
            )
        axes.axhline(0 if quality.higher_is_better else 1, color="black", linewidth=0.8, zorder=1)
        axes.set(title=style.label(method), xlabel="bits saved of 32", ylabel="")
        if not quality.higher_is_better:
            axes.set_yscale("log")
    for axes in grid.flat[len(methods) :]:
        axes.set_visible(False)
    grid[0][0].set_xticks(sorted(seeds.saved.unique()), [f"{tick:g}" for tick in sorted(seeds.saved.unique())])
    figure.supylabel(quality.change_label, fontsize=9)
    handles = [Line2D([], [], color="#444444", linestyle=looks.get(n, "-"), label=style.label(n)) for n in networks]
    _finish(figure, style.label(dataset), handles)
    return figure


def pareto(metrics: pd.DataFrame, dataset: str) -> Figure:
    """Quality on test against the bytes of the file: a point a method and level, and the front of all methods.

    The front is the one on val; what is drawn is its quality on test, so it may step down.
    """
    rows = metrics[metrics.dataset == dataset]
    quality = quality_of(rows)
    means = over_seeds(rows)
    figure, grid = _grid(means.network)
    for axes, (network, panel) in zip(grid, means.groupby("network", sort=False), strict=True):
        test = panel[panel.split == "test"]
        for method, points in test.groupby("method", sort=False):
            axes.scatter(
                points.bytes,
                quality.scale * points.quality,
                s=70 if method == "fp32" else 14,
                color=style.colour(method),
                marker=style.marker(points.family.iloc[0]),
                alpha=0.85,
                linewidths=0,
                zorder=3,
            )
        front = pareto_front(panel, quality)
        axes.plot(front.bytes, quality.scale * front.quality, color="black", linewidth=1, zorder=2)
        axes.set(title=style.label(network), xlabel="bytes of the file", xscale="log")
        _byte_ticks(axes)
        _quality_axis(axes, quality)
    methods = means.drop_duplicates("method")[["method", "family"]].itertuples(index=False)
    front_line = Line2D([], [], color="black", linewidth=1, label="Pareto front (val)")
    _finish(figure, style.label(dataset), [*_method_handles(methods, line=False), front_line])
    _share_quality_label(figure, grid, quality)
    return figure


def training_curves(histories: pd.DataFrame, dataset: str) -> Figure:
    """Loss on train and val against the epoch: a panel a network, a line a seed and split."""
    rows = histories[histories.dataset == dataset]
    figure, grid = _grid(rows.network)
    for axes, (network, panel) in zip(grid, rows.groupby("network", sort=False), strict=True):
        for split, line in (("train", "--"), ("val", "-")):
            for _, run in panel.groupby("seed"):
                axes.plot(run.epoch, run[f"{split}_loss"], line, color=style.colour("uniform"), alpha=0.7, linewidth=1)
        axes.set(title=style.label(network), xlabel="epoch", yscale="log")
    grid[0].set_ylabel("loss")
    handles = [
        Line2D([], [], color=style.colour("uniform"), linestyle=line, label=split)
        for split, line in (("train", "--"), ("val", "-"))
    ]
    _finish(figure, style.label(dataset), handles)
    return figure


def _of_dataset(metrics: pd.DataFrame, dataset: str, sweep: str) -> pd.DataFrame:
    """The rows of a data set that belong to a sweep, over bits or over sparsity, and those of full precision."""
    rows = metrics[metrics.dataset == dataset]
    other = {"bits": "sparsity_target", "sparsity_target": "bits"}[sweep]
    swept = rows[sweep].notna() & rows[other].isna() & (rows.method != "fp32")
    return rows[swept | (rows.method == "fp32")]


def _quality_panels(rows: pd.DataFrame, dataset: str, x: str, x_label: str) -> Figure:
    """A panel a network: quality on test against ``x``, a line a method over its interval, full precision dashed."""
    quality = quality_of(rows)
    seeds = per_seed(rows[rows.split == "test"])
    seeds["shown"] = quality.scale * seeds.quality
    figure, grid = _grid(seeds.network)
    for axes, (network, panel) in zip(grid, seeds.groupby("network", sort=False), strict=True):
        for method, line in panel[panel.method != "fp32"].groupby("method", sort=False):
            family = line.family.iloc[0]
            sns.lineplot(
                line,
                x=x,
                y="shown",
                errorbar=interval,
                color=style.colour(method),
                marker=style.marker(family),
                linestyle=(0, style.dashes(family)) if style.dashes(family) else "-",
                ax=axes,
                err_kws={"alpha": 0.1, "linewidth": 0},
            )
        full = panel[panel.method == "fp32"].shown
        axes.axhline(full.mean(), color="black", linewidth=1, linestyle=":", zorder=1)
        axes.set(title=style.label(network), xlabel=x_label, ylabel="")
        _quality_axis(axes, quality, panel.groupby(["method", "level"]).shown.mean())
    methods = seeds[seeds.method != "fp32"].drop_duplicates("method")[["method", "family"]].itertuples(index=False)
    full_line = Line2D([], [], color="black", linewidth=1, linestyle=":", label="full precision")
    _finish(figure, style.label(dataset), [*_method_handles(methods), full_line])
    _share_quality_label(figure, grid, quality)
    return figure


def _grid(networks: pd.Series) -> tuple[Figure, np.ndarray]:
    """A row of panels, one a network."""
    count = networks.nunique()
    width, height = style.PANEL
    figure, grid = plt.subplots(1, count, figsize=(width * count, height), squeeze=False)
    return figure, grid[0]


def _quality_axis(axes: Axes, quality: Quality, means: pd.Series | None = None) -> None:
    """Errors on a logarithmic axis; accuracies on a linear one that the means fill, not the widest interval."""
    if not quality.higher_is_better:
        axes.set_yscale("log")
    elif means is not None:
        room = 0.06 * (means.max() - means.min()) + 0.3
        axes.set_ylim(max(0, means.min() - room), min(100.5, means.max() + room))


def _share_quality_label(figure: Figure, grid: np.ndarray, quality: Quality) -> None:
    unit = f" ({quality.unit})" if quality.unit else ""
    grid[0].set_ylabel(f"{quality.label} on test{unit}")


def _byte_ticks(axes: Axes) -> None:
    def text(size: float, _: int) -> str:
        for unit, factor in (("MB", 1e6), ("kB", 1e3)):
            if size >= factor:
                return f"{size / factor:g} {unit}"
        return f"{size:g} B"

    axes.xaxis.set_major_formatter(FuncFormatter(text))
    low, high = axes.get_xlim()
    few = np.log10(high / low) < 1.2
    axes.xaxis.set_minor_formatter(FuncFormatter(text) if few else NullFormatter())
    if few:
        axes.xaxis.set_minor_locator(plt.LogLocator(subs=(2, 5)))


def _method_handles(methods: Iterable[tuple[str, str]], line: bool = True) -> list[Line2D]:
    handles = []
    for method, family in methods:
        dashes = style.dashes(family)
        look = (0, dashes) if dashes else "-"
        handles.append(
            Line2D(
                [],
                [],
                color=style.colour(method),
                marker=style.marker(family),
                linestyle=look if line else "none",
                label="full precision" if method == "fp32" else style.label(method),
            )
        )
    return handles


def _finish(figure: Figure, title: str, handles: list[Line2D]) -> None:
    """Title above, legend below, nothing clipped."""
    figure.suptitle(title, fontsize=10, fontweight="bold")
    figure.tight_layout()
    columns = min(len(handles), 5 if figure.get_figwidth() > 6 else 3)
    figure.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=columns)
