"""Notebooks to pages."""

from __future__ import annotations

import os
from pathlib import Path

import nbconvert
import nbformat
import papermill
from jupyter_client.manager import AsyncKernelManager

from edgepress.files import write_atomically

_IMPORTED = "edgepress.reporting.figures,edgepress.reporting.tables,ipykernel.kernelapp"  # by kernels of notebooks


class _Kernels(AsyncKernelManager):
    """Starts kernels as forks of a process that has imported what the figures need, if there is one.

    They are spoken to through sockets that no other user can reach, and not through ports.
    """

    transport = "ipc"

    def format_kernel_cmd(self, extra_arguments: list[str] | None = None) -> list[str]:
        python, option, *module = super().format_kernel_cmd(extra_arguments)
        assert option == "-m"  # as ipykernel's own kernel specification has it
        # Without a parent it would take itself for one that was started by hand, and say how to connect to it.
        return [python, option, "edgepress.warm", _IMPORTED, *module, f"--IPKernelApp.parent_handle={os.getpid()}"]


def execute(notebook: str | Path, executed: str | Path, page: str | Path, **parameters: str | Path | list[str]) -> None:
    """Run a notebook with those of ``parameters`` that it has; keep it as run, and as an HTML page without its code.

    Raises papermill's PapermillExecutionError where a cell fails; then neither file is written.
    """
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"  # the kernel of this environment, not one of the user's
    known = papermill.inspect_notebook(str(notebook))
    given = {name: value if isinstance(value, list) else str(value) for name, value in parameters.items()}
    given = {name: value for name, value in given.items() if name in known}
    options = {"kernel_name": "python3", "kernel_manager_class": _Kernels, "progress_bar": False}
    node = papermill.execute_notebook(str(notebook), None, given, **options)
    node.metadata["title"] = node.metadata["edgepress"]["title"]
    body, _ = nbconvert.HTMLExporter(exclude_input=True, exclude_output_prompt=True).from_notebook_node(node)
    write_atomically(executed, nbformat.writes(node))
    write_atomically(page, body)
