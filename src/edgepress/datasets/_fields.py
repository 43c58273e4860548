"""Interprets the fields of a user's table: numbers as people write them, missing values, classes, categories."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from decimal import Decimal

import numpy as np

from edgepress.datasets import DataError, counted, note, some
from edgepress.datasets._tables import Table, to_float

# Missing values in lower case: those of pandas, and errors of spreadsheets.
EMPTY = (
    "", "?", "na", "n/a", "n.a.", "nan", "-nan", "null", "none", "nil", "<na>", "#na", "#n/a", "#n/a n/a", "1.#ind",
    "1.#qnan", "-1.#ind", "-1.#qnan", "#null!", "#div/0!", "#value!", "#ref!", "#name?", "#num!",
)  # fmt: skip
DASHES = ("-", "--", "—", ".")  # missing values among numbers; elsewhere + and - may be classes
MOST_VALUES = 50  # of a text column; names or identifiers have more, and would become as many inputs
# Numbers with commas, given the decimal mark.
_WITH_MARK = {
    ".": (re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?([eE][+-]?\d+)?"), str.maketrans("", "", ",")),
    ",": (re.compile(r"[+-]?(\d{1,3}(\.\d{3})+|\d*)(,\d*)?([eE][+-]?\d+)?"), str.maketrans(",", ".", ".")),
}
_SIGN, _CURRENCY = r"[(+\-−]?\s*", r"[$€£¥₹₩₽]?\s*"
# Numbers to a person but not to Python: 3,14 and 1,234 and 1 300 and 1_300 and 12 % and $5 and (5).
_LIKE_A_NUMBER = re.compile(
    rf"{_SIGN}{_CURRENCY}{_SIGN}(\d{{1,3}}([.,_'’\s]\d{{3}})+|\d+)?([.,_]\d+)?([eE][+\-−]?\d+)?\s*[$€£¥₹₩₽%‰]?\)?"
)


def with_decimal_mark(table: Table, mark: str | None, text: Sequence[str]) -> Table:
    """The table with numbers in Python's notation, given that their decimal mark is ``mark`` and the other one of
    ``.,`` groups thousands. Columns in ``text`` are unchanged.

    Raises DataError if a number has the other mark where it does not group thousands.
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
                    "where `.` does not group thousands", "remove `decimal: ','`, or correct the file")  # fmt: skip
        fields[column] = _mapped(table.fields[column], number)
    return replace(table, fields=fields)


def without_gaps(table: Table, missing: str, categories: Sequence[str]) -> Table:
    """The table without rows that have empty fields. Raises DataError if there are any and ``missing`` is ``error``."""
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
                        f"{int(np.argmax(rows)) + 1} is the first ({where}); fill them in, drop these rows by "
                        f"`missing: drop`, or the columns by `ignore`")  # fmt: skip
    if rows.all():
        raise DataError(f"{table.file} has no row without an empty field")
    note(f"{table.file}: dropped {int(rows.sum()):,} of {len(rows):,} rows, which have empty fields ({where})")
    return replace(table, fields={column: values[~rows] for column, values in table.fields.items()})


def refuse_doubtful_numbers(table: Table, column: str, others: str) -> None:
    """Raise DataError if a column that is not ``is_numeric`` has fields that look like numbers.

    ``others`` says what to do if they are meant as text.
    """
    _refuse(table, column, lambda field: "," in field and _looks_like_a_number(field),
            "whose comma may be a decimal mark or group thousands",
            f"set `decimal: ','` or `decimal: '.'`, or {others}")  # fmt: skip
    _refuse(table, column, _looks_like_a_number, "not a number in plain notation",
            f"write 1300 or 0.5, without currency or percent signs, spaces or underscores, or {others}")  # fmt: skip
    numbers = sum(map(_is_number, table.fields[column]))
    if numbers:
        _refuse(table, column, lambda field: not _is_number(field), f"but {numbers:,} of {len(table.fields[column]):,} "
                f"rows have numbers there", f"{table.cure}, or {others}")  # fmt: skip


def say_long_numbers(table: Table, columns: Sequence[str], numbers: np.ndarray) -> None:
    """Note columns whose integers are so long that float64 merges some of them.

    ``numbers`` are those of ``columns``, of shape (rows, columns).
    """
    merged = []
    for column, values in zip(columns, numbers.T, strict=True):
        if np.abs(values).max() >= 2.0**53:
            distinct, kept = len(set(map(Decimal, map(str, table.fields[column])))), len(np.unique(values))
            merged += [f"{column} (keeps {kept:,} of {distinct:,})"] * (kept < distinct)
    if merged:
        note(f"{table.file}: {counted(len(merged), 'column', 'columns')} with integers too long for float64 to "
             f"distinguish: {some(merged)}; put identifiers under `ignore`")  # fmt: skip


