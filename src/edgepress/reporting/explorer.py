"""What the explorer of the first page shows: all points of a run, with their quality and every cost that is known.

A point is a data set, network, method and level: means over seeds, from ``results.over_seeds`` like all of the report.
Points are columns of numbers, which as JSON are a third of what a list of objects would be.
"""

from __future__ import annotations

import colorsys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd

from edgepress import registry
from edgepress.reporting import style
from edgepress.reporting.costs import Cost, CostTables
from edgepress.reporting.energy import training_bill
from edgepress.reporting.results import (
    CROSS_ENTROPY,
    MAE,
    TOP5,
    Quality,
    one_code_a_weight,
    over_seeds,
    quality_of,
    with_settings,
)
from edgepress.spec import TRAINED

_POINT = ["network", "method", "level"]
_DIGITS = 6
_NEAR_POINTS, _NEAR_RATIO = 5, 2  # how far from full precision "near" is: points of accuracy, times the error
_SYMBOLS = {"o": "circle", "^": "triangle-up", "v": "triangle-down", "s": "square", "p": "pentagon", "h": "hexagon",
            "d": "diamond-tall", "D": "diamond", "*": "star", "8": "octagon", "P": "cross", "X": "x",
            "<": "triangle-left", ">": "triangle-right", "H": "hexagon2"}  # fmt: skip
_DARK, _CONTRAST = 0.009, 4.5  # luminance of the dark page in page.css, and the contrast that a colour must have on it


@dataclass(frozen=True)
class Axis:
    """A cost, or gain, of a point, and the unit of its numbers."""

    label: str
    unit: str = ""
    log: bool = True
    more_is_better: bool = False
    note: str = ""


_SIMULATED = "Simulated once a network and precision of its arithmetic, so methods share it."
_TIMED = (
    "Timed once a network and precision of its arithmetic, so methods share it; where activations stay float32, "
    "weights are decoded, and all is float32. 8-bit integers in the default mode of ONNX Runtime."
)
_AXES = {
    "bytes": Axis("size of the file", "B"),
    "bits_per_weight": Axis("bits per weight, the whole file counted", log=False),
    "bits": Axis("nominal bits, of methods with one code a weight", log=False),
    "sparsity": Axis("weights that are 0", "%", log=False, more_is_better=True),
    "bops": Axis("bit operations of an inference"),
    "energy_uj": Axis("energy of an inference, modelled", "µJ", note=_SIMULATED),
    "cycles": Axis("clock cycles of an inference, modelled", note=_SIMULATED),
    "training_wh": Axis("energy of all training that led to it", "Wh"),
}


def data(metrics: pd.DataFrame, run_folder: str | Path) -> dict[str, Any]:
    """Everything that the explorer of a run needs, ready for JSON; ``metrics`` as ``results.load`` gives it.

    Where ``run_folder`` has latency.csv, hardware.csv or energy.csv, these costs are axes, too.
    """
    costs = CostTables.load(run_folder, metrics)
    datasets: list[dict[str, Any]] = []
    axes: dict[str, Axis] = {}
    for name, rows in metrics.groupby("dataset", sort=False):
        found, of_set = _dataset(rows, costs)
        datasets.append({"name": name, "label": style.label(name), **found})
        axes |= of_set
    order = [*_AXES, *(name for name in axes if name not in _AXES)]
    return {
        "datasets": datasets,
        "methods": [_method(row) for row in with_settings(metrics.drop_duplicates("method")).itertuples()],
        "axes": {name: asdict(axes[name]) for name in order if name in axes},
    }


def _method(row: Any) -> dict[str, Any]:
    """How a method is called and drawn: as in the figures, hollow where it trains the network again."""
    look, again = style.look(row), row.when == TRAINED
    symbol = _SYMBOLS[style.marker(row)]
    return {
        "name": row.method,
        "label": "full precision" if row.method == "fp32" else style.label(row.method),
        "family": style.label(row.family).replace(" then ", ", then "),
        "retrained": again,
        "peer": row.family == registry.PEER,
        "colour": look["color"],
        "colour_on_dark": on_dark(look["color"]),
        "symbol": f"{symbol}-open" if again else symbol,
        "dash": "solid" if look["linestyle"] == "-" else "dot" if look["linestyle"][1] == (1, 1) else "dash",
    }


def on_dark(colour: str) -> str:
    """The colour, as much lighter as it takes to be read on the dark page."""
    hue, lightness, saturation = colorsys.rgb_to_hls(*mpl.colors.to_rgb(colour))
    for lighter in np.linspace(lightness, 1, 41):
        rgb = colorsys.hls_to_rgb(hue, lighter, saturation)
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in rgb]
        if (np.dot(linear, (0.2126, 0.7152, 0.0722)) + 0.05) / (_DARK + 0.05) >= _CONTRAST:
            break
    return mpl.colors.to_hex(rgb)


