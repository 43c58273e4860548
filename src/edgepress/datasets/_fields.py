"""What the fields of a user's table mean: numbers as people write them, gaps, classes, categories."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from decimal import Decimal

import numpy as np

from edgepress.datasets import DataError, counted, note, some
from edgepress.datasets._tables import Table, to_float

# Fields without a value, in lower case: those of pandas, and the errors of spreadsheets.
EMPTY = (
    "", "?", "na", "n/a", "n.a.", "nan", "-nan", "null", "none", "nil", "<na>", "#na", "#n/a", "#n/a n/a", "1.#ind",
    "1.#qnan", "-1.#ind", "-1.#qnan", "#null!", "#div/0!", "#value!", "#ref!", "#name?", "#num!",
)  # fmt: skip
DASHES = ("-", "--", "—", ".")  # without a value where the rest are numbers; elsewhere + and - may be classes
MOST_VALUES = 50  # of a column of text: one of names or identifiers has more, and would become as many inputs
# Numbers whose commas are understood once the decimal mark is given.
_WITH_MARK = {
    ".": (re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?([eE][+-]?\d+)?"), str.maketrans("", "", ",")),
    ",": (re.compile(r"[+-]?(\d{1,3}(\.\d{3})+|\d*)(,\d*)?([eE][+-]?\d+)?"), str.maketrans(",", ".", ".")),
}
_SIGN, _CURRENCY = r"[(+\-−]?\s*", r"[$€£¥₹₩₽]?\s*"
# What a person reads as a number and Python does not: 3,14 and 1,234 and 1 300 and 1_300 and 12 % and $5 and (5).
_LIKE_A_NUMBER = re.compile(
    rf"{_SIGN}{_CURRENCY}{_SIGN}(\d{{1,3}}([.,_'’\s]\d{{3}})+|\d+)?([.,_]\d+)?([eE][+\-−]?\d+)?\s*[$€£¥₹₩₽%‰]?\)?"
)


def with_decimal_mark(table: Table, mark: str | None, text: Sequence[str]) -> Table:
    """The table with numbers as Python writes them, where their decimal mark is ``mark`` and the other one of ``.,``
    groups their thousands. Columns in ``text`` are left as they are.

    Raises DataError where a number has the other mark in a place where it groups nothing.
    """
    if mark is None:
        return table
    pattern, plain = _WITH_MARK[mark]

    def number(field: str) -> str:
        return field.translate(plain) if pattern.fullmatch(field) else field

    fields = dict(table.fields)
    for column in fields.keys() - set(text):
        if mark == ",":
            _refuse(table, column, lambda field: "." in field and not pattern.fullmatch(field) and _is_number(field),
                    "where `.` groups no thousands", "leave `decimal: ','` out, or mend the file")  # fmt: skip
        fields[column] = _mapped(table.fields[column], number)
    return replace(table, fields=fields)


def without_gaps(table: Table, missing: str, categories: Sequence[str]) -> Table:
    """The table without its rows that have empty fields. Raises DataError where ``missing`` is ``error``."""
    gaps = {}
    for column, values in table.fields.items():
        gaps[column] = np.isin(np.char.lower(values), EMPTY)
        dashes = np.isin(values, DASHES)
        rest = replace(table, fields={column: values[~dashes & ~gaps[column]]})
        if dashes.any() and column not in categories and len(rest.fields[column]) and rest.is_numeric(column):
            gaps[column] |= dashes
    rows = np.any(list(gaps.values()), axis=0)
    if not rows.any():
        return table
    spelled = {column: some(repr(str(value)) for value in np.unique(table.fields[column][gap]))
               for column, gap in gaps.items() if gap.any()}  # fmt: skip
    where = "; ".join(f"{column} in {int(gaps[column].sum()):,} as {values}" for column, values in spelled.items())
    if missing == "error":
        raise DataError(f"{table.file}: {int(rows.sum()):,} of {len(rows):,} rows have empty fields, row "
                        f"{int(np.argmax(rows)) + 1} is the first ({where}); fill them in, leave these rows out by "
                        f"`missing: drop`, or the columns by `ignore`")  # fmt: skip
    if rows.all():
        raise DataError(f"{table.file} has no row without an empty field")
    note(f"{table.file}: left out {int(rows.sum()):,} of {len(rows):,} rows, which have empty fields ({where})")
    return replace(table, fields={column: values[~rows] for column, values in table.fields.items()})


def refuse_doubtful_numbers(table: Table, column: str, others: str) -> None:
    """Raise DataError where a column that ``is_numeric`` is not true of has fields that look like numbers.

    ``others`` says what to do where they are meant as text.
    """
    _refuse(table, column, lambda field: "," in field and _looks_like_a_number(field),
            "whose comma may be a decimal mark or group thousands",
            f"say `decimal: ','` or `decimal: '.'`, or {others}")  # fmt: skip
    _refuse(table, column, _looks_like_a_number, "not a number as programs write them",
            f"write 1300 or 0.5, without currency or percent signs, spaces or underscores, or {others}")  # fmt: skip
    numbers = sum(map(_is_number, table.fields[column]))
    if numbers:
        _refuse(table, column, lambda field: not _is_number(field), f"but {numbers:,} of {len(table.fields[column]):,} "
                f"rows have numbers there", f"{table.cure}, or {others}")  # fmt: skip


def say_long_numbers(table: Table, columns: Sequence[str], numbers: np.ndarray) -> None:
    """Note the columns with whole numbers so long that float64 merges some of them.

    ``numbers`` are those of ``columns``, of shape (rows, columns).
    """
    merged = []
    for column, values in zip(columns, numbers.T, strict=True):
        if np.abs(values).max() >= 2.0**53:
            distinct, kept = len(set(map(Decimal, map(str, table.fields[column])))), len(np.unique(values))
            merged += [f"{column} (keeps {kept:,} of {distinct:,})"] * (kept < distinct)
    if merged:
        note(f"{table.file}: {counted(len(merged), 'column', 'columns')} with whole numbers too long for float64 to "
             f"keep apart: {some(merged)}; put identifiers under `ignore`")  # fmt: skip


def classes(table: Table, target: str) -> tuple[np.ndarray, list[str]]:
    """The class of each row, int64, and the names of the classes: the sorted values of the target.

    Numbers are one class however they are written, and so are true and True. Raises DataError where there is nothing
    to tell apart.
    """
    texts, rows = _values(table, target), len(table.fields[target])
    found = [str(text) for text in np.unique(texts)]
    if len(found) < 2:
        raise DataError(f"{table.file}: {target} is {found[0]!r} in every row, so there is nothing to tell apart")
    if len(found) > rows / 2:
        raise DataError(f"{table.file}: {target} has {len(found):,} values in {rows:,} rows; to predict a number, say "
                        f"`task: regression`")  # fmt: skip
    if all(map(_is_number, found)):
        found.sort(key=Decimal)
    numbers = {text: number for number, text in enumerate(found)}
    return np.array([numbers[text] for text in texts], dtype=np.int64), found


def one_hot(table: Table, columns: Sequence[str], train: np.ndarray) -> list[np.ndarray]:
    """Of each column of text, one of 0 and 1 for every value in ``train``: shape (rows, values)."""
    fields = {column: _values(table, column) for column in columns}
    values = {column: np.unique(texts[train]) for column, texts in fields.items()}
    many = [f"{column} ({len(found):,} values)" for column, found in values.items() if len(found) > MOST_VALUES]
    if many:
        raise DataError(f"{table.file} has text with more than {MOST_VALUES} values in {', '.join(many)}; make numbers "
                        f"of it, or name it under `ignore`")  # fmt: skip
    if columns:
        lengths = some((f"{column} ({len(found):,} values)" for column, found in values.items()), most=20)
        note(f"{table.file}: {counted(len(columns), 'column is', 'columns are')} read as categories: {lengths}")
    for column, found in values.items():
        new = ~np.isin(fields[column], found)
        if new.any():
            rows = counted(int(new.sum()), "row", "rows")
            note(f"{table.file}: {column} has values that train lacks in {rows} of val and test, which get 0 in all "
                 f"its columns: {some(np.unique(fields[column][new]))}")  # fmt: skip
    return [(fields[column][:, None] == found).astype(np.float64) for column, found in values.items()]


def _values(table: Table, column: str) -> np.ndarray:
    """The fields of a column, with one spelling for each number, and in lower case where all are true or false.

    Notes what has several spellings, and values that differ in case alone, and so are several.
    """
    texts = table.fields[column]
    if np.isin(np.char.lower(texts), ("true", "false")).all():
        return np.char.lower(texts)
    found = [str(text) for text in np.unique(texts)]
    equal = _groups(found, lambda text: Decimal(text) if _is_number(text) else text)
    alike = _groups(found, str.casefold)
    for groups, what in ((equal, "writes one number in several ways"), (alike, "has values that differ in case alone")):
        if groups:
            note(f"{table.file}: {column} {what}, {'read as one' if groups is equal else 'read as several'}: "
                 f"{some(' and '.join(group) for group in groups)}")  # fmt: skip
    one = {text: min(group, key=len) for group in equal for text in group}
    return _mapped(texts, lambda text: one.get(text, text))


def _groups(values: Iterable[str], key: Callable[[str], object]) -> list[list[str]]:
    """The groups of two values and more whose ``key`` is the same."""
    groups: dict[object, list[str]] = {}
    for value in values:
        groups.setdefault(key(value), []).append(value)
    return [group for group in groups.values() if len(group) > 1]


def _looks_like_a_number(field: str) -> bool:
    return any(map(str.isdigit, field)) and not _is_number(field) and bool(_LIKE_A_NUMBER.fullmatch(field))


def _is_number(field: str) -> bool:
    return not np.isnan(to_float(field))


def _refuse(table: Table, column: str, wrong: Callable[[str], bool], what: str, cure: str) -> None:
    """Raise the error of the first row whose field is ``wrong``."""
    found = [value for value in np.unique(table.fields[column]) if wrong(str(value))]
    if found:
        raise table.wrong(column, int(np.argmax(np.isin(table.fields[column], found))), what, cure)


def _mapped(values: np.ndarray, function: Callable[[str], str]) -> np.ndarray:
    distinct, places = np.unique(values, return_inverse=True)
    return np.array([function(str(value)) for value in distinct])[places.reshape(values.shape)]
