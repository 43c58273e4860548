"""Data sets: one file each, prepared into splits that are whole tensors.

A data set module declares ``DATASETS`` (see ``edgepress.registry``) and a function ``prepare(raw, split_seed) ->
Prepared``, where ``raw`` is the folder of its files; one that is embedded or generated leaves it alone. The files are
those that data/sources.yaml names. Whatever a preparation learns from data — scalers, quantiles — it learns
from the training rows alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from edgepress import registry, tensor_files
from edgepress.files import FileError, write_atomically

SPLITS = ("train", "val", "test")
AGAIN = "remove it, and `snakemake fetch` gets it anew"
MEND = "mend the file"  # where it is the user's own, which nothing gets anew


class DataError(FileError):
    """A file of a data set that does not hold what it should; the message names the file and the field."""


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
        """The same data set with some of its splits alone: what a method of compression may see."""
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
        """Read what ``save`` wrote, or only ``splits`` of it.

        Raises FileError where the file is damaged, DataError where it does not hold what a network can be trained on.
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
            raise DataError(f"{path} holds no prepared data set ({error}); name a file of data/prepared, or, if it is "
                            f"one, remove it, and run again") from None  # fmt: skip
        data.check(path)
        return data

    def check(self, source: str | Path) -> None:
        """Raise DataError, naming ``source``, where a split is not as the class says, or a number is not finite."""
        if self.task not in ("classification", "regression"):
            raise DataError(f"{source}: its task is {self.task!r} but must be classification or regression")
        if self.outputs != 1 if self.task == "regression" else self.outputs < 2:
            raise DataError(f"{source}: {self.outputs} outputs do not suit {self.task}; it needs "
                            f"{'1' if self.task == 'regression' else 'rows of 2 classes or more'}")  # fmt: skip
        for split, inputs in self.inputs.items():
            _check_split(f"{source}: {split}", inputs, self.targets[split], self.outputs, self.task)


def prepare(name: str, split_seed: int, raw: str | Path = Path("data/raw")) -> Prepared:
    """Prepare the data set called ``name``, its rows divided by ``split_seed``.

    Its files, where it has any, lie in ``raw``/``name``. Raises DataError where they do not hold what they should.
    """
    entry, folder = registry.datasets()[name], Path(raw, name)
    data: Prepared = entry.load()(folder, split_seed, **entry.args)
    data.check(", ".join(entry.files) or folder)
    return data


def drawn_rows(count: int, rows: int, seed: int = 0) -> Tensor:
    """The numbers of ``rows`` of ``count`` rows, drawn at random by ``seed``, ascending; of all where there are fewer.

    Random rather than evenly spaced: a stride takes one class alone where classes alternate in the file. int64.
    """
    drawn = np.random.default_rng(seed).permutation(count)[:rows]
    return torch.from_numpy(np.sort(drawn))


def evenly_spread(inputs: Tensor, rows: int) -> Tensor:
    """``rows`` of ``inputs``, as far apart as they can be; all of them where there are fewer."""
    rows = min(rows, len(inputs))
    return inputs[torch.arange(rows, device=inputs.device) * len(inputs) // max(1, rows)]


def _check_split(place: str, inputs: Tensor, targets: Tensor, outputs: int, task: str) -> None:
    if not len(inputs):
        raise DataError(f"{place} has no rows; train, val and test need one each at least")
    if targets.shape != (len(inputs),):
        raise DataError(f"{place} has targets of shape {tuple(targets.shape)}; they must be one for each of "
                        f"its {len(inputs):,} rows")  # fmt: skip
    for field, values in (("inputs", inputs), ("targets", targets)):
        expected = torch.int64 if (field, task) == ("targets", "classification") else torch.float32
        if values.dtype != expected:
            raise DataError(f"{place}.{field} are {values.dtype} but must be {expected}")
        low, high = (float(end) for end in torch.aminmax(values))
        if not (math.isfinite(low) and math.isfinite(high)):
            raise DataError(f"{place}.{field} hold a number that is NaN or infinite; they must be finite")
        if expected == torch.int64 and not 0 <= low <= high < outputs:
            raise DataError(f"{place}.targets are from {low:.0f} to {high:.0f} but must be from 0 to {outputs - 1}")


def read_bytes(file: Path) -> bytes:
    """What a file holds. Raises DataError where it cannot be read."""
    try:
        return file.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{file} is not there; `snakemake fetch` gets it") from None
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror}); {AGAIN}") from None


def split_and_scale(
    name: str,
    inputs: np.ndarray,
    targets: np.ndarray,
    split_seed: int,
    fit_scaler: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
) -> Prepared:
    """Divide rows 60/20/20 at random, and scale the inputs as ``fit_scaler`` learns from the training rows.

    See ``divide`` and ``scale``.
    """
    return scale(name, inputs, targets, divide(len(inputs), split_seed), fit_scaler)


def divide(rows: int, split_seed: int, val: float = 0.2, test: float = 0.2) -> dict[str, np.ndarray]:
    """The numbers of the rows of each split, drawn by ``split_seed``: shares ``val`` and ``test``, the rest train."""
    drawn = np.random.default_rng(split_seed).permutation(rows)
    return dict(zip(SPLITS, np.split(drawn, [round((1 - val - test) * rows), round((1 - test) * rows)]), strict=True))


def scale(
    name: str,
    inputs: np.ndarray,
    targets: np.ndarray,
    parts: dict[str, np.ndarray],
    fit_scaler: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
    cure: str = f"mend its file, or {AGAIN}",
) -> Prepared:
    """The rows of ``parts``, their inputs scaled as ``fit_scaler`` learns from the training rows.

    ``fit_scaler`` takes the training inputs and returns (shift, scale); inputs become (x − shift) / scale, a scale
    of 0 counting as 1. ``inputs`` is float of shape (rows, …); integer ``targets`` are classes, float ones a
    regression's. Raises DataError, which ends with ``cure``, where a split has no rows, or its numbers are too large to
    scale.
    """
    for split, rows in parts.items():
        if not len(rows):
            raise DataError(f"{name}: {split} has no rows, because its file has too few; {cure}")
    with np.errstate(over="ignore", invalid="ignore"):
        shift, width = fit_scaler(inputs[parts["train"]])
    if not (np.isfinite(shift).all() and np.isfinite(width).all()):
        raise DataError(f"{name}: its inputs have numbers too large to scale; {cure}")
    # A constant that floating point does not hold exactly deviates by its rounding.
    constant = width <= 10 * np.finfo(np.result_type(width, np.float32)).eps * np.abs(shift)
    scaled = ((inputs - shift) / np.where(constant | (width == 0), 1, width)).astype(np.float32)
    classes = np.issubdtype(targets.dtype, np.integer)
    targets = targets.astype(np.int64 if classes else np.float32)
    return Prepared(
        name=name,
        task="classification" if classes else "regression",
        outputs=int(targets.max()) + 1 if classes else 1,
        inputs={split: torch.from_numpy(scaled[part]) for split, part in parts.items()},
        targets={split: torch.from_numpy(targets[part]) for split, part in parts.items()},
    )


def standard_scaler(train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each column."""
    return train.mean(axis=0), train.std(axis=0)


def min_max_scaler(train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Minimum and range of each column."""
    return train.min(axis=0), np.ptp(train, axis=0)
