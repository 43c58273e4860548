"""The evidence for a claim: all cases with their intervals."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import NullLocator

from edgepress.reporting import style
from edgepress.reporting.evidence import FAILS, HOLDS, OPEN
from edgepress.reporting.figures.panels import finish
from edgepress.reporting.findings import Finding
from edgepress.reporting.numbers import signed
from edgepress.reporting.results import MSE

_COLOURS = {HOLDS: "#0072B2", FAILS: "#D55E00", OPEN: "#8A8A8A"}
_FILLS = {HOLDS: "#A8CFE8", FAILS: "#F3B98F", OPEN: "#EDEDED"}
_ROW = 0.24  # inches
_RATIOS = (0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10, 20)


def evidence(finding: Finding) -> Figure:
    """The cases of a finding: a heat map if they are networks at precisions, else a forest plot of intervals."""
    if finding.evidence.empty:
        return _nothing(finding)
    return _cases(finding) if "bits" in finding.evidence else _forest(finding)


def _forest(finding: Finding) -> Figure:
    """One row per case with its difference and interval, one panel per measure. Right is better for the first
    method.
    """
    groups = list(finding.evidence.groupby("measure", sort=False))
    heights = [len(rows) for _, rows in groups]
    figure, grid = plt.subplots(
        len(groups),
        1,
        figsize=style.inches(style.PAGE, _ROW * sum(heights) + 0.65 * len(groups)),
        height_ratios=heights,
        squeeze=False,
        layout="constrained",
    )
    for axes, (measure, rows) in zip(grid.flat, groups, strict=True):
        is_ratio = measure == MSE.axis_label
        places = range(len(rows))[::-1]
        colours = rows.verdict.map(_COLOURS)
        axes.hlines(places, rows.difference_low, rows.difference_high, colors=colours, linewidth=1.4)
        axes.scatter(rows.difference, places, color=colours, s=16, zorder=3)
        axes.axvline(1 if is_ratio else 0, zorder=1, **style.FULL_PRECISION)
        axes.set_yticks(places, [_case(row) for row in rows.itertuples()], fontsize="small")
        axes.set_ylim(-0.6, len(rows) - 0.4)
        _scale(axes, rows, is_ratio)
    words = _words(finding)
    entries = [Line2D([], [], color=colour, marker="o", label=words[name]) for name, colour in _COLOURS.items()]
    finish(figure, entries)
    return figure


def _cases(finding: Finding) -> Figure:
    """One row per network, one column per precision; the number is the difference, the colour its verdict."""
    evidence = finding.evidence
    names = [f"{_network(row)}{_of_method(row)}" for row in evidence.itertuples()]
    rows, bits = list(dict.fromkeys(names)), sorted(evidence.bits.unique(), reverse=True)
    figure, axes = plt.subplots(figsize=style.inches(style.PAGE, _ROW * 1.5 * len(rows) + 0.5), layout="constrained")
    case: Any
    for name, case in zip(names, evidence.itertuples(), strict=True):
        x, y = bits.index(case.bits), rows.index(name)
        axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=_FILLS[case.verdict], edgecolor="white", lw=2))
        axes.text(x, y, _cell(case), ha="center", va="center", fontsize="x-small", linespacing=1.25)
    axes.set(xlim=(-0.5, len(bits) - 0.5), ylim=(len(rows) - 0.5, -0.5), xlabel="bits per weight")
    axes.set_xticks(range(len(bits)), [f"{bit:g}" for bit in bits])
    axes.set_yticks(range(len(rows)), rows, fontsize="small")
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    words = _words(finding)
    finish(figure, [Patch(color=fill, label=words[verdict]) for verdict, fill in _FILLS.items()])
    return figure


def _words(finding: Finding) -> dict[str, str]:
    """The legend text of each verdict."""
    return dict(zip((HOLDS, FAILS, OPEN), (*finding.words, OPEN), strict=True))


def _case(row: Any) -> str:
    return f"{_network(row)}: {style.label(row.method)} against {style.label(row.against)}"


def _network(row: Any) -> str:
    return f"{style.label(row.dataset)} {style.label(row.network)}"


def _of_method(row: Any) -> str:
    return f", {style.label(row.method)}" if hasattr(row, "method") else ""


def _cell(case: Any) -> str:
    """The difference above its interval: percentage points, or the ratio of errors."""
    ends = case.difference, case.difference_low, case.difference_high
    if case.measure == MSE.axis_label:
        mean, low, high = (_short(value) for value in ends)
        return f"× {mean}" + ("" if pd.isna(ends[1]) else f"\n{low} … {high}")
    mean, low, high = (signed(value, 1) for value in ends)
    return mean + ("" if pd.isna(ends[1]) else f"\n{low} … {high}")


def _short(ratio: float) -> str:
    """At most three digits, thousands as k, to save space."""
    if ratio < 1000:
        return f"{ratio:.3g}"
    return f"{ratio / 1000:.1f}k" if ratio < 1e4 else f"{ratio / 1000:,.0f}k"


def _scale(axes: Axes, rows: pd.DataFrame, is_ratio: bool) -> None:
    """Set the axis range by the means, not the widest interval; errors grow to the left."""
    values = np.log(rows.difference) if is_ratio else rows.difference
    room = 0.35 * max(values.max(), 0) - 0.35 * min(values.min(), 0) + (0.02 if is_ratio else 0.1)
    low, high = min(values.min(), 0) - room, max(values.max(), 0) + room
    axes.grid(visible=False, axis="y")
    if not is_ratio:
        axes.set(xlim=(low, high), xlabel="difference in accuracy (percentage points)")
        return
    axes.set(xscale="log", xlim=(np.exp(high), np.exp(low)), xlabel="MSE / MSE, geometric mean, smaller to the right")
    if high - low < np.log(30):
        ticks = [tick for tick in _RATIOS if low <= np.log(tick) <= high]
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())


def _nothing(finding: Finding) -> Figure:
    """A placeholder figure for a finding without evidence."""
    figure, axes = plt.subplots(figsize=style.inches(style.PAGE, 0.8))
    axes.set_axis_off()
    axes.text(0.5, 0.7, finding.claim, ha="center", transform=axes.transAxes)
    axes.text(0.5, 0.2, finding.sentence, ha="center", fontsize="small", color="#777777", transform=axes.transAxes)
    return figure
