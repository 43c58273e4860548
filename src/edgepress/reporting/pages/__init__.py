"""Templates of the report's pages, rendered as self-contained files with style, scripts, plotly.js and images."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from PIL import Image

PLOTLY = "plotly-basic-4.1.1.min.js"  # from plotly.js-basic-dist-min of npm; its licence is in this folder
_FOLDER = Path(__file__).parent
_THUMBNAIL = (640, 360)  # maximum pixels


def render(template: str, **values: Any) -> str:
    """Render a template as a self-contained page that loads nothing."""
    loader = jinja2.FileSystemLoader(_FOLDER)
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.globals |= {"asset": _asset, "embedded": embedded, "plotly": PLOTLY}
    return environment.get_template(template).render(values)


def _asset(name: str) -> Markup:
    """The text of a style sheet or script, to embed in its element."""
    return Markup((_FOLDER / name).read_text(encoding="utf-8"))


def embedded(data: Any) -> Markup:
    """Data as JSON to embed in a script element, escaped so that no text can close it."""
    return Markup(json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", r"\u003c"))


def thumbnail(path: str | Path) -> str:
    """A small version of an image as a data URL."""
    with Image.open(path) as image:
        small = image.convert("RGB")
    small.thumbnail(_THUMBNAIL)
    file = io.BytesIO()
    small.save(file, "WEBP", quality=80)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
