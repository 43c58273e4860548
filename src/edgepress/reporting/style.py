"""How everything looks: one colour, marker and line a method, the same in every figure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from edgepress import registry


@dataclass(frozen=True)
class Style:
    """What figures are made for: the width of a page in inches, on which two panels lie, and the points of its text."""

    page: float
    text: float


STYLES = {
    "ieee": Style(7.16, 9),  # both columns of IEEE's journals; a panel is as wide as one
    "neurips": Style(5.5, 8),  # the one column of NeurIPS
    "talk": Style(12.0, 16),  # a slide of 16:9
}
# Inches, in which figures are written down: those of the first style. `inches` turns them into those of the one in use.
PANEL = (3.5, 2.7)
PAGE = 7.16
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
    "gptq_compact": "#FF8FA3",
    "gptq_tensor": "#7A0C45",
    "symmetric": "#006D5B",
    "adaround": "#785EF0",
    "mixed": "#1B5E20",
    "bias_corrected": "#7A9A01",
    "channels_l1": "#00798C",
    "obs": "#8E44AD",
    "obs_global": "#5B2C6F",
    "magnitude": "#E69F00",
    "magnitude_global": "#8C510A",
    "random": "#999999",
    "brevitas": "#E69F00",
    "onnxruntime": "#0072B2",
    "openvino": "#009E73",
    "torch_pruning": "#8C510A",
    "torchao": "#785EF0",
}
_GOLDEN = 0.618034  # of the circle of hues between one colour and the next: no two near each other are alike
ROUNDINGS = ("nearest", "stochastic", "dithered")
_MARKERS = {"nearest": "o", "stochastic": "^", "dithered": "v", "midrise": "s", "multipoint": "p",
            "multipoint_fixed": "h", "lsq": "s", "magnitude": "D", "magnitude_global": "D", "random": "D", "obs": "D",
            "obs_global": "D", "channels_l1": "D", "gptq": "<", "gptq_compact": "<", "gptq_tensor": "<",
            "mixed": ">", "adaround": "H", "fp32": "*"}  # fmt: skip
CHAIN_MARKER, PEER_MARKER = "P", "X"
_CHANNEL, CHANNEL_MARKER = "_channel", "d"  # what the name of a method with a step a channel ends in
_LINES = {"stochastic": (0, (3, 1.5)), "dithered": (0, (1, 1)), "multipoint_fixed": (0, (3, 1.5)),
          "magnitude_global": (0, (3, 1.5))}  # fmt: skip
MANY = 16  # methods: where there are more, their looks cannot be told apart
_MARGIN = 0.05  # inches above and below what is drawn
_RETRAINED = "qat_"  # what the name of a method begins with that trains on with the rounding of another


def apply(run_folder: str | Path | None = None) -> None:
    """Set seaborn's theme for all figures that follow, in the style that the run's config asks for."""
    style = STYLES[_style_of(run_folder)]
    scale = style.page / PAGE
    sns.set_theme(context="paper", style="ticks", font="DejaVu Sans")
    mpl.rcParams |= {
        "axes.grid": True,
        "grid.color": "#E6E6E6",
        "grid.linewidth": 0.6,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "font.size": style.text,
        "axes.titlesize": "medium",
        "axes.labelsize": "medium",
        "figure.titlesize": "large",
        "figure.labelsize": "medium",
        "legend.fontsize": 8 / 9 * style.text,
        "xtick.labelsize": "small",
        "ytick.labelsize": "small",
        "legend.frameon": False,
        "lines.linewidth": 1.3 * scale,
        "lines.markersize": 4 * scale,
        "pdf.fonttype": 42,  # text stays text in the PDF, and its font goes along: publishers refuse Type 3
        "figure.figsize": [scale * inches for inches in PANEL],
        "figure.dpi": 100,
        "savefig.dpi": 200,
    }


def _style_of(run_folder: str | Path | None) -> str:
    """The name of the style, by the run's manifest; that of the first where it says nothing."""
    manifest = run_folder and Path(run_folder) / "manifest.json"
    config = json.loads(manifest.read_text(encoding="utf-8"))["config"] if manifest and manifest.exists() else {}
    return str(config.get("figures", {}).get("style", next(iter(STYLES))))


def inches(width: float, height: float) -> tuple[float, float]:
    """A size that is written down for the first style, in inches of the style in use: as high as its text asks."""
    in_use = mpl.rcParams["figure.figsize"][0] / PANEL[0], mpl.rcParams["font.size"] / STYLES["ieee"].text
    return in_use[0] * width, in_use[1] * height


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


def hue(method: str) -> str:
    """What shares a colour: a codebook, whether it has a step a layer or a channel."""
    return codebook(method).removesuffix(_CHANNEL)


def colour(method: str) -> str:
    """The colour of a method: that of its codebook, and for a chain named after a method, of that one. Others take
    colours around the circle of hues, in the registry's order.
    """
    if hue(method) in _COLOURS:
        return _COLOURS[hue(method)]
    others = [*sorted(registry.methods()), *sorted(registry.peers())]
    place = others.index(unchained(method)) if unchained(method) in others else len(others)
    return mpl.colors.to_hex(sns.husl_palette(1, h=place * _GOLDEN % 1, s=0.7, l=0.45)[0])


def look(method: str) -> Look:
    """Colour, marker and line of a method: the codebook decides the first, the rounding the others."""
    way = rounding(method)
    mark = PEER_MARKER if method in registry.peers() else _MARKERS.get(way, "8")
    mark = CHANNEL_MARKER if per_channel(method) else mark
    return {"color": colour(method), "marker": mark, "linestyle": _LINES.get(way, "-")}


def per_channel(method: str) -> bool:
    """Whether a method is called after another one and has a step a channel."""
    return unchained(method).endswith(_CHANNEL)


def marker(method: str, family: str) -> str:
    """The marker of a point: chains of methods share one, and so do other libraries."""
    if family == registry.PEER:
        return PEER_MARKER
    return CHAIN_MARKER if "_then_" in family else str(look(method)["marker"])


def label(name: object) -> str:
    """A name as it is written in figures and tables."""
    return str(name).replace("_", " ")


def save(figure: Figure, path: str | Path) -> None:
    """Write ``path``.pdf and ``path``.png, as wide as the figure is, or wider where something would be cut off, and as
    high as what is drawn; without dates, so that they are the same again.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # what is placed stays so: each file would place it again
    drawn = figure.get_tightbbox()
    ends = min(0, drawn.x0), drawn.y0 - _MARGIN, max(figure.get_figwidth(), drawn.x1), drawn.y1 + _MARGIN
    box = Bbox.from_extents(*ends)
    figure.savefig(f"{path}.pdf", bbox_inches=box, metadata={"CreationDate": None})
    figure.savefig(f"{path}.png", bbox_inches=box)
