"""Quality against what a network takes of a microcontroller, and where its flash goes."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from edgepress.reporting import style
from edgepress.reporting.devices import COSTS, as_computed, builds, means
from edgepress.reporting.figures import fronts, panels, size
from edgepress.reporting.results import quality_of

_NOTHING = "no network ran on a microcontroller"
_BAR_HEIGHT = 0.2  # inches
_PARTS = {"text": ("code", "#999999"), "weights": ("weights", "#0072B2"), "tables": ("tables", "#E69F00")}
_PACKED: style.Look = {"color": "black", "marker": "|", "linestyle": "none"}


def on_microcontrollers(metrics: pd.DataFrame, devices: pd.DataFrame, dataset: str) -> Figure:
    """Quality of the C code on test against flash, RAM and instructions on a Cortex-M4F, with fronts as in
    ``size.pareto``: one row per network.
    """
    built = builds(devices[devices.dataset == dataset])
    computed = as_computed(metrics[metrics.dataset == dataset], built)
    if computed.empty:
        return panels.note(dataset, _NOTHING)
    return fronts.against_costs(means(computed, built, dataset), quality_of(computed), COSTS, dataset)


def flash(devices: pd.DataFrame, dataset: str) -> Figure:
    """Flash on a Cortex-M4F, stacked by code, weights and tables: one panel per network, one bar per method and level,
    with its sum and a mark at the size of the packed file.
    """
    built = builds(devices[devices.dataset == dataset])
    if built.empty:
        return panels.note(dataset, _NOTHING)
    bars = built.groupby("network").size().max()
    figure, shown = panels.grid(dataset, built, row_height=_BAR_HEIGHT * bars + 0.8, legend_height=0.5)
    for axes, panel in shown:
        _bars(axes, panel)
    entries = [Patch(color=colour, label=name) for name, colour in _PARTS.values()]
    panels.finish(figure, [*entries, Line2D([], [], label="packed file", markersize=9, markeredgewidth=1.5, **_PACKED)])
    return figure


def _bars(axes: Axes, panel: pd.DataFrame) -> None:
    places, left = range(len(panel)), 0 * panel.flash
    for part, (_, colour) in _PARTS.items():
        axes.barh(places, panel[part], left=left, color=colour, height=0.75, linewidth=0)
        left = left + panel[part]
    axes.plot(panel.packed_bytes, places, markersize=7, markeredgewidth=1.5, **_PACKED)
    ends = panel[["flash", "packed_bytes"]].max(axis=1)
    for place, end, whole in zip(places, ends, panel.flash, strict=True):
        axes.text(end + 0.02 * ends.max(), place, size.short(whole, size.BYTE_UNITS), va="center", fontsize="x-small")
    names = [f"{style.label(row.method)} {row.level}" for row in panel.itertuples()]
    axes.set_yticks(places, names, fontsize="x-small")
    axes.invert_yaxis()
    axes.set_xlim(0, 1.2 * ends.max())
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda number, _: size.short(number, size.BYTE_UNITS)))
    axes.set_xlabel("flash", fontsize="small")
    axes.tick_params(axis="x", labelsize="small")
    axes.grid(visible=False, axis="y")
