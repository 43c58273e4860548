"""Detects whether another run is active in this folder.

Each run locks a file; the operating system releases the lock when the process dies.
"""

from __future__ import annotations

import os
import platform
import threading
import time
from pathlib import Path

from edgepress.files import hold_new, is_held, remove_abandoned

# Environment variables of jobs. By default glibc returns freed activations to the system, and page faults of the next
# batch take up to half the time of an evaluation. These settings keep freed memory.
KEEP_MEMORY = dict.fromkeys(("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"), str(2**30))
_VARIABLE = "EDGEPRESS_RUN"  # machine and lock file of the run that started a job


def begin(folder: str | Path) -> bool:
    """Register this process as a run in ``folder``, and return whether it is the only active one.

    Returns False on a file system without locks, where that is unknown.
    """
    folder = Path(folder).absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        own = hold_new(folder)[1]  # locked until the process ends
        others = [path for path in folder.iterdir() if path != own and not remove_abandoned(path)]
    except OSError:
        return False
    os.environ[_VARIABLE] = f"{platform.node()}:{own}"
    return not others


def end_with_run() -> None:
    """End this job within a second of the end of its run, if both are on one machine.

    Otherwise a job whose run was killed would continue and overwrite results of the next run.
    """
    machine, _, path = os.environ.get(_VARIABLE, "").partition(":")
    if path and machine == platform.node():
        threading.Thread(target=_end_with, args=(Path(path),), daemon=True).start()


def _end_with(run: Path) -> None:
    while is_held(run):
        time.sleep(0.5)
    os._exit(1)
