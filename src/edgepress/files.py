"""Files that are either complete or absent, and the error of those that are no use."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


class FileError(ValueError):
    """A file that cannot be used; the message is one sentence that names the file and says what to do."""


def write_atomically(path: str | Path, content: bytes | str) -> None:
    """Write ``content`` under a temporary name beside ``path``, then rename; a kill leaves no half file."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode("utf-8") if isinstance(content, str) else content
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
