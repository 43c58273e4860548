"""A page of panels, one row per network, and their content: lines of means with bands of intervals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from textwrap import fill
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
_STEPS = (
    (50, (1,)),
    (15, (1, 3)),
    (4, (1, 2, 5)),
    (0, (1, 1.5, 2, 3, 4, 5, 7)),
)  # ticks within a decade, by the span of the axis
_ROW_HEIGHT = 1.75  # inches
_COLUMNS = 2
MEASURED_BITS = "bits per weight (file)"
_BIT_STEPS = ((1,), (1, 1.5), (1, 1.25, 1.5, 1.75))  # ticks within an octave
_LEAST_TICKS = 4
_BITS_ROOM = 1.08  # beyond the outermost points
_LABELS_APART = 0.1  # minimum distance of labels above an axis, relative to its length
_LABEL = 22  # characters of an axis label in a line; longer lines reach into the row below
_ENTRY = 0.19  # width of a legend entry in inches per pt of font size


@dataclass(frozen=True)
class Column:
    """A column of panels: its title, the measure on its axis, and its means."""

    title: str
    quality: Quality
    means: pd.DataFrame


def page(dataset: str, columns: Sequence[Column]) -> tuple[Figure, list[tuple[Axes, Column, pd.DataFrame]]]:
    """A page-wide figure with one row per network. Returns its panels with their column and means.

    Panels in a row with the same measure share its axis. A panel without means (a split that was not measured) is
    blank.
    """
    # Starts from the last column, test, because a network may lack train.
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
    """A figure with two columns of panels, one panel per network, each with the rows of its network. Sizes in
    inches.
    """
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
    """A panel that states why it is empty."""
    figure, axes = plt.subplots(figsize=style.inches(*style.PANEL), layout="constrained")
    axes.set_title(style.label(dataset))
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, ha="center", color="#777777", transform=axes.transAxes)
    return figure


def blank(axes: Axes, text: str) -> None:
    """Leave a panel of a page empty, with a reason."""
    axes.set_xticks([])
    axes.text(0.5, 0.5, text, ha="center", color="#777777", transform=axes.transAxes, fontsize="small")


def _share_measures(row: Sequence[Axes], network: str, columns: Sequence[Column]) -> None:
    """Share one axis among all panels of a row with the same measure, and label the first."""
    for quality in dict.fromkeys(column.quality for column in columns):
        means = pd.concat(
            column.means.quality[column.means.network == network] for column in columns if column.quality is quality
        )
        shown = [axes for axes, column in zip(row, columns, strict=True) if column.quality is quality]
        shown[0].set_ylabel(f"{style.label(network)}\n{fill(quality.axis_label, _LABEL)}")
        for axes in shown:
            fill_with_means(axes, quality, quality.scale * means, quality.possible)
            axes.tick_params(labelleft=axes is shown[0])


def fill_with_means(
    axes: Axes, quality: Quality, means: pd.Series, possible: tuple[float, float] | None = None
) -> None:
    """Set the axis range by the means, not the widest interval, ignoring infinite ones. Limit it to the ``possible``
    values.
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
    """Ticks at powers of ten if the axis spans several, else at plain numbers between them."""
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
    """A line through the means in order of nominal bits (of ``x`` if they have none), with a band of their
    intervals.
    """
    order = (means.bits if means.bits.notna().all() else x).argsort()
    x, means = x.iloc[order], means.iloc[order]
    axes.plot(x, scale * means[column], **{"markeredgecolor": "white", "markeredgewidth": 0.4, **look})
    low, high = scale * means[f"{column}_low"], scale * means[f"{column}_high"]
    axes.fill_between(x, low, high, color=look["color"], alpha=0.08, linewidth=0)


def full_precision(axes: Axes, quality: Quality, means: pd.DataFrame) -> None:
    """A horizontal line at the quality of full precision."""
    for value in means[means.method == "fp32"].quality:
        axes.axhline(quality.scale * value, zorder=1, **style.FULL_PRECISION)


def bit_places(axes: Axes, all_bits: Iterable[float]) -> dict[float, int]:
    """Evenly spaced x positions of bits, so that low bits, which matter most, are not crowded."""
    bits = sorted(set(all_bits))
    axes.set_xticks(range(len(bits)), [f"{bit:g}" for bit in bits], fontsize="small")
    axes.set_xlim(-0.4, len(bits) - 0.6)
    axes.set_xlabel("nominal bits")
    return {bit: place for place, bit in enumerate(bits)}


def measured_bits(axes: Axes, means: pd.DataFrame) -> None:
    """Make the x axis logarithmic in the bits per weight of the files of ``means``."""
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
    """Label the levels of methods with one code per weight above an axis of ``measured_bits``."""
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
    """One row per method except full precision, in the order of ``rows``."""
    return list(rows[rows.method != "fp32"].drop_duplicates("method").itertuples(index=False))


def handles(rows: pd.DataFrame, **changes: Any) -> list[Line2D]:
    """Legend entries of the methods of ``rows``."""
    return [Line2D([], [], label=style.label(row.method), **{**style.look(row), **changes}) for row in methods(rows)]


def full_precision_handle() -> Line2D:
    """The legend entry of full precision."""
    return Line2D([], [], label="full precision", **style.FULL_PRECISION)


def finish(figure: Figure, entries: Sequence[Artist]) -> None:
    """Put the legend below the panels of a figure with constrained layout."""
    columns = min(len(entries), max(2, int(figure.get_figwidth() / (_ENTRY * mpl.rcParams["font.size"]))))
    figure.legend(handles=list(entries), loc="outside lower center", ncols=columns)
