"""How everything looks: one colour, marker and line a method, the same in every figure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import seaborn as sns
from matplotlib.figure import Figure

from edgepress import registry

PANEL = (3.5, 2.7)  # inches; a panel is a column of a two-column paper wide
PAGE = 7.2  # inches, the width of both columns
Look = dict[str, Any]  # what matplotlib takes, by keyword
FULL_PRECISION: Look = {"color": "black", "linewidth": 1, "linestyle": ":"}

# Okabe and Ito's colour-blind-safe palette, a colour a codebook; the rounding shows in line and marker.
_COLOURS = {
    "fp32": "#000000",
    "uniform": "#0072B2",
    "uniform_iqr": "#56B4E9",
    "histogram": "#009E73",
    "normal": "#D55E00",
    "midrise": "#CC79A7",
    "kde": "#B8A000",
    "lloyd_max": "#661100",
    "multipoint": "#332288",
    "multipoint_fixed": "#332288",
    "lsq": "#444444",
    "gptq": "#DC267F",
    "adaround": "#785EF0",
    "mixed": "#1B5E20",
    "obs": "#8E44AD",
    "obs_global": "#5B2C6F",
    "magnitude": "#E69F00",
    "magnitude_global": "#8C510A",
    "random": "#999999",
}
ROUNDINGS = ("nearest", "stochastic", "dithered")
_MARKERS = {"nearest": "o", "stochastic": "^", "dithered": "v", "midrise": "s", "multipoint": "p",
            "multipoint_fixed": "h", "lsq": "d", "magnitude": "D", "magnitude_global": "D", "random": "D",
            "obs": "D", "obs_global": "D", "gptq": "<", "mixed": ">", "adaround": "H", "fp32": "*"}  # fmt: skip
_LINES = {"stochastic": (0, (3, 1.5)), "dithered": (0, (1, 1)), "multipoint_fixed": (0, (3, 1.5)),
          "magnitude_global": (0, (3, 1.5))}  # fmt: skip
_RETRAINED = "qat_"  # what the name of a method begins with that trains on with the rounding of another


def apply() -> None:
    """Set seaborn's theme for all figures that follow."""
    sns.set_theme(context="paper", style="ticks", font="DejaVu Sans")
    mpl.rcParams |= {
        "axes.grid": True,
        "grid.color": "#E6E6E6",
        "grid.linewidth": 0.6,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 9,
        "axes.labelsize": 9,
        "legend.fontsize": 8,
        "legend.frameon": False,
        "lines.linewidth": 1.3,
        "lines.markersize": 4,
        "pdf.fonttype": 42,  # text stays text in the PDF
        "figure.dpi": 100,
        "savefig.dpi": 200,
    }


def post_training(method: str) -> str:
    """The method that rounds as one does that trains the network again: itself for those that do not."""
    return method.removeprefix(_RETRAINED)


def unchained(method: str) -> str:
    """The method that a chain is named after, the longest known one that its name begins with; else itself."""
    begins = [name for name in registry.methods() if method.startswith(f"{name}_")]
    return method if method in registry.methods() else max(begins, key=len, default=method)


def rounding(method: str) -> str:
    """How a method rounds: ``nearest``, ``stochastic``, ``dithered``; its name without ``qat_`` where it says none."""
    name = post_training(unchained(method))
    first = name.split("_")[0]
    return first if first in ROUNDINGS else name


def codebook(method: str) -> str:
    """Where a method places its levels, ``uniform`` say; its name without ``qat_`` where that says no rounding."""
    name = post_training(unchained(method))
    return name.removeprefix(f"{rounding(method)}_")


def colour(method: str) -> str:
    """The colour of a method: that of its codebook, and for a chain named after a method, of that one. Others take
    further colours in the registry's order.
    """
    if codebook(method) in _COLOURS:
        return _COLOURS[codebook(method)]
    others = sorted(registry.methods())
    place = others.index(unchained(method)) if unchained(method) in others else len(others)
    return mpl.colors.to_hex(sns.husl_palette(len(others) + 1, s=0.7, l=0.45)[place])


def look(method: str) -> Look:
    """Colour, marker and line of a method: the codebook decides the first, the rounding the others."""
    way = rounding(method)
    return {"color": colour(method), "marker": _MARKERS.get(way, "8"), "linestyle": _LINES.get(way, "-")}


def label(name: object) -> str:
    """A name as it is written in figures and tables."""
    return str(name).replace("_", " ")


def save(figure: Figure, path: str | Path) -> None:
    """Write ``path``.pdf and ``path``.png, cropped to what is drawn; without dates, so that they are the same again."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(f"{path}.pdf", bbox_inches="tight", metadata={"CreationDate": None})
    figure.savefig(f"{path}.png", bbox_inches="tight")
