"""The user's own arrays: an .npz file, split or not."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgepress.datasets import MEND, SPLITS, DataError, Prepared, counted, divide, note, scale, some
from edgepress.datasets._classes import check_splits, divide_by_class, numbered
from edgepress.datasets._scaling import in_float32, say_odd_columns, scaler

_NAMES = {"x", "y", *(f"{array}_{split}" for array in "xy" for split in SPLITS)}
_CHANNELS = range(1, 5)  # grey, grey and alpha, RGB, RGBA


def prepare(
    raw: Path,
    split_seed: int,
    *,
    name: str,
    file: str,
    task: str,
    input: str,
    layout: str | None = None,
    classes: int | None = None,
    val: float | None = None,
    test: float | None = None,
    scaling: str = "standard",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Prepared:
    """``x`` and ``y``, split at random, or arrays of given splits; images become (channels, height, width).

    Without ``classes``, those that occur are numbered from 0. Raises DataError if the file does not fit the options.
    """
    arrays = _read(Path(file))
    given = [split for split in SPLITS if f"x_{split}" in arrays] if "x" not in arrays else []
    inputs, targets = (_joined(file, [arrays[f"{xy}_{part}"] for part in given] or [arrays[xy]]) for xy in "xy")
    inputs = _inputs(file, inputs, input, layout, mean is not None)
    targets, names = _targets(file, targets, task, classes)

    def drawn(rows: np.ndarray, val: float, test: float) -> dict[str, np.ndarray]:
        if task == "regression":
            parts = divide(len(rows), split_seed, val, test)
        else:
            parts = divide_by_class(f"{file}: y", targets[rows], names, split_seed, val, test)
        return {split: rows[part] for split, part in parts.items()}

    if given:
        ends = np.cumsum([len(arrays[f"x_{split}"]) for split in given])
        parts = dict(zip(given, np.split(np.arange(len(inputs)), ends[:-1]), strict=True))
        if "val" not in parts:
            again = drawn(parts["train"], val or 0.1, test=0)
            parts |= {split: np.sort(again[split]) for split in ("train", "val")}
    else:
        parts = drawn(np.arange(len(inputs)), val or 0.2, test or 0.2)
    if not all(map(len, parts.values())):
        raise DataError(f"{file} has too few rows to split into train, val and test")
    if task == "classification":
        check_splits(f"{file}: y", {split: targets[rows] for split, rows in parts.items()}, names)
    fit = scaler(scaling, mean, std, axis=0 if input == "table" else (0, 2, 3))
    data = scale(name, inputs, targets, parts, fit, cure=MEND)
    if input == "table":
        say_odd_columns(file, [f"column {number}" for number in range(inputs.shape[1])], inputs, data)
    return replace(data, outputs=classes or data.outputs)


def _read(file: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(file, allow_pickle=False) as archive:
            found = dict(archive)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, TypeError) as error:
        raise DataError(f"{file} cannot be read as arrays of numbers: {error}") from None
    arrays = {name: array for name, array in found.items() if name in _NAMES}
    whole, divided = {"x", "y"}, {f"{array}_{split}" for array in "xy" for split in ("train", "test")}
    if not (whole <= arrays.keys() or divided <= arrays.keys()) or ("x_val" in arrays) != ("y_val" in arrays):
        raise DataError(f"{file} holds {', '.join(found)}; it must hold x and y, or x_train, y_train, x_test, y_test")
    for rest in sorted({array[1:] for array in arrays if array[0] in "xy"}):
        inputs, targets = arrays[f"x{rest}"], arrays[f"y{rest}"]
        if not (inputs.ndim and targets.ndim and len(inputs) == len(targets)):
            raise DataError(
                f"{file}: x{rest} is {inputs.shape} but y{rest} is {targets.shape}; they must have as many rows"
            )
    unread = [name for name in found if name not in (whole if "x" in arrays else _NAMES)]
    if unread:
        note(f"{file}: skipped {counted(len(unread), 'array', 'arrays')}: {some(unread)}")
    return arrays


def _joined(file: str, arrays: list[np.ndarray]) -> np.ndarray:
    shapes = {array.shape[1:] for array in arrays}
    if len(shapes) > 1:
        raise DataError(f"{file}: rows of its splits have the shapes {' and '.join(map(str, sorted(shapes)))}; they "
                        f"must be equal")  # fmt: skip
    return np.concatenate(arrays)


def _inputs(file: str, inputs: np.ndarray, kind: str, layout: str | None, pixels_to_one: bool) -> np.ndarray:
    if kind == "image" and inputs.ndim == 3:
        inputs, layout = inputs[:, None], "channels_first"
    if inputs.ndim != {"table": 2, "image": 4}[kind]:
        raise DataError(f"{file}: x has {inputs.ndim} dimensions, which does not fit `input: {kind}`")
    if not inputs.size:
        raise DataError(f"{file}: x is empty, of shape {inputs.shape}")
    if not _are_numbers(inputs):
        raise DataError(f"{file}: x contains values that are not finite numbers")
    if kind == "table":
        return inputs
    if (layout or _layout(file, inputs.shape)) == "channels_last":
        inputs = np.moveaxis(inputs, 3, 1)
    return inputs / np.float32(255) if pixels_to_one and inputs.dtype == np.uint8 else inputs


def _layout(file: str, shape: tuple[int, ...]) -> str:
    """The position of the channel axis: the one of length 1 to 4, or else the one shorter than the others.

    Raises DataError if it is ambiguous.
    """
    _, first, middle, last = shape
    few = (first in _CHANNELS, last in _CHANNELS)
    if few == (False, False):
        few = (first < min(middle, last), last < min(first, middle))
    if few[0] == few[1]:
        raise DataError(f"{file}: x has the shape {shape}, whose channels may be first or last; set `layout: "
                        f"channels_first` or `layout: channels_last`")  # fmt: skip
    return "channels_first" if few[0] else "channels_last"


def _are_numbers(array: np.ndarray) -> bool:
    real = np.issubdtype(array.dtype, np.integer) or np.issubdtype(array.dtype, np.floating) or array.dtype == bool
    return bool(real and np.isfinite(array).all())


def _targets(file: str, targets: np.ndarray, task: str, classes: int | None) -> tuple[np.ndarray, list[str]]:
    """The targets as int64 classes, 0 to n − 1, or as float32 numbers, and the names of the classes."""
    targets = targets[:, 0] if targets.ndim == 2 and targets.shape[1] == 1 else targets
    if targets.ndim != 1 or not _are_numbers(targets):
        raise DataError(f"{file}: y must have one finite number per row")
    if task == "regression":
        return in_float32(f"{file}: y", targets), []
    if (targets != targets.astype(np.int64)).any() or targets.min() < 0:
        raise DataError(f"{file}: y must hold classes, integers from 0; for other numbers set `task: regression`")
    if classes is None:
        return numbered(f"{file}: y", targets.astype(np.int64))
    if targets.max() >= classes:
        raise DataError(f"{file}: y has the class {targets.max():.0f}, but `classes: {classes}` are numbered from 0 to "
                        f"{classes - 1}")  # fmt: skip
    return targets.astype(np.int64), [str(number) for number in range(classes)]
