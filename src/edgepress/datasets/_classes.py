"""Classes of the user's own data: numbering, stratified splits, and notes on rare classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgepress.datasets import DataError, counted, divide, note, some


def numbered(source: str, targets: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Renumber integer classes as 0 … n − 1 in sorted order; also returns their n names."""
    found, codes = np.unique(targets, return_inverse=True)
    names = [str(label) for label in found]
    say_numbers(source, names)
    return codes.reshape(targets.shape).astype(np.int64), names


def say_numbers(source: str, names: Sequence[str]) -> None:
    """Report the number of each class, unless it equals the name."""
    if list(names) != [str(number) for number in range(len(names))]:
        pairs = some((f"{name} → {number}" for number, name in enumerate(names)), most=20)
        note(f"{source}: its {len(names):,} classes are numbered {pairs}")


def divide_by_class(
    source: str, classes: np.ndarray, names: Sequence[str], split_seed: int, val: float, test: float
) -> dict[str, np.ndarray]:
    """The rows of each split like ``divide``, stratified, with at least one row of every class in each split.

    ``classes`` are int of shape (rows,), indices into ``names``. Rows are drawn as by ``divide``; only surplus rows of
    a class change their split. A class with fewer rows than splits goes to train, with a note.
    """
    drawn = divide(len(classes), split_seed, val, test)
    order = np.concatenate(list(drawn.values()))
    split = np.repeat(np.arange(len(drawn)), [len(rows) for rows in drawn.values()])
    rows_of = np.bincount(classes, minlength=len(names))
    for label, wanted in enumerate(_counts(rows_of, val, test)):
        places = np.flatnonzero(classes[order] == label)
        by_split = [places[split[places] == number] for number in range(len(drawn))]
        spare = np.concatenate([rows[count:] for rows, count in zip(by_split, wanted, strict=True)])
        lacking = [max(0, count - len(rows)) for rows, count in zip(by_split, wanted, strict=True)]
        split[spare] = np.repeat(np.arange(len(drawn)), lacking)
    parts = {name: order[split == number] for number, name in enumerate(drawn)}
    few = [f"{name} ({rows})" for name, rows in zip(names, rows_of, strict=True) if 0 < rows < 2 + (test > 0)]
    if few:
        classes_with = counted(len(few), "class has", "classes have")
        note(f"{source}: {classes_with} too few rows to split, so all go to train: {some(few)}")
    return parts


def _counts(rows: np.ndarray, val: float, test: float) -> np.ndarray:
    """The number of rows of each class in train, val and test: shape (classes, 3).

    Fractions are rounded cumulatively over the classes, so that the totals are correct.
    """
    enough = rows >= 2 + (test > 0)
    ends = np.cumsum(np.where(enough, rows, 0))

    def share(part: float, most: np.ndarray) -> np.ndarray:
        counts = np.diff(np.round(part * ends).astype(int), prepend=0)
        return np.where(enough, np.minimum(np.maximum(counts, 1), most), 0)

    in_test = share(test, rows - 2) if test else np.zeros_like(rows)
    in_val = share(val, rows - in_test - 1)
    return np.stack([rows - in_val - in_test, in_val, in_test], axis=1)


def check_splits(source: str, targets: Mapping[str, np.ndarray], names: Sequence[str]) -> None:
    """Note classes missing in val or test. Raises DataError if one is missing in train only.

    ``targets`` are split → indices into ``names``, int of shape (rows,).
    """
    counts = {split: np.bincount(classes, minlength=len(names)) for split, classes in targets.items()}
    for split, rows in counts.items():
        unlearned = [f"{name} ({many:,})" for name, many, seen in zip(names, rows, counts["train"], strict=True)
                     if many and not seen]  # fmt: skip
        if unlearned:
            classes_that = counted(len(unlearned), "class", "classes")
            raise DataError(f"{source}: {split} has rows of {classes_that} that train has none of: {some(unlearned)}; "
                            f"add some to train, or remove them from {split}")  # fmt: skip
    for split, rows in counts.items():
        lacking = [name for name, many, seen in zip(names, rows, counts["train"], strict=True) if seen and not many]
        if lacking:
            note(f"{source}: {split} has no rows of {len(lacking):,} of the {len(names):,} classes, so it does not "
                 f"measure {some(lacking)}")  # fmt: skip
