"""Data sets: one file each, prepared into splits of one tensor each.

A data set module declares ``DATASETS`` (see ``edgepress.registry``) and a function ``prepare(raw, split_seed) ->
Prepared``, where ``raw`` is the folder of the files that data/sources.yaml names; embedded or generated data sets
ignore it. Scalers, quantiles and the like are fitted on the training rows alone.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from edgepress import registry, tensor_files
from edgepress.files import FileError, write_atomically

SPLITS = ("train", "val", "test")
AGAIN = "remove it, and `snakemake fetch` downloads it again"
MEND = "correct the file"  # for the user's own files, which cannot be downloaded
_BLOCK = 1024  # rows scaled at a time


class DataError(FileError):
    """A file of a data set is invalid. The message names the file and the field."""


@dataclass(frozen=True)
class Prepared:
    """A data set ready for a network.

    ``inputs[split]`` is float32 of shape (rows, features) or (rows, channels, height, width); ``targets[split]`` is
    int64 of shape (rows,) holding classes 0 … outputs − 1, or float32 of shape (rows,) for regression, where
    ``outputs`` is 1.
    """

    name: str
    task: str
    outputs: int
    inputs: dict[str, Tensor]
    targets: dict[str, Tensor]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one example."""
        return tuple(next(iter(self.inputs.values())).shape[1:])

    def only(self, *splits: str) -> Prepared:
        """The data set with some splits only, for example those that a compression method may see."""
        return Prepared(
            self.name,
            self.task,
            self.outputs,
            {split: self.inputs[split] for split in splits},
            {split: self.targets[split] for split in splits},
        )

    def to(self, device: torch.device) -> Prepared:
        """The same data set on ``device``."""
        return Prepared(
            self.name,
            self.task,
            self.outputs,
            {split: x.to(device) for split, x in self.inputs.items()},
            {split: y.to(device) for split, y in self.targets.items()},
        )

    def save(self, path: str | Path) -> None:
        """Write one safetensors file: ``<split>.inputs`` and ``<split>.targets`` for each split."""
        tensors = {f"{split}.inputs": x for split, x in self.inputs.items()}
        tensors |= {f"{split}.targets": y for split, y in self.targets.items()}
        about = {"name": self.name, "task": self.task, "outputs": self.outputs}
        write_atomically(path, tensor_files.to_bytes(tensors, about))

    @classmethod
    def load(cls, path: str | Path, splits: Iterable[str] = SPLITS) -> Prepared:
        """Read the ``splits`` of a file written by ``save``.

        Raises FileError if the file is damaged, DataError if a network cannot be trained on it.
        """
        tensors, about = tensor_files.load(path)
        there = [split for split in splits if f"{split}.inputs" in tensors]
        try:
            data = cls(
                **about,
                inputs={split: tensors[f"{split}.inputs"] for split in there},
                targets={split: tensors[f"{split}.targets"] for split in there},
            )
        except (TypeError, KeyError) as error:
            raise DataError(f"{path} holds no prepared data set ({error}); name a file of data/prepared; if it is "
                            f"one, remove it, and run again") from None  # fmt: skip
        data.check(path)
        return data

    def check(self, source: str | Path) -> None:
        """Raise DataError, naming ``source``, if a split violates the class's description or a number is not finite."""
        if self.task not in ("classification", "regression"):
            raise DataError(f"{source}: its task is {self.task!r} but must be classification or regression")
        if self.outputs != 1 if self.task == "regression" else self.outputs < 2:
            raise DataError(f"{source}: {self.outputs} outputs do not suit {self.task}; it needs "
                            f"{'1' if self.task == 'regression' else 'rows of 2 classes or more'}")  # fmt: skip
        for split, inputs in self.inputs.items():
            _check_split(f"{source}: {split}", inputs, self.targets[split], self.outputs, self.task)


def prepare(name: str, split_seed: int, raw: str | Path = Path("data/raw")) -> Prepared:
    """Prepare the data set ``name``, split by ``split_seed``.

    Its files, if any, are in ``raw``/``name``. Raises DataError if they are invalid.
    """
    entry, folder = registry.datasets()[name], Path(raw, name)
    data: Prepared = entry.load()(folder, split_seed, **entry.args)
    data.check(", ".join(entry.files) or folder)
    return data


def note(sentence: str) -> None:
    """Report how ambiguous or incomplete data was read, in the job's log and, if that is a file, also on the
    terminal.
    """
    print(sentence)
    if sys.stdout is not sys.__stdout__:
        print(sentence, file=sys.__stderr__)


def some(values: Iterable[object], most: int = 5) -> str:
    """The first ``most`` values, separated by commas, and the number of further ones."""
    texts = [str(value) for value in values]
    more = [f"and {len(texts) - most:,} more"] if len(texts) > most else []
    return ", ".join(texts[:most] + more)


def counted(number: int, one: str, many: str) -> str:
    """``number`` with a noun in singular or plural."""
    return f"{number:,} {one if number == 1 else many}"


def sample(inputs: Tensor, rows: int, seed: int = 0) -> Tensor:
    """``rows`` of ``inputs`` drawn by ``seed``, in random order; all of them if there are fewer.

    One row is drawn from each of ``rows`` equal intervals. So rows sorted by class give a stratified sample, and rows
    whose classes alternate do not give the same class at every stride.
    """
    rows = min(rows, len(inputs))
    generator = torch.Generator().manual_seed(seed)
    begins = torch.arange(rows + 1) * len(inputs) // max(1, rows)
    drawn = begins[:-1] + (torch.rand(rows, generator=generator, dtype=torch.float64) * begins.diff()).long()
    return inputs[drawn[torch.randperm(rows, generator=generator)].to(inputs.device)]


