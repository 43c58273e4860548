"""Notebooks to pages, and the page that leads to them."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import jinja2
import nbconvert
import nbformat
import pandas as pd
import papermill
from markupsafe import Markup, escape

from edgepress.files import write_atomically
from edgepress.metrics import from_csv
from edgepress.reporting import Notebook, findings, results, summary, tables


def execute(notebook: str | Path, executed: str | Path, page: str | Path, **parameters: str | Path | list[str]) -> None:
    """Run a notebook with those of ``parameters`` that it has; keep it as run, and as an HTML page without its code.

    Raises papermill's PapermillExecutionError where a cell fails; then neither file is written.
    """
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"  # the kernel of this environment, not one of the user's
    known = papermill.inspect_notebook(str(notebook))
    given = {name: value if isinstance(value, list) else str(value) for name, value in parameters.items()}
    given = {name: value for name, value in given.items() if name in known}
    node = papermill.execute_notebook(str(notebook), None, given, kernel_name="python3", progress_bar=False)
    node.metadata["title"] = node.metadata["edgepress"]["title"]
    body, _ = nbconvert.HTMLExporter(exclude_input=True, exclude_output_prompt=True).from_notebook_node(node)
    write_atomically(executed, nbformat.writes(node))
    write_atomically(page, body)


def index(notebooks: Mapping[Notebook, Mapping[str, Sequence[str]]], run_folder: str | Path, page: str | Path) -> None:
    """Write the page that leads to the pages of notebooks, each with the data sets that it shows and what they offer,
    with what the run found in words.
    """
    run_folder = Path(run_folder)
    rows = from_csv(run_folder / "metrics.csv")
    measured = results.load(run_folder / "metrics.csv")
    loader = jinja2.PackageLoader("edgepress.reporting", ".")
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    text = environment.get_template("index.html.j2").render(
        manifest=json.loads((run_folder / "manifest.json").read_text(encoding="utf-8")),
        rows=len(rows),
        statuses=Counter(row["status"] for row in rows),
        methods=measured.method.nunique() - 1,
        findings=[_emphasis(sentence) for sentence in summary.sentences(measured)],
        smallest=tables.readable(tables.smallest_within_one_percent(measured)),
        decided=tables.glance(pd.read_csv(run_folder / "tables/decide.csv")),
        notebooks=[
            (replace(notebook, tables=notebook.table_names(shown)), notebook.figure_names(shown))
            for notebook, shown in notebooks.items()
        ],
        claims=findings.all_findings(measured),
    )
    write_atomically(page, text)


def _emphasis(markdown: str) -> Markup:
    """Text with **bold** parts as HTML; everything else is escaped."""
    parts = markdown.split("**")
    return Markup("").join(Markup("<b>{}</b>").format(p) if i % 2 else escape(p) for i, p in enumerate(parts))
