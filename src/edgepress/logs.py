"""Logs of jobs."""

from __future__ import annotations

import contextlib
import re
import resource
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

from edgepress import runs

_FAILED = "failed: "
_DONE = "done"
_TOOK = re.compile(r"took (\S+) s of CPU and (\S+) MB of memory at most")
_STOPPED = "slurmstepd: error: "  # in SLURM's log of a job that was cancelled or exceeded its limits


@contextlib.contextmanager
def job(path: str | Path, *plain: type[Exception]) -> Iterator[None]:
    """Redirect output to the log at ``path``. Exit with code 1 if the job raises, or if its run ends.

    The log ends with the job's cost (``taken``) and ``done``, or with ``failed: …``, which the summary of the run
    quotes. A traceback precedes that line, unless the error is one of the ``plain`` types, whose message is enough.
    """
    runs.end_with_run()
    with (
        Path(path).open("w", encoding="utf-8", buffering=1) as log,
        contextlib.redirect_stdout(log),
        contextlib.redirect_stderr(log),
    ):
        try:
            yield
            print(_usage())
            print(_DONE)
        except Exception as error:
            kind = "" if isinstance(error, plain) else f"{type(error).__name__}: "
            if kind:
                traceback.print_exc()
            print(f"{_FAILED}{kind}{one_line(error)}")
            sys.exit(1)


def _usage() -> str:
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    seconds = sum(usage.ru_utime + usage.ru_stime for usage in (own, children))
    in_a_megabyte = 2**20 if sys.platform == "darwin" else 2**10
    megabytes = max(own.ru_maxrss, children.ru_maxrss) / in_a_megabyte
    return f"took {seconds:.2f} s of CPU and {megabytes:.0f} MB of memory at most"


def taken(path: str | Path) -> tuple[str, str]:
    """CPU seconds and peak memory in MB of the job that wrote the log at ``path``, ('', '') if it did not finish.

    Snakemake's benchmark cannot measure them: jobs on one machine are forks of a process that it does not watch.
    """
    found = [_TOOK.fullmatch(line) for line in (_lines(path) or [])[-2:-1]]
    return (found[0][1], found[0][2]) if found and found[0] else ("", "")


def one_line(error: BaseException) -> str:
    """The first paragraph of an error's message in one line. Torch appends graphs, tracebacks and advice."""
    first = str(error).strip().split("\n\n")[0].split("While executing ")[0]
    return " ".join(first.split()) or type(error).__name__


def failure(path: str | Path) -> str:
    """Why the job that wrote the log at ``path`` failed or was killed; '' if it finished or never started."""
    lines = _lines(path)
    if lines is None:
        return ""
    if lines and lines[-1].startswith(_FAILED):
        return lines[-1].removeprefix(_FAILED)
    if lines and lines[-1] == _DONE:
        return ""
    return f"its process was killed, perhaps out of memory, or stopped; see {path}"


def failures(folder: str | Path, since: float, most: int = 10) -> str:
    """The logs under ``folder`` of jobs that failed or that SLURM stopped, with their last lines, as one text.

    Ignores logs last written before ``since``, in seconds since the epoch, which belong to earlier runs. Shows ``most``
    logs and counts the rest.
    """
    recent = sorted(path for path in Path(folder).rglob("*.log") if path.stat().st_mtime >= since)
    ends = {path: end for path in recent if (end := _end(_lines(path) or []))}
    shown = [f"{path}:\n" + "\n".join(f"    {line}" for line in end) for path, end in list(ends.items())[:most]]
    more = [f"… and {len(ends) - most} more"] if len(ends) > most else []
    return "\n".join([*shown, *more])


def _end(lines: list[str]) -> list[str]:
    """The last lines of the log of a failed job; empty for others."""
    if lines and lines[-1].startswith(_FAILED):
        return lines[-4:]
    return [line for line in lines if line.startswith(_STOPPED)][-1:]


def _lines(path: str | Path) -> list[str] | None:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
