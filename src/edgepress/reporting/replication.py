"""The study's published results compared with recomputed ones, and with sound definitions on the same networks."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from edgepress.reporting import results, style
from edgepress.reporting.results import quality_of

CELL = ["dataset", "network", "method", "level", "split"]
LOSS_TOLERANCE = 1e-5
NORMAL_ON_MV_TOLERANCE = 5e-5  # another library's inverse normal distribution gives its quantiles
DEVIATIONS = 3.0
DEMO = "demo"  # the network of the study's demo notebook
_COLUMNS = 3


def load(run_folder: str | Path, published: str | Path) -> pd.DataFrame:
    """One row per published cell on train or test, with the recomputed ``accuracy``, ``loss`` (summed in the published
    order) and ``loss_over_rows``, and the verdicts ``accuracy_same`` and ``loss_same``.

    Recomputed values are draw 0, with the study's random numbers. For stochastic methods ``deviations`` is the distance
    of the published loss from the mean of further draws in standard deviations.
    """
    cells = pd.read_csv(published, dtype={"accuracy": "string"})
    cells = cells.rename(columns={"accuracy": "published_accuracy", "loss": "published_loss"})
    rows = pd.read_csv(Path(run_folder) / "metrics.csv")
    first = rows[rows.draw == 0].set_index(CELL)[["accuracy", "loss", "published_order_loss"]]
    first.columns = ["accuracy", "loss_over_rows", "loss"]
    cells = cells.merge(first, on=CELL, how="inner")
    tolerance = np.where(
        (cells.dataset == "mv") & cells.method.str.contains("normal"), NORMAL_ON_MV_TOLERANCE, LOSS_TOLERANCE
    )
    near = (cells.loss / cells.published_loss - 1).abs() <= tolerance
    cells["loss_same"] = near | (cells.loss.isna() & cells.published_loss.isna())
    cells["accuracy_same"] = [
        pd.isna(told) or _rounds_to(value, told)
        for value, told in zip(cells.accuracy, cells.published_accuracy, strict=True)
    ]
    further = rows[(rows.draw > 0)].groupby(CELL).published_order_loss.agg(["mean", "std"])
    cells = cells.join(further, on=CELL)
    cells["deviations"] = (cells.published_loss - cells["mean"]).abs() / cells["std"]
    return cells.drop(columns=["mean", "std"])


def _rounds_to(value: float, told: str) -> bool:
    """Whether a value rounds to a published one at its number of decimals."""
    return round(value, len(told.partition(".")[2])) == float(told)


def match(cells: pd.DataFrame) -> pd.DataFrame:
    """One row per method: its published cells, the numbers of published and reproduced accuracies, of reproduced
    losses, and, for stochastic methods, of losses within three standard deviations of further draws.
    """
    told = cells.published_accuracy.notna()
    cells = cells.assign(within=cells.deviations <= DEVIATIONS, told=told, accuracy_same=told & cells.accuracy_same)
    groups = cells.groupby("method", sort=False)
    table = pd.DataFrame({"cells": groups.size()})
    table["accuracies"] = groups.told.sum()
    table["accuracy_same"] = groups.accuracy_same.sum()
    table["loss_same"] = groups.loss_same.sum()
    table["further_draws"] = groups.deviations.count()
    table["within_3_deviations"] = groups.within.sum()
    return table.reset_index()


def differing(cells: pd.DataFrame) -> pd.DataFrame:
    """The published cells that the study's random numbers do not reproduce, with the relative difference."""
    rows = cells[~(cells.loss_same & cells.accuracy_same)]
    shown = rows[[*CELL, "published_accuracy", "accuracy", "published_loss", "loss"]].copy()
    shown["relative_difference"] = rows.loss / rows.published_loss - 1
    return shown


