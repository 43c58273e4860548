"""Figures, tables and pages from metrics.csv. This module is light; the others import pandas and seaborn."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Notebook:
    """A report notebook and its outputs, as declared in its metadata (key ``edgepress``).

    Each name in ``figures`` becomes a PDF and a PNG, one per data set if it contains ``{dataset}``. Each of ``tables``
    becomes CSV, Markdown and LaTeX. The notebook shows data sets that offer any of ``needs``: families, sweeps and
    costs (see ``CellConfig.offers``). ``only_with`` is a further requirement of a figure or table. ``reads`` are the
    tables of costs that it reads if the run has them.
    """

    name: str
    path: str
    title: str
    about: str
    order: int
    figures: tuple[str, ...]
    tables: tuple[str, ...]
    of: str = "run"  # the kind of results that it shows: `run`, `replication`, or neither in the tutorial
    needs: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    only_with: Mapping[str, str] = field(default_factory=dict, compare=False)

    def shown(self, offers: Mapping[str, Collection[str]]) -> dict[str, list[str]]:
        """The data sets that it can show, and what each offers, given what all data sets offer."""
        return {name: sorted(offer) for name, offer in offers.items() if not self.needs or set(self.needs) & set(offer)}

    def figure_names(self, shown: Mapping[str, Collection[str]]) -> list[str]:
        """The names of its figures, without extension, for the data sets that it shows."""
        names = {
            name.format(dataset=dataset): None
            for dataset, offer in shown.items()
            for name in self.figures
            if self.only_with.get(name) in (None, *offer)
        }
        return list(names)

    def table_names(self, shown: Mapping[str, Collection[str]]) -> list[str]:
        """The names of its tables, without extension, for the data sets that it shows."""
        offered = set().union(*shown.values())
        return [name for name in self.tables if self.only_with.get(name) in (None, *offered)]

    def files(self, shown: Mapping[str, Collection[str]]) -> list[str]:
        """Its output files, relative to the folder of the run, for the data sets that it shows."""
        figures = [f"figures/{name}.{end}" for name in self.figure_names(shown) for end in ("png", "pdf")]
        tables = [f"tables/{name}.{end}" for name in self.table_names(shown) for end in ("csv", "md", "tex")]
        return [f"report/{self.name}.html", *figures, *tables]


def declared(path: str | Path) -> Notebook:
    """The report notebook at ``path``. Raises KeyError if its metadata lacks ``edgepress``."""
    path = Path(path)
    about = json.loads(path.read_text(encoding="utf-8"))["metadata"]["edgepress"]
    lists = {name: tuple(about.get(name, ())) for name in ("figures", "tables", "needs", "reads")}
    return Notebook(**{**about, **lists}, name=path.stem, path=str(path))


def notebooks(folder: str | Path, of: str = "run") -> list[Notebook]:
    """The report notebooks in ``folder`` about one kind of results, in reading order."""
    found = (declared(path) for path in Path(folder).glob("*.ipynb"))
    return sorted((notebook for notebook in found if notebook.of == of), key=lambda notebook: notebook.order)
