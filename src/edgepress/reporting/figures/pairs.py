"""Methods and their counterparts at equal bits: one column per codebook, one row per network and split."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from edgepress.reporting import steps, style
from edgepress.reporting.figures import panels
from edgepress.reporting.figures.panels import Column
from edgepress.reporting.figures.sweeps import with_full_precision
from edgepress.reporting.results import (
    one_code_a_weight,
    over_seeds,
    quality_of,
    retrained,
    trained_on,
    weights_alone,
    with_settings,
)

Draw = Callable[[Axes, pd.Series, pd.DataFrame, float], None]
_WITHOUT = "#9A9A9A"
_AGAIN = (0, (3, 1.5))


def quantize_prune(metrics: pd.DataFrame, dataset: str) -> Figure:
    """Quality against nominal bits on train and test, for each chain that quantizes to one code per weight and prunes
    (colour), and for the same without pruning on the same networks (grey).
    """
    rows = weights_alone(with_settings(metrics[metrics.dataset == dataset]))
    rows = rows[~retrained(rows) & one_code_a_weight(rows)]
    chains = rows.bits.notna() & rows.sparsity_target.notna()
    unpruned = {steps.without_pruning(text) for text in rows.steps[chains].unique()}
    alone = rows.bits.notna() & ~chains & rows.network.isin(rows.network[chains])
    alone &= rows.steps.isin(unpruned)
    rows = with_full_precision(rows, chains | alone)

    def draw(axes: Axes, x: pd.Series, line: pd.DataFrame, scale: float) -> None:
        is_chain = line.sparsity_target.notna().all()
        look = style.look(line.iloc[0]) | ({"zorder": 3} if is_chain else {"color": _WITHOUT})
        panels.line(axes, x, line, "quality", scale, **look)

    shares = sorted(rows.sparsity_target.dropna().unique())
    pruned = f"then pruned by {', '.join(f'{share:.0%}' for share in shares)} (colour)"
    entries = [
        *_roundings(rows),
        Line2D([], [], color="#0072B2", label=pruned),
        Line2D([], [], color=_WITHOUT, label="not pruned (grey)"),
        panels.full_precision_handle(),
    ]
    return _by_codebook(rows, dataset, draw, entries)


def qat(metrics: pd.DataFrame, dataset: str) -> Figure:
    """Quality against nominal bits on train and test, for each method that fine-tunes (solid), and for the same
    rounding after training at the same bits (dashed).
    """
    rows = weights_alone(with_settings(metrics[metrics.dataset == dataset]))
    again = retrained(rows) & rows.bits.notna() & rows.sparsity_target.isna() & ~trained_on(rows)
    after_training = {text: steps.after_training(text) for text in rows.steps[again].unique()}
    levels = rows.network + rows.level  # fine-tuning may cover fewer levels than rounding
    alone = rows[again & (rows.steps == rows.steps.map(after_training))]
    twin = rows.steps.isin(after_training.values()) & levels.isin(levels[again])
    rows = with_full_precision(rows, again | twin)

    def draw(axes: Axes, x: pd.Series, line: pd.DataFrame, scale: float) -> None:
        look = style.look(line.iloc[0]) | {"linestyle": "-"}
        if not retrained(line).all():
            look |= {"linestyle": _AGAIN, "markerfacecolor": "white", "markeredgecolor": look["color"]}
            look["markeredgewidth"] = 0.9
        panels.line(axes, x, line, "quality", scale, **look)

    entries = [
        *_roundings(rows, linestyle="none"),
        Line2D([], [], color=panels.GREY, label="fine-tuned"),
        Line2D([], [], color=panels.GREY, linestyle=_AGAIN, label="after training"),
        *panels.handles(alone),
        panels.full_precision_handle(),
    ]
    return _by_codebook(rows, dataset, draw, entries, everywhere=alone.method)


def _by_codebook(
    rows: pd.DataFrame, dataset: str, draw: Draw, entries: list[Line2D], everywhere: Iterable[str] = ()
) -> Figure:
    """One column per codebook, each with full precision and the methods ``everywhere``."""
    quality = quality_of(rows)
    means = over_seeds(rows)
    cells = [(network, split) for network in means.network.unique() for split in ("train", "test")]
    means = pd.concat(means[(means.network == network) & (means.split == split)] for network, split in cells)
    means["network"] = means.network + ", " + means.split
    common = means.method.isin(["fp32", *everywhere])
    codebooks = means.method.map({row.method: style.hue(row) for row in panels.methods(means)})
    columns = [
        Column(style.label(name), quality, means[common | (codebooks == name)])
        for name in dict.fromkeys(codebooks[~common])
    ] or [Column("", quality, means[common])]
    figure, grid = panels.page(dataset, columns)
    all_bits = means.bits[means.method != "fp32"]
    for axes, _, shown in grid:
        places = panels.bit_places(axes, all_bits)
        panels.full_precision(axes, quality, shown)
        for _, line in shown[shown.method != "fp32"].groupby("method", sort=False):
            draw(axes, line.bits.map(places), line, quality.scale)
    panels.finish(figure, entries)
    return figure


def _roundings(rows: pd.DataFrame, **changes: Any) -> list[Line2D]:
    """Legend entries of the roundings."""
    ways = {row.rounding: style.look(row) for row in panels.methods(rows) if not style.stands_alone(row)}
    return [Line2D([], [], label=way, **{**look, "color": panels.GREY, **changes}) for way, look in ways.items()]