def _dataset(rows: pd.DataFrame, costs: CostTables) -> tuple[dict[str, Any], dict[str, Axis]]:
    """The points of one data set, and the axes of which it has something."""
    measures = _measures(rows)
    means = {quality: over_seeds(rows, quality) for quality in measures}
    points = means[measures[0]][_POINT].drop_duplicates().reset_index(drop=True)
    found = _costs(points, rows, means[measures[0]], costs)
    found = {name: (axis, values) for name, (axis, values) in found.items() if values.notna().any()}
    networks = rows.groupby("network", sort=False).seed.unique()
    places = list(networks.index)
    methods = list(map(str, rows.method.unique()))
    quality = {
        name: {
            split: [_numbers(scale * points.join(of_split.set_index(_POINT)[end], on=_POINT)[end]) for end in ends]
            for split, of_split in means[of].groupby("split", sort=False)
        }
        for name, (of, scale, ends) in _columns(measures).items()
    }
    return {
        "networks": [
            {"name": name, "label": style.label(name), "seeds": seeds.tolist()} for name, seeds in networks.items()
        ],
        "methods": methods,
        "measures": _described(measures),
        "network": points.network.map(places.index).tolist(),
        "method": points.method.map(methods.index).tolist(),
        "level": points.level.tolist(),
        "works": points.join(_works(means[measures[0]], measures[0]), on=_POINT).works.eq(True).tolist(),
        "ratio": _numbers(points.join(_first(means[measures[0]]).compression_ratio, on=_POINT).compression_ratio),
        "costs": {name: _numbers(values) for name, (_, values) in found.items()},
        "quality": quality,
    }, {name: axis for name, (axis, _) in found.items()}


def _measures(rows: pd.DataFrame) -> list[Quality]:
    """The measures that there are of a data set, first the one by which networks are compared."""
    main = quality_of(rows)
    others = (MAE,) if main.is_error else (CROSS_ENTROPY, TOP5)
    return [main, *(quality for quality in others if rows[quality.column].notna().any())]


def _columns(measures: list[Quality]) -> dict[str, tuple[Quality, float, list[str]]]:
    """What can be on the y axis: the measure that it comes from, its scale, and the columns of ``over_seeds``."""
    ends = ("", "_low", "_high")
    columns = {of.column: (of, of.scale, [f"quality{end}" for end in ends]) for of in measures}
    return columns | {"change": (measures[0], 1.0, [f"change{end}" for end in ends])}


def _described(measures: list[Quality]) -> dict[str, dict[str, Any]]:
    described: dict[str, dict[str, Any]] = {}
    for name, (of, *_) in _columns(measures).items():
        label, unit = (of.change_label, "") if name == "change" else (of.label, of.unit)
        near = _NEAR_RATIO if of.is_error else _NEAR_POINTS
        of_change = name == "change"
        described[name] = {
            "label": label,
            "unit": unit,
            "mean": "" if of_change else of.mean_label,
            "error": of.is_error,
            "near": near,
            "possible": None if of_change or of.possible is None else list(of.possible),
        }
    return described


def _works(means: pd.DataFrame, quality: Quality) -> pd.Series:
    """Whether each point works on val (``results.WORKS``); those without val are not there."""
    val = means[means.split == "val"].set_index(_POINT)
    return quality.works(val.quality, val.full_precision, val.chance).rename("works")


def _first(means: pd.DataFrame) -> pd.DataFrame:
    """The means of each point, whose costs are the same on every split."""
    return means.groupby(_POINT, sort=False).first()


def _costs(
    points: pd.DataFrame, rows: pd.DataFrame, means: pd.DataFrame, costs: CostTables
) -> dict[str, tuple[Axis, pd.Series]]:
    """Each axis, and the value of every point on it; NaN where it has none."""
    axes = dict(_AXES)
    taken = [Cost(name, "", "", "hardware", name) for name in ("energy_uj", "cycles")]
    for batch in sorted(costs.latency.batch.unique()):
        name = f"latency_{batch}"
        axes[name] = Axis(f"time of a batch of {batch}, measured", "ms", note=_TIMED)
        taken.append(Cost(name, "", "", "latency", "median_ms", batch))
    first = _first(costs.join(means, taken))
    first["bits"] = first.bits.where(one_code_a_weight(first.reset_index()).to_numpy())
    table = points.join(first[[name for name in axes if name != "training_wh"]], on=_POINT)
    table["sparsity"] *= 100
    found = {name: (axis, table[name]) for name, axis in axes.items() if name in table}
    if not (table.sparsity > 0).any():
        del found["sparsity"]
    energy = costs.energy[(costs.energy.dataset == rows.dataset.iloc[0]) & (costs.energy.status == "ok")]
    if len(energy):
        found["training_wh"] = axes["training_wh"], _training(points, energy)
    return found


def _training(points: pd.DataFrame, energy: pd.DataFrame) -> pd.Series:
    """Wh of the network's own training, and of the method's where it trains again."""
    bill = training_bill(energy).set_index(_POINT).kwh_a_training * 1000
    own = points.network.map(bill[bill.index.get_level_values("method") == "fp32"].droplevel(["method", "level"]))
    again = points.join(bill.rename("again"), on=_POINT).again
    return own + again.where(points.method.isin(energy.method) & (points.method != "fp32"), 0.0)


def _numbers(values: pd.Series) -> list[float | int | None]:
    """Six digits of each; None where there is no number."""
    rounded = (float(f"{value:.{_DIGITS}g}") for value in values)
    return [None if not np.isfinite(v) else int(v) if v.is_integer() else v for v in rounded]
