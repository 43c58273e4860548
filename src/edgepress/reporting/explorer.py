"""Data of the explorer on the first page: all points of a run with their quality and known costs.

A point is a data set, network, method and level: means over seeds, from ``results.over_seeds`` as everywhere in the
report. Points are stored as columns of numbers, which take a third of the JSON of a list of objects.
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
_NEAR_POINTS, _NEAR_RATIO = 5, 2  # "near" full precision: percentage points, factor of the error
_SYMBOLS = {"o": "circle", "^": "triangle-up", "v": "triangle-down", "s": "square", "p": "pentagon", "h": "hexagon",
            "d": "diamond-tall", "D": "diamond", "*": "star", "8": "octagon", "P": "cross", "X": "x",
            "<": "triangle-left", ">": "triangle-right", "H": "hexagon2"}  # fmt: skip
_DARK, _CONTRAST = 0.009, 4.5  # luminance of the dark page in page.css, and the minimum contrast on it


@dataclass(frozen=True)
class Axis:
    """A cost or gain of a point, with its unit."""

    label: str
    unit: str = ""
    log: bool = True
    more_is_better: bool = False
    note: str = ""


_SIMULATED = "Simulated once per network and arithmetic precision, so methods share it."
_TIMED = (
    "Timed once per network and arithmetic precision, so methods share it. With float32 activations, weights are "
    "decoded and all is float32. 8-bit integers use the default mode of ONNX Runtime."
)
_AXES = {
    "bytes": Axis("size of the file", "B"),
    "bits_per_weight": Axis("bits per weight of the whole file", log=False),
    "bits": Axis("nominal bits, methods with one code per weight", log=False),
    "sparsity": Axis("weights that are 0", "%", log=False, more_is_better=True),
    "bops": Axis("bit operations per inference"),
    "energy_uj": Axis("energy per inference, modelled", "µJ", note=_SIMULATED),
    "cycles": Axis("clock cycles per inference, modelled", note=_SIMULATED),
    "training_wh": Axis("energy of training and fine-tuning", "Wh"),
}


def data(metrics: pd.DataFrame, run_folder: str | Path) -> dict[str, Any]:
    """The data of the explorer, JSON-serializable; ``metrics`` from ``results.load``.

    latency.csv, hardware.csv and energy.csv in ``run_folder`` give further axes.
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
    """Label and style of a method, as in the figures; hollow if it fine-tunes."""
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
    """The colour, lightened for sufficient contrast on the dark page."""
    hue, lightness, saturation = colorsys.rgb_to_hls(*mpl.colors.to_rgb(colour))
    for lighter in np.linspace(lightness, 1, 41):
        rgb = colorsys.hls_to_rgb(hue, lighter, saturation)
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in rgb]
        if (np.dot(linear, (0.2126, 0.7152, 0.0722)) + 0.05) / (_DARK + 0.05) >= _CONTRAST:
            break
    return mpl.colors.to_hex(rgb)


def _dataset(rows: pd.DataFrame, costs: CostTables) -> tuple[dict[str, Any], dict[str, Axis]]:
    """The points of one data set, and the axes with values."""
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
    """The measures of a data set, the main one first."""
    main = quality_of(rows)
    others = (MAE,) if main.is_error else (CROSS_ENTROPY, TOP5)
    return [main, *(quality for quality in others if rows[quality.column].notna().any())]


def _columns(measures: list[Quality]) -> dict[str, tuple[Quality, float, list[str]]]:
    """The choices for the y axis: measure, scale, and columns of ``over_seeds``."""
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
    """Whether each point works on val (``results.WORKS``); points without val are omitted."""
    val = means[means.split == "val"].set_index(_POINT)
    return quality.works(val.quality, val.full_precision, val.chance).rename("works")


def _first(means: pd.DataFrame) -> pd.DataFrame:
    """One row of means per point, since costs are the same on every split."""
    return means.groupby(_POINT, sort=False).first()


def _costs(
    points: pd.DataFrame, rows: pd.DataFrame, means: pd.DataFrame, costs: CostTables
) -> dict[str, tuple[Axis, pd.Series]]:
    """Each axis with the value of every point, NaN if unknown."""
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
    """Wh of the network's training plus that of fine-tuning."""
    bill = training_bill(energy).set_index(_POINT).kwh_a_training * 1000
    own = points.network.map(bill[bill.index.get_level_values("method") == "fp32"].droplevel(["method", "level"]))
    again = points.join(bill.rename("again"), on=_POINT).again
    return own + again.where(points.method.isin(energy.method) & (points.method != "fp32"), 0.0)


def _numbers(values: pd.Series) -> list[float | int | None]:
    """Values rounded to six digits; None for NaN and infinity."""
    rounded = (float(f"{value:.{_DIGITS}g}") for value in values)
    return [None if not np.isfinite(v) else int(v) if v.is_integer() else v for v in rounded]