def replication(cells: pd.DataFrame, run_folder: str | Path, dataset: str) -> Figure:
    """Quality on test against bits: one panel per method, with published points on the recomputed line, and the sound
    definition on the same network.
    """
    sound = results.load(Path(run_folder) / "default.csv")
    sound = sound[(sound.dataset == dataset) & (sound.split == "test")]
    quality = quality_of(sound)
    column = "published_loss" if quality.is_error else "published_accuracy"
    mine = "loss" if quality.is_error else "accuracy"
    rows = cells[(cells.dataset == dataset) & (cells.split == "test") & cells.level.str.fullmatch(r"w\d+")].copy()
    rows = rows[(rows.method != "fp32") & (rows.network != DEMO) & rows.network.isin(sound.network)]
    rows["bits"] = rows.level.str[1:].astype(int)
    rows[column] = rows[column].astype(float)
    methods = list(dict.fromkeys(rows.method))
    lines = -(-len(methods) // _COLUMNS)
    width, height = style.inches(*style.PANEL)
    figure, grid = plt.subplots(
        lines, _COLUMNS, figsize=(0.75 * width * _COLUMNS, 0.75 * height * lines), sharex=True, sharey=True
    )
    for axes in grid.flat[len(methods) :]:
        axes.set_visible(False)
    looks = dict(zip(dict.fromkeys(rows.network), ("-", (0, (4, 1.5))), strict=False))
    for axes, method in zip(grid.flat, methods, strict=False):
        for network, look in looks.items():
            told = rows[(rows.method == method) & (rows.network == network)].sort_values("bits")
            axes.plot(told.bits, quality.scale * told[mine], color=style.colour(method), linestyle=look, linewidth=1)
            axes.plot(told.bits, quality.scale * told[column], "x", color="black", markersize=4)
            mean = sound[(sound.method == method) & (sound.network == network)].groupby("bits").quality.mean()
            axes.plot(mean.index, quality.scale * mean, color="#999999", linestyle=look, linewidth=1)
        axes.set_title(style.label(method))
        axes.set_xlabel("bits per weight")
        axes.tick_params(labelbottom=True)
        if quality.is_error:
            axes.set_yscale("log")
    grid.flat[0].set_xticks(sorted(rows.bits.unique()))
    figure.supylabel(f"{style.label(dataset)}: test {quality.axis_label}")
    handles = [
        Line2D([], [], color="black", marker="x", linestyle="none", label="published"),
        Line2D([], [], color="#0072B2", label="recomputed with the study's definitions"),
        Line2D([], [], color="#999999", label="sound definition, same network"),
        *[Line2D([], [], color="#444444", linestyle=look, label=style.label(n)) for n, look in looks.items()],
    ]
    figure.tight_layout()
    figure.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=3)
    return figure


def artefacts(cells: pd.DataFrame, run_folder: str | Path) -> pd.DataFrame:
    """One row per data set, network and method at 4 bits: published quality on test, and by the sound definition."""
    sound = results.load(Path(run_folder) / "default.csv")
    sound = sound[(sound.split == "test") & (sound.bits == 4)]
    means = sound.groupby(["dataset", "network", "method"], sort=False).quality.mean().rename("sound")
    rows = cells[(cells.split == "test") & (cells.level == "w4")].copy()
    rows["published"] = rows.published_accuracy.astype(float).fillna(rows.published_loss)
    rows["measure"] = np.where(rows.published_accuracy.isna(), "MSE", "accuracy")
    return rows[["dataset", "network", "method", "measure", "published"]].join(
        means, on=["dataset", "network", "method"], how="inner"
    )


def multipoint(cells: pd.DataFrame, run_folder: str | Path) -> pd.DataFrame:
    """One row per precision of multi-point quantization of the demo network: accuracy on test ``published``,
    ``recomputed``, and by the sound definitions, one column per method.

    ``error`` is the published mean of ``|w − ŵ|`` over the weights of the tensor that the study quantized.
    """
    told = cells[(cells.network == DEMO) & (cells.method == "multipoint") & (cells.split == "test")]
    told = told.set_index("level")[["published_accuracy", "accuracy"]].set_axis(["published", "recomputed"], axis=1)
    told["published"] = told.published.astype(float)

    tensors = pd.read_csv(Path(run_folder) / "tensors.csv")
    tensors = tensors[(tensors.network == DEMO) & (tensors.mean_abs_err > 0)]
    told["error"] = tensors.set_index("level").mean_abs_err

    sound = results.load(Path(run_folder) / "default.csv")
    sound = sound[(sound.network == DEMO) & (sound.method != "fp32") & (sound.split == "test")]
    return told.join(sound.pivot(index="level", columns="method", values="quality")).reset_index()
