"""Quality against each cost of an inference, the bits of each layer, and the energy of an accelerator by part."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from edgepress.levels import Level
from edgepress.reporting import style
from edgepress.reporting.costs import Cost, CostTables, taken
from edgepress.reporting.figures import panels, size
from edgepress.reporting.results import Quality, over_seeds, quality_of

_ROW_HEIGHT = 1.7  # inches
_LAYER_HEIGHT = 0.17
_BAR_HEIGHT = 0.2
_MOST_TICKS = {1: 6, 2: 6, 3: 4, 4: 3}  # by the number of columns
_BITS_MAP = "PuOr"  # safe for colour-blind readers
_PARTS = {
    "compute": "#D55E00",
    "weight_registers": "#E69F00",
    "accumulators": "#F0E442",
    "buffer": "#56B4E9",
    "dram": "#0072B2",
}
_PART_NAMES = {"dram": "DRAM", "buffer": "buffer (SRAM)", "weight_registers": "weight registers"}
_FURTHER = ("#009E73", "#CC79A7", "#999999")  # parts of another accelerator


def gains(metrics: pd.DataFrame, tables: CostTables, dataset: str) -> Figure:
    """Quality on test against every measured cost: one row per network, one column per cost, with the points and fronts
    of ``size.pareto``, limited to networks near full precision.
    """
    rows = metrics[metrics.dataset == dataset]
    means = tables.join(over_seeds(rows))
    return against_costs(means, quality_of(rows), taken(means), dataset)


def against_costs(means: pd.DataFrame, quality: Quality, costs: Sequence[Cost], dataset: str) -> Figure:
    """Quality on test against ``costs``, which are columns of ``means``: one row per network, one column per cost. Full
    precision is a dotted line if none of its costs is known.
    """
    networks = list(dict.fromkeys(means.network))
    named = size.standing_out(means, quality, costs)
    placed = means[means[[cost.column for cost in costs]].notna().any(axis=1)]
    lines = means[(means.split == "test") & ~means.method.isin(placed.method)]
    figure, grid = plt.subplots(
        len(networks),
        len(costs),
        figsize=style.inches(style.PAGE, _ROW_HEIGHT * len(networks) + 1.1),
        sharey="row",
        squeeze=False,
        layout="constrained",
    )
    for line, network in zip(grid, networks, strict=True):
        for axes, cost in zip(line, costs, strict=True):
            axes.tick_params(labelsize="small")
            shown = means[(means.network == network) & means[cost.column].notna()]
            if shown.empty:
                panels.blank(axes, "not measured")
                continue
            size.panel(axes, shown, quality, cost, named)
            size.ticks(axes, cost, _MOST_TICKS[len(costs)])
            panels.full_precision(axes, quality, lines[lines.network == network])
            axes.set_xlabel(cost.label, fontsize="small")
        size.end_where_networks_broke(line[0], means[means.network == network], quality)
        line[0].set_ylabel(f"{style.label(network)}\ntest {quality.axis_label}", fontsize="small")
    figure.suptitle(style.label(dataset), fontweight="bold")
    entries = size.entries(placed, named)
    panels.finish(figure, [*([] if lines.empty else [panels.full_precision_handle()]), *entries])
    return figure


def layer_bits(bits: pd.DataFrame, dataset: str) -> Figure:
    """The bits of each layer: one panel per network, one row per layer with its number of weights, one column per
    level. Shows the bits, or minimum and maximum over seeds; the colour is their mean relative to the level's bits.

    ``bits`` are the rows of ``packed.layer_bits``, of one method.
    """
    rows = bits[bits.dataset == dataset]
    if rows.empty:
        return panels.note(dataset, "no network has chosen bits")
    layers = rows.groupby("network").layer.nunique().max()
    figure, shown = panels.grid(dataset, rows, row_height=_LAYER_HEIGHT * layers + 0.8, legend_height=0.5)
    colours = ScalarMappable(Normalize(-1, 1), _BITS_MAP)
    for axes, panel in shown:
        _bits_of_layers(axes, panel, colours)
    bar = figure.colorbar(
        colours, ax=[axes for axes, _ in shown], location="bottom", fraction=0.03, aspect=40, shrink=0.6
    )
    bar.set_ticks([-1, 0, 1], labels=["half the average", "average", "twice"], fontsize="small")
    bar.outline.set_visible(False)
    return figure


def _bits_of_layers(axes: Axes, panel: pd.DataFrame, colours: ScalarMappable) -> None:
    panel = panel.assign(average=panel.level.map(lambda name: Level.parse(name).bits))
    layers, levels = list(dict.fromkeys(panel.layer)), sorted(panel.average.unique(), reverse=True)
    for _, cell in panel.groupby(["layer", "average"]):
        x, y = levels.index(cell.average.iloc[0]), layers.index(cell.layer.iloc[0])
        least, most, shade = cell.bits.min(), cell.bits.max(), np.log2(cell.bits.mean() / cell.average.iloc[0])
        axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=colours.to_rgba(shade), edgecolor="white"))
        text = f"{least:g}" if least == most else f"{least:g}–{most:g}"
        dark = abs(shade) > 0.5
        axes.text(x, y, text, ha="center", va="center", fontsize="x-small", color="white" if dark else "black")
    weights = panel.groupby("layer").weights.first()
    axes.set(xlim=(-0.5, len(levels) - 0.5), ylim=(len(layers) - 0.5, -0.5))
    axes.set_xticks(range(len(levels)), [f"{level:g}" for level in levels], fontsize="small")
    axes.set_yticks(
        range(len(layers)), [f"{name} ({size.short(weights[name])})" for name in layers], fontsize="x-small"
    )
    axes.set_xlabel("nominal bits (average)", fontsize="small")
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def breakdown(hardware: pd.DataFrame, dataset: str) -> Figure:
    """The energy of an inference on the modelled accelerator, stacked by compute and memory: one panel per network, one
    bar per precision, with its sum and the reduction from float32. ``hardware`` is the table of a run.
    """
    rows = hardware[(hardware.dataset == dataset) & (hardware.status == "ok")]
    if rows.empty:
        return panels.note(dataset, "no network was simulated")
    parts = [name.removesuffix("_uj") for name in rows.columns if name.endswith("_uj") and name != "energy_uj"]
    further = iter(_FURTHER)
    colours = {part: _PARTS.get(part) or next(further, "#444444") for part in parts}
    bars = rows.groupby("network").size().max()
    figure, shown = panels.grid(dataset, rows, row_height=_BAR_HEIGHT * bars + 0.8, legend_height=0.5)
    for axes, panel in shown:
        _bars(axes, panel, colours)
    panels.finish(figure, [Patch(color=colours[part], label=_PART_NAMES.get(part, part)) for part in parts])
    return figure


def _bars(axes: Axes, panel: pd.DataFrame, colours: dict[str, str]) -> None:
    places, left = range(len(panel)), np.zeros(len(panel))
    for part, colour in colours.items():
        axes.barh(places, panel[f"{part}_uj"], left=left, color=colour, height=0.75, linewidth=0)
        left = left + panel[f"{part}_uj"].to_numpy()
    whole = panel.energy_uj.iloc[0]
    for place, energy in zip(places, panel.energy_uj, strict=True):
        times = "" if energy == whole else f"  ÷ {whole / energy:.1f}"
        axes.text(energy + 0.01 * left.max(), place, f"{energy:.3g}{times}", va="center", fontsize="x-small")
    axes.set_yticks(places, panel.level, fontsize="small")
    axes.invert_yaxis()
    axes.set_xlim(0, 1.18 * left.max())
    axes.set_xlabel("µJ per inference, modelled", fontsize="small")
    axes.tick_params(axis="x", labelsize="small")
    axes.grid(visible=False, axis="y")
