"""Atomic writes, and lock files that show whether the process that created them is alive.

A process locks a file; the operating system releases the lock when the process ends, for whatever reason.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


class FileError(ValueError):
    """A file cannot be used. The message is one sentence that names the file and says what to do."""


def write_atomically(path: str | Path, content: bytes | str) -> None:
    """Write ``content`` to a temporary file in the same folder, then rename it, so that ``path`` is never incomplete.

    The next write to ``path`` removes temporary files of killed processes.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode("utf-8") if isinstance(content, str) else content
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        remove_abandoned(left)
    handle, temporary = hold_new(path.parent, f".{path.name}.", ".part")
    try:
        with os.fdopen(os.dup(handle), "wb") as file:
            file.write(data)
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(handle)


def walk(folder: Path, above: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """All files and folders in ``folder``. Follows links, except those that lead back to a folder ``above``."""
    above |= {folder.resolve()}
    for path in folder.iterdir():
        is_folder = path.is_dir()
        if not is_folder or path.resolve() not in above:
            yield path
            if is_folder:
                yield from walk(path, above)


def hold_new(folder: Path, prefix: str = "", suffix: str = "") -> tuple[int, Path]:
    """Create a new file in ``folder`` and lock it until the descriptor is closed or the process ends."""
    while True:
        handle, name = tempfile.mkstemp(dir=folder, prefix=prefix, suffix=suffix)
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        if Path(name).exists():  # no other process removed it as abandoned in between
            return handle, Path(name)
        os.close(handle)


def is_held(path: Path) -> bool:
    """Whether a live process holds ``path``; True if that is unknown."""
    try:
        with path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def remove_abandoned(path: Path) -> bool:
    """Remove ``path`` if no process holds it, and return whether it is gone. It is kept if that is unknown."""
    try:
        with path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
