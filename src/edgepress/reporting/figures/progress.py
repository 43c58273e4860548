"""Quality of each training recipe against its cost."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from edgepress.recipes import RECIPES
from edgepress.reporting import style
from edgepress.reporting.figures import panels

_AXES = {"steps": ("steps", 1), "seconds": ("time (s)", 1), "kwh": ("energy (Wh)", 1000)}
_HEIGHT = 2.0  # inches, of a panel


def recipes(rows: pd.DataFrame, dataset: str) -> Figure:
    """Quality on val against steps, seconds and, if known, energy: one row per network, one line per recipe and seed.
    The dotted line is the target, its mean over seeds.

    ``rows`` are those of ``reporting.recipes.load``.
    """
    rows = rows[(rows.dataset == dataset) & (rows.status == "ok")]
    if rows.empty:
        return panels.note(dataset, "no recipe was run")
    costs = [cost for cost in _AXES if rows[cost].notna().any()]
    networks = list(rows.groupby("network", sort=False))
    size = style.inches(style.PAGE, _HEIGHT * len(networks) + 0.6)
    figure, grid = plt.subplots(
        len(networks), len(costs), figsize=size, squeeze=False, layout="constrained", sharey="row"
    )
    colours = dict(zip(RECIPES, sns.color_palette("colorblind"), strict=False))
    for line, (network, of_network) in zip(grid, networks, strict=True):
        best = of_network.groupby(["recipe", "seed"]).val_quality.max()
        room = 0.3 * (best.max() - of_network.val_quality.quantile(0.2)) + 1e-3
        line[0].set_ylim(of_network.val_quality.quantile(0.2) - room, best.max() + room / 2)
        line[0].set_ylabel(f"{style.label(network)}\nquality on val")
        for axes, cost in zip(line, costs, strict=True):
            label, scale = _AXES[cost]
            for (recipe, _), run in of_network.groupby(["recipe", "seed"], sort=False):
                axes.plot(scale * run[cost], run.val_quality, color=colours[str(recipe)], alpha=0.85, linewidth=1)
            axes.axhline(of_network.groupby("seed").target.first().mean(), **style.FULL_PRECISION)
            axes.set(xscale="log", xlabel=label)
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_major_formatter("{x:,g}")
    figure.suptitle(style.label(dataset), fontsize=10, fontweight="bold")
    shown = [Line2D([], [], label=style.label(name), color=colours[name]) for name in rows.recipe.unique()]
    panels.finish(figure, [*shown, Line2D([], [], label="target", **style.FULL_PRECISION)])
    return figure
