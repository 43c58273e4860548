"""Reads text tables; an invalid one is reported in one sentence."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgepress.datasets import AGAIN, DataError, read_bytes


@dataclass(frozen=True)
class Table:
    """The fields of a file as text: column → array of shape (rows,). ``cure`` says what to do about an invalid one."""

    file: Path
    fields: dict[str, np.ndarray]
    cure: str = AGAIN

    def numbers(self, *columns: str) -> np.ndarray:
        """These columns as float64 of shape (rows, columns). Raises DataError if a field is not a finite number."""
        return np.stack([self._number(column) for column in columns], axis=1)

    def codes(self, column: str, labels: Sequence[str]) -> np.ndarray:
        """The index in ``labels`` of each field of a column, int64 of shape (rows,)."""
        text = self.fields[column]
        codes = np.full(len(text), -1)
        for code, label in enumerate(labels):
            codes[text == label] = code
        if (codes < 0).any():
            raise self.wrong(column, int(np.argmax(codes < 0)), f"not one of {', '.join(labels)}")
        return codes

    def is_numeric(self, column: str) -> bool:
        """Whether every field of a column is a number, finite or not."""
        return not np.isnan([to_float(text) for text in self.fields[column]]).any()

    def wrong(self, column: str, row: int, what: str, cure: str = "") -> DataError:
        """The error for the field in row ``row``."""
        text = str(self.fields[column][row])[:40]
        return DataError(f"{self.file}: {column} of row {row + 1} is {text!r}, {what}; {cure or self.cure}")

    def _number(self, column: str) -> np.ndarray:
        values = np.array([to_float(text) for text in self.fields[column]])
        if not np.isfinite(values).all():
            raise self.wrong(column, int(np.argmin(np.isfinite(values))), "not a number")
        return values


def to_float(text: str) -> float:
    """A field as a number, NaN if it is not one. Python would read ``1_300``, perhaps an identifier, as 1300."""
    try:
        return np.nan if "_" in text else float(text)
    except ValueError:
        return np.nan


def read_csv(file: Path, columns: Sequence[str], header: bool = True) -> Table:
    """Read a comma-separated file. Its first line names the columns unless ``header`` is false."""
    lines = _lines(file)
    if header:
        _same_columns(file, lines[:1] and [name.strip() for name in lines[0].split(",")], columns)
        lines = lines[1:]
    return _table(file, lines, columns)


def read_keel(file: Path, columns: Sequence[str]) -> Table:
    """Read a file of the KEEL repository. Lines that begin with @ describe it, including its attributes."""
    lines = _lines(file)
    attributes = [" ".join(line.split()[1:2]) for line in lines if line.lower().startswith("@attribute ")]
    _same_columns(file, attributes, columns)
    return _table(file, [line for line in lines if not line.startswith("@")], columns)


def _lines(file: Path) -> list[str]:
    try:
        text = read_bytes(file).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{file} is not text; {AGAIN}") from None
    return [line for line in text.splitlines() if line.strip()]


def _same_columns(file: Path, found: Sequence[str], expected: Sequence[str]) -> None:
    if list(found) != list(expected):
        names = ", ".join(found)[:200] or "none"
        raise DataError(f"{file}: its columns are {names} but must be {', '.join(expected)}; {AGAIN}")


def _table(file: Path, lines: list[str], columns: Sequence[str]) -> Table:
    try:
        rows = [[field.strip() for field in row] for row in csv.reader(lines)]
    except csv.Error as error:
        raise DataError(f"{file} is not a table ({error}); {AGAIN}") from None
    if not rows:
        raise DataError(f"{file} has no rows; {AGAIN}")
    for number, row in enumerate(rows, 1):
        if len(row) != len(columns):
            raise DataError(f"{file}: row {number} has {len(row)} fields but must have {len(columns)}; {AGAIN}")
    return Table(file, dict(zip(columns, np.array(rows).T, strict=True)))
