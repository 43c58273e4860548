"""Training curves."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from edgepress.reporting import style
from edgepress.reporting.figures import panels


def training_curves(histories: pd.DataFrame, dataset: str) -> Figure:
    """Loss on train and val by epoch: one panel per network, one line per seed and split."""
    looks: dict[str, style.Look] = {"train": {"linestyle": "--", "color": "#E69F00"}, "val": {"color": "#0072B2"}}
    rows = histories[histories.dataset == dataset]
    if rows.empty:
        return panels.note(dataset, "no network was trained")
    figure, shown = panels.grid(dataset, rows, row_height=0.8 * style.PANEL[1], legend_height=0.3)
    for axes, panel in shown:
        for split, look in looks.items():
            for _, run in panel.groupby("seed"):
                axes.plot(run.epoch, run[f"{split}_loss"], alpha=0.8, linewidth=1, **look)
        axes.set(xlabel="epoch", ylabel="loss", yscale="log")
    panels.finish(figure, [Line2D([], [], label=split, **look) for split, look in looks.items()])
    return figure
