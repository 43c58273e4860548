"""Quality against real bytes."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullLocator

from edgepress.reporting import style
from edgepress.reporting.figures import panels
from edgepress.reporting.results import Quality, over_seeds, quality_of, retrained
from edgepress.reporting.selection import pareto_front

_MOST_BYTE_TICKS = 6
_CHAIN_MARKER = "P"


def pareto(metrics: pd.DataFrame, dataset: str) -> Figure:
    """Quality on test against the bytes of the file: a point a method and level, hollow where the network was trained
    again, and the front of each of the two divisions.

    A front is the one on val; what is drawn is its quality on test, so it may step down.
    """
    rows = metrics[metrics.dataset == dataset]
    quality = quality_of(rows)
    means = over_seeds(rows)
    figure, shown = panels.grid(dataset, means, row_height=0.9 * style.PANEL[1], legend_height=0.8)
    for axes, panel in shown:
        _points(axes, panel[panel.split == "test"], quality)
        _front(axes, panel[~retrained(panel)], quality, color="black", linewidth=1)
        if retrained(panel).any():
            _front(axes, panel, quality, color=panels.GREY, linewidth=1, linestyle="--")
        axes.set(xlabel="size of the file", xscale="log", ylabel=f"test {quality.axis_label}")
        if quality.is_error:
            axes.set_yscale("log")
        _byte_ticks(axes)
    panels.finish(figure, _entries(means))
    return figure


def _points(axes: Axes, points: pd.DataFrame, quality: Quality) -> None:
    for method, group in points.groupby("method", sort=False):
        look = _point(str(method), group.family.iloc[0])
        hollow = retrained(group).all()
        face: style.Look = {"facecolors": "none", "linewidths": 0.9} if hollow else {"alpha": 0.85, "linewidths": 0}
        axes.scatter(
            group.bytes,
            quality.scale * group.quality,
            s=60 if method == "fp32" else 14,
            zorder=3,
            marker=look["marker"],
            **({"edgecolors": look["color"]} if hollow else {"color": look["color"]}),
            **face,
        )


def _front(axes: Axes, panel: pd.DataFrame, quality: Quality, **look: Any) -> None:
    front = pareto_front(panel, quality)
    axes.plot(front.bytes, quality.scale * front.quality, zorder=2, **look)


def _point(method: str, family: str) -> style.Look:
    """The look of a point: chains of methods share a marker."""
    look = style.look(method)
    return {"color": look["color"], "marker": _CHAIN_MARKER if "_then_" in family else look["marker"]}


def _entries(means: pd.DataFrame) -> list[Line2D]:
    """Colours of codebooks and markers of roundings apart: together they would be as many as there are methods."""
    marks: dict[str, style.Look] = {}
    colours: dict[str, style.Look] = {}
    alone: dict[str, style.Look] = {}
    for method, family in means[["method", "family"]].drop_duplicates().itertuples(index=False, name=None):
        look = _point(method, family)
        if "_then_" in family:
            marks["a chain of methods"] = {"marker": _CHAIN_MARKER}
        elif style.rounding(method) in style.ROUNDINGS:
            marks[style.rounding(method)] = {"marker": look["marker"]}
        if style.codebook(method) != style.post_training(style.unchained(method)):
            colours[style.codebook(method)] = {"color": look["color"], "marker": "s", "markersize": 6}
        else:
            alone.setdefault(style.post_training(style.unchained(method)), look)
    again = retrained(means).any()
    marks |= {"trained again": {"marker": "o", "markerfacecolor": "none"}} if again else {}
    if "fp32" in alone:
        alone = {"full precision": alone.pop("fp32") | {"markersize": 7}, **alone}
    shown = {**alone, **colours, **{name: {"color": panels.GREY, **look} for name, look in marks.items()}}
    entries = [Line2D([], [], ls="none", label=style.label(name), **look) for name, look in shown.items()]
    entries.append(Line2D([], [], color="black", linewidth=1, label="front (chosen on val)"))
    if again:
        entries.append(Line2D([], [], color=panels.GREY, linewidth=1, ls="--", label="front with trained again"))
    return entries


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
    axes.xaxis.set_minor_locator(NullLocator())
