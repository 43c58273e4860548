"""The user's own tables: a CSV file, one column of which is to be predicted."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgepress.datasets import MEND, DataError, Prepared, divide, scale
from edgepress.datasets._scaling import scaler
from edgepress.datasets._tables import Table

EMPTY = ("", "?", "na", "n/a", "nan", "null", "none")  # fields without a value, in lower case
MOST_VALUES = 50  # of a column of text: one of names or identifiers has more, and would become as many inputs


def prepare(
    raw: Path,
    split_seed: int,
    *,
    name: str,
    file: str,
    target: str,
    task: str,
    ignore: Sequence[str] = (),
    separator: str = ",",
    missing: str = "error",
    val: float | None = None,
    test: float | None = None,
    scaling: str = "standard",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Prepared:
    """Columns of numbers, scaled, then each column of text as one column of 0 and 1 for every value in train.

    Classes are the sorted values of the target. Raises DataError where the file does not hold what is asked for.
    """
    table = _read(Path(file), separator)
    for column in (target, *ignore):
        if column not in table.fields:
            raise DataError(f"{file} has no column '{column}'; it has {', '.join(table.fields)}")
    used = {column: values for column, values in table.fields.items() if column not in ignore}
    table = _without_gaps(replace(table, fields=used), missing)
    targets = table.numbers(target)[:, 0].astype(np.float32) if task == "regression" else _classes(table, target)
    rows = len(targets)
    parts = divide(rows, split_seed, val or 0.2, test or 0.2)
    if not all(map(len, parts.values())):
        raise DataError(f"{file} has {rows} rows, too few to divide into train, val and test")
    columns = [column for column in table.fields if column != target]
    numbers = [column for column in columns if table.is_numeric(column)]
    inputs = [table.numbers(*numbers)] if numbers else []
    inputs += _one_hot(table, [column for column in columns if column not in numbers], parts["train"])
    if not inputs:
        raise DataError(f"{file} has no column but '{target}' and what is ignored")
    fit = scaler(scaling, mean, std, axis=0)

    def fit_numbers(train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        shift, width = np.zeros(train.shape[1]), np.ones(train.shape[1])
        if numbers:
            shift[: len(numbers)], width[: len(numbers)] = fit(train[:, : len(numbers)])
        return shift, width

    return scale(name, np.concatenate(inputs, axis=1), targets, parts, fit_numbers, cure=MEND)


def _read(file: Path, separator: str) -> Table:
    try:
        with file.open(newline="", encoding="utf-8-sig") as text:
            lines = [[field.strip() for field in row] for row in csv.reader(text, delimiter=separator) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file} cannot be read as a table of text: {error}") from None
    columns, rows = (lines[0], lines[1:]) if lines else ([], [])
    if not rows:
        raise DataError(f"{file} has no rows below its header")
    if "" in columns:
        raise DataError(f"{file}: column {columns.index('') + 1} has no name in the header; name it, so that it can be "
                        f"told apart, or take it out")  # fmt: skip
    if len(set(columns)) < len(columns):
        raise DataError(f"{file}: its header names a column twice: {', '.join(columns)}")
    for number, row in enumerate(rows, 1):
        if len(row) != len(columns):
            raise DataError(f"{file}: row {number} has {len(row)} fields but the header {len(columns)}; is `separator` "
                            f"{separator!r} right?")  # fmt: skip
    fields = zip(columns, zip(*rows, strict=True), strict=True)
    return Table(file, {column: np.array(values) for column, values in fields}, cure=MEND)


def _without_gaps(table: Table, missing: str) -> Table:
    gaps = {column: np.isin(np.char.lower(values), EMPTY) for column, values in table.fields.items()}
    rows = np.any(list(gaps.values()), axis=0)
    if missing == "error" and rows.any():
        where = ", ".join(f"{column} in {int(gap.sum()):,}" for column, gap in gaps.items() if gap.any())
        raise DataError(f"{table.file}: {int(rows.sum()):,} of {len(rows):,} rows have empty fields, row "
                        f"{int(np.argmax(rows)) + 1} is the first ({where}); fill them in, leave these rows out by "
                        f"`missing: drop`, or the columns by `ignore`")  # fmt: skip
    if rows.all():
        raise DataError(f"{table.file} has no row without an empty field")
    return replace(table, fields={column: values[~rows] for column, values in table.fields.items()})


def _classes(table: Table, target: str) -> np.ndarray:
    values = np.unique(table.fields[target])
    if len(values) < 2:
        raise DataError(f"{table.file}: {target} is {str(values[0])!r} in every row, so there is nothing to tell apart")
    if len(values) > len(table.fields[target]) / 2:
        raise DataError(f"{table.file}: {target} has {len(values):,} values in {len(table.fields[target]):,} rows; to "
                        f"predict a number, say `task: regression`")  # fmt: skip
    if table.is_numeric(target):
        values = np.array(sorted(values, key=float))
    return table.codes(target, list(values))


def _one_hot(table: Table, columns: Sequence[str], train: np.ndarray) -> list[np.ndarray]:
    """Of each column of text, one of 0 and 1 for every value in ``train``: shape (rows, values)."""
    values = {column: np.unique(table.fields[column][train]) for column in columns}
    many = [f"{column} ({len(found):,} values)" for column, found in values.items() if len(found) > MOST_VALUES]
    if many:
        raise DataError(f"{table.file} has text with more than {MOST_VALUES} values in {', '.join(many)}; make numbers "
                        f"of it, or name it under `ignore`")  # fmt: skip
    return [(table.fields[column][:, None] == found).astype(np.float64) for column, found in values.items()]
