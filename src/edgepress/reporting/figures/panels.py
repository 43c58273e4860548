"""A page of panels, a row a network, and what is drawn in one: lines of means over bands of their intervals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from edgepress.reporting import style
from edgepress.reporting.results import Quality, one_code_a_weight

GREY = "#444444"
_STEPS = ((50, (1,)), (15, (1, 3)), (4, (1, 2, 5)), (0, (1, 1.5, 2, 3, 4, 5, 7)))  # ticks of a decade by its span
_ROW_HEIGHT = 1.75  # inches
_COLUMNS = 2
MEASURED_BITS = "bits per weight (file)"
_BIT_STEPS = ((1,), (1, 1.5), (1, 1.25, 1.5, 1.75))  # ticks from one power of 2 to the next
_LEAST_TICKS = 4
_BITS_ROOM = 1.08  # beyond the outermost points
_LABELS_APART = 0.1  # of the axis, from a label over it to the next
_ENTRY = 0.19  # inches that an entry of the legend takes for each point of the text


@dataclass(frozen=True)
class Column:
    """A column of panels: its title, the measure on its axis, and the means that belong in it."""

    title: str
    quality: Quality
    means: pd.DataFrame


def page(dataset: str, columns: Sequence[Column]) -> tuple[Figure, list[tuple[Axes, Column, pd.DataFrame]]]:
    """A figure as wide as a page, a row a network, and its panels, each with its column and the means it shows.

    Panels of a row that show the same measure share its axis. A panel without means, of a split that was not measured
    say, is left blank.
    """
    # From the last column on, that of test: a network may lack train.
    networks = list(dict.fromkeys(network for column in columns[::-1] for network in column.means.network))
    if not networks:
        return note(dataset, "not measured"), []
    size = style.PAGE if len(columns) > 1 else style.PANEL[0]
    figure, grid = plt.subplots(
        len(networks),
        len(columns),
        figsize=style.inches(size, _ROW_HEIGHT * len(networks) + 0.7),
        squeeze=False,
        layout="constrained",
    )
    panels = []
    for row, network in enumerate(networks):
        for place, column in enumerate(columns):
            axes = grid[row][place]
            means = column.means[column.means.network == network]
            if means.empty:
                blank(axes, "not measured")
            else:
                panels.append((axes, column, means))
            if row == 0:
                axes.set_title(column.title)
        _share_measures(grid[row], network, columns)
    figure.suptitle(style.label(dataset), fontweight="bold")
    return figure, panels


def grid(
    dataset: str, rows: pd.DataFrame, row_height: float, legend_height: float
) -> tuple[Figure, list[tuple[Axes, pd.DataFrame]]]:
    """A figure of two columns of panels, one a network, and each panel with the rows of its network; inches."""
    networks = list(rows.groupby("network", sort=False))
    columns = min(_COLUMNS, len(networks))
    lines = -(-len(networks) // columns)
    size = style.inches(style.PAGE / _COLUMNS * columns, row_height * lines + legend_height)
    figure, places = plt.subplots(lines, columns, figsize=size, squeeze=False, layout="constrained")
    for axes in places.flat[len(networks) :]:
        axes.set_visible(False)
    panels = []
    for axes, (network, panel) in zip(places.flat, networks, strict=False):
        axes.set_title(f"{style.label(dataset)}, {style.label(network)}")
        panels.append((axes, panel))
    return figure, panels


def note(dataset: str, text: str) -> Figure:
    """A panel that says why it shows nothing."""
    figure, axes = plt.subplots(figsize=style.inches(*style.PANEL), layout="constrained")
    axes.set_title(style.label(dataset))
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, ha="center", color="#777777", transform=axes.transAxes)
    return figure


def blank(axes: Axes, text: str) -> None:
    """Leave a panel of a page without points, and say why."""
    axes.set_xticks([])
    axes.text(0.5, 0.5, text, ha="center", color="#777777", transform=axes.transAxes, fontsize="small")


def _share_measures(row: Sequence[Axes], network: str, columns: Sequence[Column]) -> None:
    """One scale for all panels of a row that show the same measure, told at the first of them."""
    for quality in dict.fromkeys(column.quality for column in columns):
        means = pd.concat(
            column.means.quality[column.means.network == network] for column in columns if column.quality is quality
        )
        shown = [axes for axes, column in zip(row, columns, strict=True) if column.quality is quality]
        shown[0].set_ylabel(f"{style.label(network)}\n{quality.axis_label}")
        for axes in shown:
            fill_with_means(axes, quality, quality.scale * means, quality.possible)
            axes.tick_params(labelleft=axes is shown[0])


def fill_with_means(
    axes: Axes, quality: Quality, means: pd.Series, possible: tuple[float, float] | None = None
) -> None:
    """Let the means, not the widest interval, decide what an axis shows; those of a network that broke do not. Where
    there is no value but between two ``possible`` ones, it ends there.
    """
    means = means[np.isfinite(means) & ((means > 0) | (not quality.is_error))]
    if means.empty:
        return
    if quality.is_error:
        axes.set_yscale("log")
        axes.set_ylim(means.min() / 1.4, means.max() * 1.4)
        _log_ticks(axes)
    else:
        room = 0.06 * (means.max() - means.min()) + 0.3
        low, high = possible or (-np.inf, np.inf)
        edge = 0.02 * (means.max() - means.min() + 2 * room)  # half a marker
        axes.set_ylim(max(means.min() - room, low - edge), min(means.max() + room, high + edge))
        axes.yaxis.set_major_locator(MaxNLocator(5))


def _log_ticks(axes: Axes) -> None:
    """Powers of ten where there are several, plain numbers between them where there is hardly one."""
    low, high = axes.get_ylim()
    axes.yaxis.set_minor_locator(NullLocator())
    if high / low > 100:
        axes.yaxis.set_major_locator(LogLocator(numticks=6))
        return
    steps = next(steps for span, steps in _STEPS if high / low > span)
    axes.yaxis.set_major_locator(LogLocator(subs=steps, numticks=9))
    if low >= 1e-3 and high < 1e6:
        axes.yaxis.set_major_formatter("{x:,g}")


def line(axes: Axes, x: pd.Series, means: pd.DataFrame, column: str, scale: float = 1.0, **look: Any) -> None:
    """Means joined by a line in the order of their nominal bits, or of ``x`` where they have none, over the band of
    their intervals.
    """
    order = (means.bits if means.bits.notna().all() else x).argsort()
    x, means = x.iloc[order], means.iloc[order]
    axes.plot(x, scale * means[column], **{"markeredgecolor": "white", "markeredgewidth": 0.4, **look})
    low, high = scale * means[f"{column}_low"], scale * means[f"{column}_high"]
    axes.fill_between(x, low, high, color=look["color"], alpha=0.08, linewidth=0)


def full_precision(axes: Axes, quality: Quality, means: pd.DataFrame) -> None:
    """The quality at full precision, across the panel."""
    for value in means[means.method == "fp32"].quality:
        axes.axhline(quality.scale * value, zorder=1, **style.FULL_PRECISION)


def bit_places(axes: Axes, all_bits: Iterable[float]) -> dict[float, int]:
    """Bits as evenly spaced places on the x axis, so that the last bits, which matter, are not crowded."""
    bits = sorted(set(all_bits))
    axes.set_xticks(range(len(bits)), [f"{bit:g}" for bit in bits], fontsize="small")
    axes.set_xlim(-0.4, len(bits) - 0.6)
    axes.set_xlabel("nominal bits")
    return {bit: place for place, bit in enumerate(bits)}


def measured_bits(axes: Axes, means: pd.DataFrame) -> None:
    """Let the x axis be logarithmic in the bits per weight that the files of ``means`` take."""
    axes.set_xlabel(MEASURED_BITS, fontsize="small")
    if means.empty:
        return
    low, high = means.bits_per_weight.min(), means.bits_per_weight.max()
    axes.set_xscale("log", base=2)
    axes.set_xlim(low / _BITS_ROOM, high * _BITS_ROOM)
    powers = 2.0 ** np.arange(-2, 8)
    for steps in _BIT_STEPS:
        places = [place for place in np.outer(powers, steps).ravel() if low / _BITS_ROOM <= place <= high * _BITS_ROOM]
        if len(places) >= _LEAST_TICKS:
            break
    axes.set_xticks(places, [f"{place:g}" for place in places], fontsize="small")
    axes.xaxis.set_minor_locator(NullLocator())


def nominal_bits_above(axes: Axes, means: pd.DataFrame) -> None:
    """Name, over an axis of ``measured_bits``, the levels at which methods with one code a weight are there."""
    places = means[one_code_a_weight(means)].groupby("bits").bits_per_weight.median()
    kept: dict[float, float] = {}
    low, high = axes.get_xlim()
    for bits, place in places.items():
        if not kept or np.log(place / max(kept.values())) >= _LABELS_APART * np.log(high / low):
            kept[float(str(bits))] = place
    top = axes.secondary_xaxis("top")
    top.set_xticks(list(kept.values()), [f"w{bits:g}" for bits in kept], fontsize="x-small", color="#777777")
    top.xaxis.set_minor_locator(NullLocator())
    top.tick_params(length=2, pad=1, color="#777777")
    top.spines[:].set_visible(False)


def methods(rows: pd.DataFrame) -> list[Any]:
    """A row of each method but full precision, in the order of ``rows``."""
    return list(rows[rows.method != "fp32"].drop_duplicates("method").itertuples(index=False))


def handles(rows: pd.DataFrame, **changes: Any) -> list[Line2D]:
    """What the legend shows of the methods of ``rows``."""
    return [Line2D([], [], label=style.label(row.method), **{**style.look(row), **changes}) for row in methods(rows)]


def full_precision_handle() -> Line2D:
    """What the legend shows of full precision."""
    return Line2D([], [], label="full precision", **style.FULL_PRECISION)


def finish(figure: Figure, entries: Sequence[Artist]) -> None:
    """Put the legend under the panels of a figure of constrained layout, where it hides nothing and is not clipped."""
    columns = min(len(entries), max(2, int(figure.get_figwidth() / (_ENTRY * mpl.rcParams["font.size"]))))
    figure.legend(handles=list(entries), loc="outside lower center", ncols=columns)
