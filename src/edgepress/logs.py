"""What a job says goes to its log."""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

from edgepress import runs

_FAILED = "failed: "
_DONE = "done"


@contextlib.contextmanager
def job(path: str | Path, *plain: type[Exception]) -> Iterator[None]:
    """Send what is printed to the log at ``path``, and end the process with 1 where an error ends the job, or its run.

    The log closes with ``done``; or with a traceback, unless the error is one of the ``plain`` types whose message
    says it all, and one line, ``failed: …``, that the summary of the run quotes (``failure``).
    """
    runs.end_with_run()
    with (
        Path(path).open("w", encoding="utf-8", buffering=1) as log,
        contextlib.redirect_stdout(log),
        contextlib.redirect_stderr(log),
    ):
        try:
            yield
            print(_DONE)
        except Exception as error:
            kind = "" if isinstance(error, plain) else f"{type(error).__name__}: "
            if kind:
                traceback.print_exc()
            print(_FAILED + " ".join(f"{kind}{error}".split()))
            sys.exit(1)


def failure(path: str | Path) -> str:
    """Why the job that wrote the log at ``path`` failed, or that it was killed; '' where it ended or never began."""
    try:
        lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    if lines and lines[-1].startswith(_FAILED):
        return lines[-1].removeprefix(_FAILED)
    if lines and lines[-1] == _DONE:
        return ""
    return f"its process was killed, for want of memory perhaps, or stopped; {path} says how far it came"
