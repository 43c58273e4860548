"""Quality against a cost, mainly the bytes of the file."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullLocator

from edgepress import registry
from edgepress.reporting import style
from edgepress.reporting.costs import BYTES, Cost
from edgepress.reporting.figures import panels
from edgepress.reporting.results import Quality, over_seeds, quality_of, retrained
from edgepress.reporting.selection import pareto_front

_OTHERS: style.Look = {"color": "#C4C4C4", "marker": "o"}
_FAR_POINTS, _FAR_RATIO = 10, 3  # percentage points below full precision; factor of its error
_MOST_TICKS = 6
_LEAST_SPAN = 3  # minimum ratio of the ends of an axis
BYTE_UNITS = (("MB", 1e6), ("kB", 1e3), ("B", 1))
_UNITS = (("G", 1e9), ("M", 1e6), ("k", 1e3), ("", 1))


def pareto(metrics: pd.DataFrame, dataset: str) -> Figure:
    """Quality on test against the bytes of the file: one point per method and level, hollow if fine-tuned, and the
    front of each division.

    A front is chosen on val, from the smallest file that works, and drawn at its quality on test, so it may step down.
    Networks far from full precision are beyond the axis. With many methods, those on no front are grey.
    """
    rows = metrics[metrics.dataset == dataset]
    quality = quality_of(rows)
    means = over_seeds(rows)
    named = standing_out(means, quality, [BYTES])
    figure, shown = panels.grid(dataset, means, row_height=0.9 * style.PANEL[1], legend_height=0.8)
    for axes, means_of_network in shown:
        panel(axes, means_of_network, quality, BYTES, named)
        end_where_networks_broke(axes, means_of_network, quality)
        axes.set(xlabel=BYTES.label, ylabel=f"test {quality.axis_label}")
        ticks(axes, BYTES, _MOST_TICKS)
    panels.finish(figure, entries(means, named))
    return figure


def standing_out(means: pd.DataFrame, quality: Quality, costs: Sequence[Cost]) -> set[str]:
    """The methods that a figure labels: all, or only those on a front if there are many."""
    names = set(means.method)
    if len(names) <= style.MANY:
        return names
    names = {"fp32"}
    for _, of_network in means.groupby("network"):
        for division in (of_network, of_network[~retrained(of_network)]):
            for cost in costs:
                front = pareto_front(division, quality, cost.column)
                names |= set(front.method[_near(front.quality, of_network, quality)])
    return names


def end_where_networks_broke(axes: Axes, means: pd.DataFrame, quality: Quality) -> None:
    """Limit the y axis to networks near full precision."""
    test = means[means.split == "test"]
    near = quality.scale * test.quality[_near(test.quality, test, quality)]
    panels.fill_with_means(axes, quality, near, quality.possible)


def _near(values: pd.Series, means: pd.DataFrame, quality: Quality) -> pd.Series:
    """Whether each quality is near that of the network in ``means`` in full precision on test; True if that is
    unknown.
    """
    whole = float(means.quality[(means.method == "fp32") & (means.split == "test")].mean())
    if np.isnan(whole):
        return pd.Series(True, values.index)
    if quality.is_error:
        return values <= _FAR_RATIO * whole
    return quality.scale * values >= quality.scale * whole - _FAR_POINTS


def panel(axes: Axes, means: pd.DataFrame, quality: Quality, cost: Cost, named: Set[str]) -> None:
    """The points of one network, grey unless their method is ``named``, and the fronts of both divisions."""
    _points(axes, means[means.split == "test"], quality, cost, named)
    _front(axes, means[~retrained(means)], quality, cost, color="black", linewidth=1)
    if retrained(means).any():
        _front(axes, means, quality, cost, color=panels.GREY, linewidth=1, linestyle="--")
    axes.set_xscale("log")
    if quality.is_error:
        axes.set_yscale("log")


def _points(axes: Axes, points: pd.DataFrame, quality: Quality, cost: Cost, named: Set[str]) -> None:
    for method, group in points.groupby("method", sort=False):
        look = _point(group.iloc[0]) if method in named else _OTHERS
        hollow = retrained(group).all()
        face: style.Look = {"facecolors": "none", "linewidths": 0.9} if hollow else {"alpha": 0.85, "linewidths": 0}
        axes.scatter(
            group[cost.column],
            quality.scale * group.quality,
            s=60 if method == "fp32" else 14,
            zorder=4 if method == "fp32" else 3 if method in named else 1,
            marker=look["marker"],
            **({"edgecolors": look["color"]} if hollow else {"color": look["color"]}),
            **face,
        )


def _front(axes: Axes, means: pd.DataFrame, quality: Quality, cost: Cost, **look: Any) -> None:
    front = pareto_front(means, quality, cost.column)
    alone: style.Look = {"marker": "o", "markersize": 8, "markerfacecolor": "none"} if len(front) == 1 else {}
    axes.plot(front[cost.column], quality.scale * front.quality, zorder=2, **look, **alone)


def _point(method: pd.Series) -> style.Look:
    return {"color": style.colour(style.hue(method)), "marker": style.marker(method)}


def entries(means: pd.DataFrame, named: Set[str]) -> list[Line2D]:
    """Legend entries of these rows; methods that are not ``named`` are grey.

    Colours of codebooks and markers of roundings are separate entries, since there are as many combinations as methods.
    """
    marks: dict[str, style.Look] = {}
    colours: dict[str, style.Look] = {}
    alone: dict[str, style.Look] = {}
    for method in means[means.method.isin(named)].drop_duplicates("method").itertuples(index=False):
        look = style.look(method)
        if style.is_chain(method):
            marks["a chain of methods"] = {"marker": style.CHAIN_MARKER}
        elif method.family == registry.PEER:
            marks["another library"] = {"marker": style.PEER_MARKER}
        elif style.per_channel(method):
            marks["per-channel"] = {"marker": style.CHANNEL_MARKER}
        elif not style.stands_alone(method):
            marks[f"{method.rounding}"] = {"marker": look["marker"]}
        if style.stands_alone(method):
            alone.setdefault(style.hue(method), {"color": look["color"], "marker": look["marker"]})
        else:
            colours[style.hue(method)] = {"color": look["color"], "marker": "s", "markersize": 6}
    again = retrained(means).any()
    marks |= {"fine-tuned": {"marker": "o", "markerfacecolor": "none"}} if again else {}
    if "fp32" in alone:
        alone = {"full precision": alone.pop("fp32") | {"markersize": 7}, **alone}
    shown = {**alone, **colours, **{name: {"color": panels.GREY, **look} for name, look in marks.items()}}
    entries = [Line2D([], [], ls="none", label=style.label(name), **look) for name, look in shown.items()]
    if not named >= set(means.method):
        entries.append(Line2D([], [], ls="none", label="methods on no front", **_OTHERS))
    entries.append(Line2D([], [], color="black", linewidth=1, label="front (chosen on val)"))
    if again:
        entries.append(Line2D([], [], color=panels.GREY, linewidth=1, ls="--", label="front with fine-tuned"))
    return entries


def short(number: float, units: Sequence[tuple[str, float]] = _UNITS) -> str:
    """A number in the largest unit that it reaches."""
    unit, factor = next((pair for pair in units if number >= pair[1]), units[-1])
    return f"{number / factor:.3g} {unit}".rstrip()


def ticks(axes: Axes, cost: Cost, most: int) -> None:
    """At most ``most`` ticks at round numbers on the logarithmic axis of a cost, far enough apart for their labels."""
    low, high = axes.get_xlim()
    if high / low < _LEAST_SPAN:
        wider = (_LEAST_SPAN * low / high) ** 0.5
        low, high = low / wider, high * wider
        axes.set_xlim(low, high)
    for marks in ((1, 1.5, 2, 3, 4, 5, 7), (1, 2, 5), (1, 3), (1,)):
        places = [mark * 10.0**decade for decade in range(-6, 16) for mark in marks if low <= mark * 10**decade <= high]
        if len(places) <= most:
            break
    units = BYTE_UNITS if cost.in_bytes else _UNITS
    kept: list[float] = []
    for place in places[:: -(-len(places) // most)]:
        if not kept or np.log(place / kept[-1]) >= np.log(high / low) / most:
            kept.append(place)
    axes.set_xticks(kept)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda number, _: short(number, units)))
    axes.xaxis.set_minor_locator(NullLocator())
