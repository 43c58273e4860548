"""The first page of a report: findings in words, explorer, tables, and links."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from markupsafe import Markup, escape
from pandas.api.types import is_numeric_dtype

from edgepress.files import write_atomically
from edgepress.metrics import from_csv
from edgepress.reporting import Notebook, costs, explorer, findings, pages, results, summary, tables

# The tables of the page: title → function of the rows of metrics.
TABLES: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    tables.SMALLEST: tables.smallest_within_one_percent,
    "Best method at each precision": tables.best_at_each_precision,
    "Full precision": tables.full_precision,
}
_MADE_BY_NOTEBOOKS = {
    "decide": "Best method within a budget",
    "devices_fit": "Best method that fits a microcontroller",
}
_DATA = ("metrics.csv", "timings.csv", "latency.csv", "hardware.csv", "devices.csv", "energy.csv", "recipes.csv")


def write(notebooks: Mapping[Notebook, Mapping[str, Sequence[str]]], run_folder: str | Path, page: str | Path) -> None:
    """Write the page with links to ``notebooks``, each with the data sets that it shows and what these offer."""
    run_folder = Path(run_folder)
    rows = from_csv(run_folder / "metrics.csv")
    measured = results.load(run_folder / "metrics.csv")
    manifest = json.loads((run_folder / "manifest.json").read_text(encoding="utf-8"))
    text = pages.render(
        "index.html.j2",
        manifest=manifest,
        config=yaml.safe_dump(manifest["config"], sort_keys=False, default_flow_style=None, width=100),
        rows=len(rows),
        statuses=Counter(row["status"] for row in rows),
        data=[name for name in _DATA if (run_folder / name).exists()],
        methods=measured.method.nunique() - 1,
        smallest=tables.SMALLEST,
        tolerated=results.TOLERATED,
        works=results.WORKS,
        findings=[_emphasis(sentence) for sentence in (*summary.sentences(measured), *_saturation(run_folder))],
        notes=[_emphasis(sentence) for sentence in summary.notes(rows)],
        claims=findings.all_findings(measured),
        explorer=explorer.data(measured, run_folder),
        tables=[_table(title, table) for title, table in _tables(measured, run_folder)],
        notebooks=[_card(notebook, shown, run_folder) for notebook, shown in notebooks.items()],
    )
    write_atomically(page, text)


def _saturation(run_folder: Path) -> Iterator[str]:
    """Sentences on saturation of the CPU that timed the run."""
    path = run_folder / "latency.csv"
    yield from costs.saturation(results.read_table(path)) if path.exists() else ()


def _tables(metrics: pd.DataFrame, run_folder: Path) -> Iterator[tuple[str, pd.DataFrame]]:
    """The tables of the page by title; those on budgets and microcontrollers come from their notebooks."""
    for name, title in _MADE_BY_NOTEBOOKS.items():
        path = run_folder / f"tables/{name}.csv"
        if path.exists():
            yield title, pd.read_csv(path, keep_default_na=False, na_values=[""])
    yield from ((title, make(metrics)) for title, make in TABLES.items())


def _table(title: str, table: pd.DataFrame) -> dict[str, Any]:
    """A formatted table with the number behind each text, for sorting."""
    shown = tables.readable(table)
    numbers = table.rename(columns=tables.heading)
    numbers = numbers[[name for name in numbers if is_numeric_dtype(numbers[name])]].astype(object)
    numbers = numbers.where(numbers.notna(), None)
    cells = [zip(shown[name], numbers.get(name, [None] * len(shown)), strict=True) for name in shown]
    return {
        "title": title,
        "name": title.lower().replace(" ", "-"),
        "columns": list(shown.columns),
        "rows": list(zip(*cells, strict=True)),
    }


def _card(notebook: Notebook, shown: Mapping[str, Sequence[str]], run_folder: Path) -> dict[str, Any]:
    figures = notebook.figure_names(shown)
    image = run_folder / f"figures/{figures[0]}.png" if figures else None
    return {
        "name": notebook.name,
        "title": notebook.title,
        "about": notebook.about,
        "figures": figures,
        "tables": notebook.table_names(shown),
        "image": pages.thumbnail(image) if image else None,
    }


def _emphasis(markdown: str) -> Markup:
    """Text with **bold** parts as HTML; everything else is escaped."""
    parts = markdown.split("**")
    return Markup("").join(Markup("<b>{}</b>").format(p) if i % 2 else escape(p) for i, p in enumerate(parts))
