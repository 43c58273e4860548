"""From metrics.csv to figures, tables and pages. This module is light; the others import pandas and seaborn."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Notebook:
    """A report notebook and what it makes, as its own metadata (key ``edgepress``) declares.

    ``figures`` are names with ``{dataset}`` in them; each becomes a PDF and a PNG a data set. Each of ``tables``
    becomes CSV, Markdown and LaTeX.
    """

    name: str
    path: str
    title: str
    about: str
    order: int
    figures: tuple[str, ...]
    tables: tuple[str, ...]
    of: str = "run"  # the kind of results that it shows: those of a run, or of the replication
    sweep: str | None = None  # the sweep, bits or sparsity, without which it has nothing to show

    def figure_names(self, datasets: Iterable[str]) -> list[str]:
        """The names of its figures, without ending, for these data sets."""
        return [name.format(dataset=dataset) for dataset in datasets for name in self.figures]

    def files(self, datasets: Iterable[str]) -> list[str]:
        """What it makes, within the folder of the run."""
        figures = [f"figures/{name}.{end}" for name in self.figure_names(datasets) for end in ("png", "pdf")]
        tables = [f"tables/{name}.{end}" for name in self.tables for end in ("csv", "md", "tex")]
        return [f"report/{self.name}.html", *figures, *tables]


def declared(path: str | Path) -> Notebook:
    """The report notebook at ``path``. Raises KeyError where its metadata has no ``edgepress``."""
    path = Path(path)
    about = json.loads(path.read_text(encoding="utf-8"))["metadata"]["edgepress"]
    lists = {name: tuple(about[name]) for name in ("figures", "tables")}
    return Notebook(**{**about, **lists}, name=path.stem, path=str(path))


def notebooks(folder: str | Path, of: str = "run") -> list[Notebook]:
    """The report notebooks in ``folder`` about one kind of results, in reading order."""
    found = (declared(path) for path in Path(folder).glob("*.ipynb"))
    return sorted((notebook for notebook in found if notebook.of == of), key=lambda notebook: notebook.order)
