"""The result of one level on disk: ``<level>.safetensors``, its packed network, and ``<level>.json``, its rows.

A job keeps each level as soon as it has measured it, and makes only the levels that are not there yet. A config that
gains a method or a level therefore makes what is new and nothing else, and a job that was killed goes on after the
last level it finished.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgepress.files import write_atomically


class LevelFiles:
    """The levels of one method, in a ``folder`` of their own.

    ``made_from`` is everything that determines their rows: code, settings, and the checksums of the inputs. A level
    made from anything else counts as missing.
    """

    def __init__(self, folder: str | Path, made_from: Mapping[str, Any]) -> None:
        self.folder = Path(folder)
        self._made_from = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode("utf-8")).hexdigest()

    def missing(self, levels: Sequence[str], metered: bool = False) -> list[str]:
        """The ``levels`` still to be made; if ``metered``, one without its energy is missing, too."""
        return [
            level
            for level in levels
            if self._rows(level) is None
            or not self.packed(level).is_file()
            or (metered and not self.energy(level).is_file())
        ]

    def keep(self, level: str, packed: bytes, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write the packed network of a level, then its rows, which mark it as complete."""
        write_atomically(self.packed(level), packed)
        kept = {"made_from": self._made_from, "rows": rows}
        write_atomically(self._table(level), json.dumps(kept, indent=1) + "\n")

    def rows(self, levels: Sequence[str]) -> list[dict[str, Any]]:
        """The rows of ``levels``, in order. Raises FileNotFoundError if one is missing."""
        found = {level: self._rows(level) for level in levels}
        for level, rows in found.items():
            if rows is None:
                raise FileNotFoundError(f"{self._table(level)} does not exist, or was made from other inputs")
        return [row for rows in found.values() for row in rows or ()]

    def packed(self, level: str) -> Path:
        """The file of the packed network."""
        return self.folder / f"{level}.safetensors"

    def energy(self, level: str) -> Path:
        """The table of the energy that making the level took."""
        return self.folder / f"{level}_energy.csv"

    def _table(self, level: str) -> Path:
        return self.folder / f"{level}.json"

    def _rows(self, level: str) -> list[dict[str, Any]] | None:
        try:
            kept = json.loads(self._table(level).read_text(encoding="utf-8"))
            return list(kept["rows"]) if kept["made_from"] == self._made_from else None
        except (OSError, ValueError, TypeError, KeyError):
            return None
