"""The runs at work in a folder, told from those that were killed: each holds a file for as long as it lives."""

from __future__ import annotations

import os
import platform
import threading
import time
from pathlib import Path

from edgepress.files import hold_new, is_held, remove_abandoned

# Of a job's environment. glibc gives freed activations back to the system, and the next batch finds its memory page by
# page: that is up to half the time of an evaluation. So jobs keep what they have freed.
KEEP_MEMORY = dict.fromkeys(("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"), str(2**30))
_VARIABLE = "EDGEPRESS_RUN"  # the machine and the file of the run that a job belongs to


def begin(folder: str | Path) -> bool:
    """Note in ``folder`` that this process is a run, and return whether it is the only one that lives.

    Where that cannot be known, on a file system without locks, it never is.
    """
    folder = Path(folder).absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        own = hold_new(folder)[1]  # until the process ends
        others = [path for path in folder.iterdir() if path != own and not remove_abandoned(path)]
    except OSError:
        return False
    os.environ[_VARIABLE] = f"{platform.node()}:{own}"
    return not others


def end_with_run() -> None:
    """End this process, a job, within a second of the run that began it, if both are on one machine.

    A job whose run was killed would go on, and write over what the next run has made.
    """
    machine, _, path = os.environ.get(_VARIABLE, "").partition(":")
    if path and machine == platform.node():
        threading.Thread(target=_end_with, args=(Path(path),), daemon=True).start()


def _end_with(run: Path) -> None:
    while is_held(run):
        time.sleep(0.5)
    os._exit(1)
