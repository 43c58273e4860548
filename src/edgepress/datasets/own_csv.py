"""The user's own tables: a CSV file with a target column."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgepress.datasets import MEND, DataError, Prepared, _fields, divide, scale
from edgepress.datasets._classes import check_splits, divide_by_class, say_numbers
from edgepress.datasets._scaling import first, in_float32, say_odd_columns, scaler
from edgepress.datasets._tables import Table

SEPARATORS = ",;|\t"


def prepare(
    raw: Path,
    split_seed: int,
    *,
    name: str,
    file: str,
    target: str,
    task: str,
    ignore: Sequence[str] = (),
    categories: Sequence[str] = (),
    separator: str | None = None,
    decimal: str | None = None,
    missing: str = "error",
    val: float | None = None,
    test: float | None = None,
    scaling: str = "standard",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Prepared:
    """Scaled numeric columns, then text columns one-hot encoded by the values in train.

    Classes are the sorted values of the target. Raises DataError if the file does not fit the options.
    """
    table = _read(Path(file), separator, target)
    for column in (target, *ignore, *categories):
        if column not in table.fields:
            raise DataError(f"{file} has no column '{column}'; it has {', '.join(table.fields)}")
    used = {column: values for column, values in table.fields.items() if column not in ignore}
    text = [*categories, target] if task == "classification" else categories
    table = _fields.with_decimal_mark(replace(table, fields=used), decimal, text)
    table = _fields.without_gaps(table, missing, text)
    targets, parts = _targets_and_splits(table, target, task, split_seed, val or 0.2, test or 0.2)
    columns = [column for column in table.fields if column != target]
    numbers = [column for column in columns if column not in categories and table.is_numeric(column)]
    for column in columns:
        if column not in (*numbers, *categories):
            _fields.refuse_doubtful_numbers(table, column, "name the column under `categories` if they are text")
    inputs = [table.numbers(*numbers)] if numbers else []
    inputs += _fields.one_hot(table, [column for column in columns if column not in numbers], parts["train"])
    if not inputs:
        raise DataError(f"{file} has no columns except '{target}' and ignored ones")
    fit = first(len(numbers), scaler(scaling, mean, std, axis=0))
    data = scale(name, np.concatenate(inputs, axis=1), targets, parts, fit, cure=MEND)
    if numbers:
        _fields.say_long_numbers(table, numbers, inputs[0])
        say_odd_columns(file, numbers, inputs[0], data)
    return data


def _targets_and_splits(
    table: Table, target: str, task: str, split_seed: int, val: float, test: float
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    source, rows = f"{table.file}: {target}", len(table.fields[target])
    if task == "regression":
        if not table.is_numeric(target):
            _fields.refuse_doubtful_numbers(table, target, "set `task: classification` if they are classes")
        targets, names = in_float32(source, table.numbers(target)[:, 0]), list[str]()
        parts = divide(rows, split_seed, val, test)
    else:
        targets, names = _fields.classes(table, target)
        parts = divide_by_class(source, targets, names, split_seed, val, test)
    if not all(map(len, parts.values())):
        raise DataError(f"{table.file} has {rows} rows, too few to split into train, val and test")
    if names:
        say_numbers(source, names)
        check_splits(source, {split: targets[part] for split, part in parts.items()}, names)
    return targets, parts


def _read(file: Path, separator: str | None, target: str) -> Table:
    try:
        content = file.read_bytes()
        # Excel's "Unicode text" is UTF-16 with a BOM.
        utf_16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = content.decode("utf-16" if utf_16 else "utf-8-sig")
        separator = separator or _separator(text, target)
        lines = [[field.strip() for field in row] for row in _rows(text, separator) if row]
    except UnicodeDecodeError as error:
        raise DataError(f"{file} cannot be read as a text table: {error}; save it in UTF-8") from None
    except (OSError, csv.Error) as error:
        raise DataError(f"{file} cannot be read as a text table: {error}") from None
    columns, rows = (lines[0], lines[1:]) if lines else ([], [])
    if not rows:
        raise DataError(f"{file} has no rows below its header")
    if "" in columns:
        raise DataError(f"{file}: column {columns.index('') + 1} has no name in the header; name "
                        f"it or remove it")  # fmt: skip
    if len(set(columns)) < len(columns):
        raise DataError(f"{file}: its header names a column twice: {', '.join(columns)}")
    for number, row in enumerate(rows, 1):
        if len(row) != len(columns):
            raise DataError(f"{file}: row {number} has {len(row)} fields but the header {len(columns)}; is `separator` "
                            f"{separator!r} right?")  # fmt: skip
    fields = zip(columns, zip(*rows, strict=True), strict=True)
    return Table(file, {column: np.array(values) for column, values in fields}, cure=MEND)


def _rows(text: str, separator: str) -> Iterator[list[str]]:
    return csv.reader(io.StringIO(text, newline=""), delimiter=separator)


def _separator(text: str, target: str) -> str:
    """The first separator that makes the target a column, or else a comma."""
    for separator in SEPARATORS:
        if target in [field.strip() for field in next(_rows(text, separator), [])]:
            return separator
    return ","