def classes(table: Table, target: str) -> tuple[np.ndarray, list[str]]:
    """The class of each row, int64, and the names of the classes: the sorted values of the target.

    Different spellings of a number are one class; so are true and True. Raises DataError if there is only one class.
    """
    texts, rows = _values(table, target), len(table.fields[target])
    found = [str(text) for text in np.unique(texts)]
    if len(found) < 2:
        raise DataError(f"{table.file}: {target} is {found[0]!r} in every row, so there is only one class")
    if len(found) > rows / 2:
        raise DataError(f"{table.file}: {target} has {len(found):,} values in {rows:,} rows; to predict a number, set "
                        f"`task: regression`")  # fmt: skip
    if all(map(_is_number, found)):
        found.sort(key=Decimal)
    numbers = {text: number for number, text in enumerate(found)}
    return np.array([numbers[text] for text in texts], dtype=np.int64), found


def one_hot(table: Table, columns: Sequence[str], train: np.ndarray) -> list[np.ndarray]:
    """The one-hot encoding of each text column, with the values in ``train``: shape (rows, values)."""
    fields = {column: _values(table, column) for column in columns}
    values = {column: np.unique(texts[train]) for column, texts in fields.items()}
    many = [f"{column} ({len(found):,} values)" for column, found in values.items() if len(found) > MOST_VALUES]
    if many:
        raise DataError(f"{table.file} has text with more than {MOST_VALUES} values in {', '.join(many)}; convert "
                        f"it to numbers, or name it under `ignore`")  # fmt: skip
    if columns:
        lengths = some((f"{column} ({len(found):,} values)" for column, found in values.items()), most=20)
        note(f"{table.file}: {counted(len(columns), 'column is', 'columns are')} read as categories: {lengths}")
    for column, found in values.items():
        new = ~np.isin(fields[column], found)
        if new.any():
            rows = counted(int(new.sum()), "row", "rows")
            note(f"{table.file}: {column} has values that train lacks in {rows} of val and test, encoded as 0 in all "
                 f"its columns: {some(np.unique(fields[column][new]))}")  # fmt: skip
    return [(fields[column][:, None] == found).astype(np.float64) for column, found in values.items()]


def _values(table: Table, column: str) -> np.ndarray:
    """The fields of a column, with one spelling per number, and in lower case if all are true or false.

    Notes numbers with several spellings, and values that differ only in case, which stay different.
    """
    texts = table.fields[column]
    if np.isin(np.char.lower(texts), ("true", "false")).all():
        return np.char.lower(texts)
    found = [str(text) for text in np.unique(texts)]
    equal = _groups(found, lambda text: Decimal(text) if _is_number(text) else text)
    alike = _groups(found, str.casefold)
    for groups, what in ((equal, "spells one number in several ways"), (alike, "has values that differ only in case")):
        if groups:
            note(f"{table.file}: {column} {what}, {'read as one' if groups is equal else 'read as several'}: "
                 f"{some(' and '.join(group) for group in groups)}")  # fmt: skip
    one = {text: min(group, key=len) for group in equal for text in group}
    return _mapped(texts, lambda text: one.get(text, text))


def _groups(values: Iterable[str], key: Callable[[str], object]) -> list[list[str]]:
    """Groups of at least two values with the same ``key``."""
    groups: dict[object, list[str]] = {}
    for value in values:
        groups.setdefault(key(value), []).append(value)
    return [group for group in groups.values() if len(group) > 1]


def _looks_like_a_number(field: str) -> bool:
    return any(map(str.isdigit, field)) and not _is_number(field) and bool(_LIKE_A_NUMBER.fullmatch(field))


def _is_number(field: str) -> bool:
    return not np.isnan(to_float(field))


def _refuse(table: Table, column: str, wrong: Callable[[str], bool], what: str, cure: str) -> None:
    """Raise DataError for the first row whose field is ``wrong``."""
    found = [value for value in np.unique(table.fields[column]) if wrong(str(value))]
    if found:
        raise table.wrong(column, int(np.argmax(np.isin(table.fields[column], found))), what, cure)


def _mapped(values: np.ndarray, function: Callable[[str], str]) -> np.ndarray:
    distinct, places = np.unique(values, return_inverse=True)
    return np.array([function(str(value)) for value in distinct])[places.reshape(values.shape)]