def _check_split(place: str, inputs: Tensor, targets: Tensor, outputs: int, task: str) -> None:
    if not len(inputs):
        raise DataError(f"{place} has no rows; train, val and test need at least one each")
    if targets.shape != (len(inputs),):
        raise DataError(f"{place} has targets of shape {tuple(targets.shape)}; there must be one for "
                        f"each of its {len(inputs):,} rows")  # fmt: skip
    for field, values in (("inputs", inputs), ("targets", targets)):
        expected = torch.int64 if (field, task) == ("targets", "classification") else torch.float32
        if values.dtype != expected:
            raise DataError(f"{place}.{field} are {values.dtype} but must be {expected}")
        low, high = (float(end) for end in torch.aminmax(values))
        if not (math.isfinite(low) and math.isfinite(high)):
            raise DataError(f"{place}.{field} contain NaN or infinity; they must be finite")
        if expected == torch.int64 and not 0 <= low <= high < outputs:
            raise DataError(f"{place}.targets are from {low:.0f} to {high:.0f} but must be from 0 to {outputs - 1}")


def read_bytes(file: Path) -> bytes:
    """The content of a file. Raises DataError if it cannot be read."""
    try:
        return file.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{file} does not exist; `snakemake fetch` downloads it") from None
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror}); {AGAIN}") from None


def split_and_scale(
    name: str,
    inputs: np.ndarray,
    targets: np.ndarray,
    split_seed: int,
    fit_scaler: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
) -> Prepared:
    """Split rows 60/20/20 at random, and scale the inputs by ``fit_scaler``. See ``divide`` and ``scale``."""
    return scale(name, inputs, targets, divide(len(inputs), split_seed), fit_scaler)


def divide(rows: int, split_seed: int, val: float = 0.2, test: float = 0.2) -> dict[str, np.ndarray]:
    """The row indices of each split, drawn by ``split_seed``: fractions ``val`` and ``test``, the rest train."""
    drawn = np.random.default_rng(split_seed).permutation(rows)
    return dict(zip(SPLITS, np.split(drawn, [round((1 - val - test) * rows), round((1 - test) * rows)]), strict=True))


def scale(
    name: str,
    inputs: np.ndarray,
    targets: np.ndarray,
    parts: dict[str, np.ndarray],
    fit_scaler: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
    cure: str = f"correct its file, or {AGAIN}",
) -> Prepared:
    """The data set with rows split into ``parts`` and inputs scaled by ``fit_scaler``.

    ``fit_scaler`` takes the training inputs and returns (shift, scale); inputs become (x − shift) / scale, computed in
    float64. A column that is constant in train has scale 1. ``inputs`` are numbers of shape (rows, …); integer
    ``targets`` are classes, float targets are a regression's. Raises DataError, ending with ``cure``, if a split has no
    rows or numbers are too large to scale.
    """
    for split, rows in parts.items():
        if not len(rows):
            raise DataError(f"{name}: {split} has no rows because the file has too few; {cure}")
    with np.errstate(over="ignore", invalid="ignore"):
        shift, width = fit_scaler(inputs[parts["train"]])
    if not (np.isfinite(shift).all() and np.isfinite(width).all()):
        raise DataError(f"{name}: its inputs are too large to scale; {cure}")
    # A width of a few rounding errors is an artefact. Dividing by it would blow up val and test.
    precision = np.finfo(inputs.dtype if np.issubdtype(inputs.dtype, np.floating) else np.float64).eps
    constant = width <= 4 * precision * np.abs(shift)
    width = np.where(constant, np.maximum(width, 1), np.where(width == 0, 1, width))
    classes = np.issubdtype(targets.dtype, np.integer)
    with np.errstate(over="ignore"):  # ``Prepared.check`` refuses infinite values
        targets = targets.astype(np.int64 if classes else np.float32)
    return Prepared(
        name=name,
        task="classification" if classes else "regression",
        outputs=int(targets.max()) + 1 if classes else 1,
        inputs={split: torch.from_numpy(_scaled(inputs, part, shift, width)) for split, part in parts.items()},
        targets={split: torch.from_numpy(targets[part]) for split, part in parts.items()},
    )


def _scaled(inputs: np.ndarray, rows: np.ndarray, shift: np.ndarray, width: np.ndarray) -> np.ndarray:
    """(x − shift) / width of some rows, float32, in blocks because float64 images take eight times their memory."""
    result = np.empty((len(rows), *inputs.shape[1:]), dtype=np.float32)
    with np.errstate(over="ignore"):  # ``Prepared.check`` refuses infinite values
        for start in range(0, len(rows), _BLOCK):
            block = inputs[rows[start : start + _BLOCK]].astype(np.float64)
            result[start : start + _BLOCK] = (block - shift) / width
    return result


def standard_scaler(train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each column; exactly 0 for a constant column, even if its mean is rounded."""
    return train.mean(axis=0), np.where(np.ptp(train, axis=0) == 0, 0, train.std(axis=0))


def min_max_scaler(train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Minimum and range of each column."""
    return train.min(axis=0), np.ptp(train, axis=0)
