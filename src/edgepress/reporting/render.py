"""Executes notebooks and renders them as pages."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import nbconvert
import nbformat
import papermill
from jupyter_client.manager import AsyncKernelManager

from edgepress.files import write_atomically

_IMPORTED = "edgepress.reporting.figures,edgepress.reporting.tables,ipykernel.kernelapp"  # by kernels of notebooks


class _Kernels(AsyncKernelManager):
    """Starts kernels as forks of a process that has already imported the modules of the figures, if there is one.

    Kernels communicate through sockets in a private folder instead of ports, so that no other user can reach them.
    """

    transport = "ipc"

    def __init__(self, **options: Any) -> None:
        # Sockets are named after this file. Without it they are in the working directory, where two kernels that start
        # at once would use the same names.
        self._folder = tempfile.mkdtemp(prefix="edgepress")
        super().__init__(connection_file=f"{self._folder}/kernel.json", **options)

    def cleanup_ipc_files(self) -> None:
        super().cleanup_ipc_files()
        shutil.rmtree(self._folder, ignore_errors=True)


def execute(notebook: str | Path, executed: str | Path, page: str | Path, **parameters: str | Path | list[str]) -> None:
    """Run a notebook with those of ``parameters`` that it has. Write the executed notebook, and an HTML page without
    code.

    Raises papermill's PapermillExecutionError if a cell fails; then neither file is written.
    """
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"  # use the kernel of this environment, not one of the user's
    known = papermill.inspect_notebook(str(notebook))
    given = {name: value if isinstance(value, list) else str(value) for name, value in parameters.items()}
    given = {name: value for name, value in given.items() if name in known}
    options = {"kernel_name": "python3", "kernel_manager_class": _Kernels, "progress_bar": False}
    node = papermill.execute_notebook(str(notebook), None, given, **options)
    node.metadata["title"] = node.metadata["edgepress"]["title"]
    body, _ = nbconvert.HTMLExporter(exclude_input=True, exclude_output_prompt=True).from_notebook_node(node)
    write_atomically(executed, nbformat.writes(node))
    write_atomically(page, body)
