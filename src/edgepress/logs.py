"""What a job says goes to its log."""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def job(path: str | Path) -> Iterator[None]:
    """Send what is printed, and a traceback where it ends in one, to the log at ``path``.

    The last line of the log of a failed job is its error; the run's summary quotes it.
    """
    with (
        Path(path).open("w", encoding="utf-8", buffering=1) as log,
        contextlib.redirect_stdout(log),
        contextlib.redirect_stderr(log),
    ):
        try:
            yield
        except Exception:
            traceback.print_exc(file=log)
            sys.exit(1)


def last_line(path: str | Path) -> str:
    """The last line of a log that says something, or '' where there is none."""
    try:
        lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
