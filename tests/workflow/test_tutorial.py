"""The tutorial runs from start to end, with and without its data."""

import os
from pathlib import Path

import nbformat
import papermill
import pytest

from edgepress import sources
from edgepress.reporting import declared, notebooks

TUTORIAL = Path(__file__).parents[2] / "notebooks" / "tutorial.ipynb"
CELLS = nbformat.read(TUTORIAL, 4).cells
CODE = [cell for cell in CELLS if cell.cell_type == "code"]


def test_every_cell_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "1")
    monkeypatch.setenv(sources.MIRROR_VARIABLE, os.environ.get(sources.MIRROR_VARIABLE, "../../shared/datasets"))
    here = {"kernel_name": "python3", "cwd": str(TUTORIAL.parent), "progress_bar": False}
    executed = papermill.execute_notebook(str(TUTORIAL), None, {"raw": str(tmp_path)}, **here)
    outputs = [output for cell in executed.cells for output in cell.get("outputs", ())]
    assert not [output.text for output in outputs if output.get("name") == "stderr"]
    drawing = [cell for cell in CODE if "plt.subplots" in cell.source or ".plot(" in cell.source]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == len(drawing) + 1  # the last is pareto


def test_without_a_network_it_goes_on_with_data_that_are_embedded(tmp_path, monkeypatch, capsys):
    def nowhere(*_):
        raise sources.FetchError("it cannot be reached")

    monkeypatch.setattr(sources, "fetch", nowhere)
    names = {}
    for cell in CODE[:3]:
        exec(cell.source, names)
    assert names["data"].name == "breast_cancer"
    assert "it cannot be reached" in capsys.readouterr().out


def test_no_report_takes_it_for_one_of_its_own():
    assert declared(TUTORIAL).of == "tutorial"
    for of in ("run", "replication"):
        assert "tutorial" not in [notebook.name for notebook in notebooks(TUTORIAL.parent, of)]


@pytest.mark.parametrize("cell", CODE, ids=[cell.id for cell in CODE])
def test_it_is_kept_without_outputs(cell):
    assert not cell.outputs and cell.execution_count is None
