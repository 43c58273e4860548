"""How trainings went."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from edgepress.reporting import style
from edgepress.reporting.figures.panels import finish

_COLUMNS = 2


def training_curves(histories: pd.DataFrame, dataset: str) -> Figure:
    """Loss on train and val against the epoch: a panel a network, a line a seed and split."""
    groups = list(histories[histories.dataset == dataset].groupby("network", sort=False))
    looks = {"train": {"linestyle": "--", "color": "#E69F00"}, "val": {"color": "#0072B2"}}
    width, height = style.PANEL
    columns = min(_COLUMNS, len(groups))
    rows = -(-len(groups) // columns)
    size = (width * columns, 0.8 * height * rows + 0.3)
    figure, grid = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    for axes in grid.flat[len(groups) :]:
        axes.set_visible(False)
    for axes, (network, panel) in zip(grid.flat, groups, strict=False):
        for split, look in looks.items():
            for _, run in panel.groupby("seed"):
                axes.plot(run.epoch, run[f"{split}_loss"], alpha=0.8, linewidth=1, **look)
        axes.set(title=f"{style.label(dataset)}, {style.label(network)}", xlabel="epoch", ylabel="loss", yscale="log")
    finish(figure, [Line2D([], [], label=split, **look) for split, look in looks.items()])
    return figure
