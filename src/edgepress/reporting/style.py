"""How everything looks: one colour, marker and line a method, the same in every figure."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import seaborn as sns
from matplotlib.figure import Figure

from edgepress import registry

PANEL = (3.5, 2.7)  # inches; a panel is a column of a two-column paper wide

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
    "magnitude": "#E69F00",
    "magnitude_global": "#8C510A",
    "random": "#999999",
}
_MARKERS = {"nearest": "o", "stochastic": "^", "midrise": "s", "pruning": "D", "fp32": "*"}
_LINES = {"stochastic": (0, (3, 1.5))}


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


def colour(method: str) -> str:
    """The colour of a method: that of its codebook, and for a chain named after a method, of that one. Others take
    further colours in the registry's order.
    """
    begins = [name for name in registry.methods() if method.startswith(name)]
    for name in (method, *sorted(begins, key=len, reverse=True)):
        codebook = name.removeprefix("nearest_").removeprefix("stochastic_")
        if codebook in _COLOURS:
            return _COLOURS[codebook]
    others = sorted(registry.methods())
    place = others.index(method) if method in others else len(others)
    return mpl.colors.to_hex(sns.husl_palette(len(others) + 1, s=0.7, l=0.45)[place])


def marker(family: str) -> str:
    """The marker of a family."""
    return _MARKERS.get(family, "P")


def line(family: str) -> str | tuple[int, tuple[float, ...]]:
    """The line style of a family."""
    return _LINES.get(family, "-")


def label(name: str) -> str:
    """A name as it is written in figures and tables."""
    return name.replace("_", " ")


def save(figure: Figure, path: str | Path) -> None:
    """Write ``path``.pdf and ``path``.png, cropped to what is drawn; without dates, so that they are the same again."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(f"{path}.pdf", bbox_inches="tight", metadata={"CreationDate": None})
    figure.savefig(f"{path}.png", bbox_inches="tight")
