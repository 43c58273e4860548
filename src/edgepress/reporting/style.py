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
from edgepress.reporting import steps
from edgepress.spec import Spec


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

# Okabe and Ito's colour-blind-safe palette, one colour per codebook; line and marker show the rounding.
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
    "lsq_channel": "#444444",
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
_MARKERS = {"nearest": "o", "stochastic": "^", "dithered": "v", "midrise": "s", "multipoint": "p",
            "multipoint_fixed": "h", "lsq": "s", "lsq_channel": "d", "magnitude": "D", "magnitude_global": "D",
            "random": "D", "obs": "D", "obs_global": "D", "channels_l1": "D", "gptq": "<", "gptq_compact": "<",
            "gptq_tensor": "<", "mixed": ">", "adaround": "H", "fp32": "*"}  # fmt: skip
CHAIN_MARKER, PEER_MARKER = "P", "X"
CHANNEL_MARKER = "d"
_LINES = {"stochastic": (0, (3, 1.5)), "dithered": (0, (1, 1)), "multipoint_fixed": (0, (3, 1.5)),
          "magnitude_global": (0, (3, 1.5))}  # fmt: skip
MANY = 16  # methods: where there are more, their looks cannot be told apart
_MARGIN = 0.05  # inches above and below what is drawn


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
        "text.hinting": "no_hinting",  # text as wide in the file as in the layout, which is made at fewer dots per inch
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


def hue(method: Any) -> str:
    """What shares a colour: the codebook that weights are rounded to, else the method; of a chain, its main step.

    ``method`` is a row of it, with the columns ``method``, ``family``, ``steps`` and those of ``Spec``.
    """
    spec = Spec.of(method)
    return spec.codebook if spec.rounds else registry.main(steps.of(method.steps))


def stands_alone(method: Any) -> bool:
    """Whether a method has a marker of its own, not that of a way to round to some codebook."""
    return not Spec.of(method).rounds or hue(method) in _MARKERS


def colour(name: str) -> str:
    """The colour of a codebook or method. Those that have none of their own take colours around the circle of hues, in
    the registry's order.
    """
    spec = registry.spec([name])
    if (known := spec.codebook if spec.rounds else name) in _COLOURS:
        return _COLOURS[known]
    others = [*sorted(registry.methods()), *sorted(registry.peers())]
    place = others.index(name) if name in others else len(others)
    return mpl.colors.to_hex(sns.husl_palette(1, h=place * _GOLDEN % 1, s=0.7, l=0.45)[0])


def look(method: Any) -> Look:
    """Colour, marker and line of a method: the codebook decides the first, the rounding the others."""
    way = hue(method) if stands_alone(method) else method.rounding
    mark = PEER_MARKER if method.family == registry.PEER else _MARKERS.get(way, "8")
    mark = CHANNEL_MARKER if per_channel(method) else mark
    return {"color": colour(hue(method)), "marker": mark, "linestyle": _LINES.get(way, "-")}


def per_channel(method: Any) -> bool:
    """Whether a method is the rounding of another, with a codebook for each output channel."""
    return Spec.of(method).rounds and method.granularity == "channel"


def marker(method: Any) -> str:
    """The marker of a point: chains of methods share one, and so do other libraries."""
    if method.family == registry.PEER:
        return PEER_MARKER
    return CHAIN_MARKER if is_chain(method) else str(look(method)["marker"])


def is_chain(method: Any) -> bool:
    """Whether a method has several steps."""
    return len(steps.of(method.steps)) > 1


def label(name: object) -> str:
    """A name as it is written in figures and tables."""
    return str(name).replace("_", " ").replace("+", " then ")


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
