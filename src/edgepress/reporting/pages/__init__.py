"""The pages of a report as templates, and what makes each whole in one file: style, scripts, plotly.js and images."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from PIL import Image

PLOTLY = "plotly-basic-4.1.1.min.js"  # as npm has it in plotly.js-basic-dist-min; its licence lies beside it
_FOLDER = Path(__file__).parent
_THUMBNAIL = (640, 360)  # pixels at most


def render(template: str, **values: Any) -> str:
    """A page from the template of that name, which needs no other file and fetches nothing."""
    loader = jinja2.FileSystemLoader(_FOLDER)
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.globals |= {"asset": _asset, "embedded": embedded, "plotly": PLOTLY}
    return environment.get_template(template).render(values)


def _asset(name: str) -> Markup:
    """The text of a style sheet or script, to stand within its element."""
    return Markup((_FOLDER / name).read_text(encoding="utf-8"))


def embedded(data: Any) -> Markup:
    """Data as JSON to stand within a script element, which no text in it can end."""
    return Markup(json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", r"\u003c"))


def thumbnail(path: str | Path) -> str:
    """An image, made small, as a URL that holds it."""
    with Image.open(path) as image:
        small = image.convert("RGB")
    small.thumbnail(_THUMBNAIL)
    file = io.BytesIO()
    small.save(file, "WEBP", quality=80)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
