"""The user's own arrays: an .npz file, divided or not."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgepress.datasets import MEND, SPLITS, DataError, Prepared, divide, scale
from edgepress.datasets._scaling import scaler

_NAMES = {"x", "y", *(f"{array}_{split}" for array in "xy" for split in SPLITS)}


def prepare(
    raw: Path,
    split_seed: int,
    *,
    name: str,
    file: str,
    task: str,
    input: str,
    val: float | None = None,
    test: float | None = None,
    scaling: str = "standard",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Prepared:
    """``x`` and ``y``, drawn into splits, or arrays of train and test; images become (channels, height, width).

    Raises DataError where the file does not hold what is asked for.
    """
    arrays = _read(Path(file))
    if "x" in arrays:
        inputs, targets = arrays["x"], arrays["y"]
        parts = divide(len(inputs), split_seed, val or 0.2, test or 0.2)
    else:
        given = [split for split in SPLITS if f"x_{split}" in arrays]
        inputs = np.concatenate([arrays[f"x_{split}"] for split in given])
        targets = np.concatenate([arrays[f"y_{split}"] for split in given])
        ends = np.cumsum([len(arrays[f"x_{split}"]) for split in given])
        parts = dict(zip(given, np.split(np.arange(len(inputs)), ends[:-1]), strict=True))
        if "val" not in parts:
            drawn = divide(len(parts["train"]), split_seed, val or 0.1, test=0)
            parts |= {split: parts["train"][np.sort(drawn[split])] for split in ("train", "val")}
    if not all(map(len, parts.values())):
        raise DataError(f"{file} has too few rows to divide into train, val and test")
    inputs = _inputs(file, inputs, input, mean is not None)
    fit = scaler(scaling, mean, std, axis=0 if input == "table" else (0, 2, 3))
    return scale(name, inputs, _targets(file, targets, task), parts, fit, cure=MEND)


def _read(file: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(file, allow_pickle=False) as archive:
            arrays = dict(archive)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, TypeError) as error:
        raise DataError(f"{file} cannot be read as arrays of numbers: {error}") from None
    arrays = {name: array for name, array in arrays.items() if name in _NAMES}
    whole, divided = {"x", "y"}, {f"{array}_{split}" for array in "xy" for split in ("train", "test")}
    if not (whole <= arrays.keys() or divided <= arrays.keys()) or ("x_val" in arrays) != ("y_val" in arrays):
        raise DataError(f"{file} holds {', '.join(arrays)}; it must hold x and y, or x_train, y_train, x_test, y_test")
    for rest in sorted({array[1:] for array in arrays if array[0] in "xy"}):
        inputs, targets = arrays[f"x{rest}"], arrays[f"y{rest}"]
        if not (inputs.ndim and targets.ndim and len(inputs) == len(targets)):
            raise DataError(f"{file}: x{rest} is {inputs.shape} but y{rest} is {targets.shape}; rows must be as many")
    return arrays


def _inputs(file: str, inputs: np.ndarray, kind: str, pixels_to_one: bool) -> np.ndarray:
    if kind == "image" and inputs.ndim == 3:
        inputs = inputs[:, None]
    if inputs.ndim != {"table": 2, "image": 4}[kind]:
        raise DataError(f"{file}: x has {inputs.ndim} dimensions, which is no {kind}; see `input`")
    if kind == "image" and inputs.shape[1] not in (1, 3) and inputs.shape[3] in (1, 3):
        inputs = np.moveaxis(inputs, 3, 1)
    if not (np.issubdtype(inputs.dtype, np.number) or inputs.dtype == bool) or not np.isfinite(inputs).all():
        raise DataError(f"{file}: x holds what is not a finite number")
    pixels = pixels_to_one and kind == "image" and inputs.dtype == np.uint8
    return inputs.astype(np.float32) / (np.float32(255) if pixels else np.float32(1))


def _targets(file: str, targets: np.ndarray, task: str) -> np.ndarray:
    targets = targets[:, 0] if targets.ndim == 2 and targets.shape[1] == 1 else targets
    if targets.ndim != 1 or not np.issubdtype(targets.dtype, np.number) or not np.isfinite(targets).all():
        raise DataError(f"{file}: y must hold one finite number a row")
    if task == "regression":
        return targets.astype(np.float32)
    if (targets != targets.astype(np.int64)).any() or targets.min() < 0:
        raise DataError(f"{file}: y must hold classes, whole numbers from 0; for other numbers say `task: regression`")
    return targets.astype(np.int64)
