"""Checkpoints: a killed training resumes after its last saved epoch and gives bit-identical results.

A checkpoint is one safetensors file: the tensors of the training state, and the rest as JSON in its only metadata
entry. Its name is a hash of everything that determines the training, so a checkpoint of other settings, source or data
never matches.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.numpy
import torch
from torch import Tensor, nn

from edgepress.files import write_atomically

SECONDS_VARIABLE = "EDGEPRESS_CHECKPOINT_SECONDS"
_SECONDS = 30.0  # minimum time between checkpoints; one of resnet9 is 105 MB
_UNREADABLE = (OSError, safetensors.SafetensorError, ValueError, KeyError, TypeError)


@dataclass
class TrainingState:
    """Everything that changes from epoch to epoch. ``generators`` are the random generators of the training."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    generators: Sequence[torch.Generator]
    best: dict[str, Tensor]
    best_loss: float
    best_epoch: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)

    def tensors(self) -> dict[str, Tensor]:
        """The tensors of the state; the first word of a name is their owner."""
        groups: dict[str, Mapping[Any, Tensor]] = {
            "network": self.network.state_dict(),
            "best": self.best,
            "generator": {place: generator.get_state() for place, generator in enumerate(self.generators)},
        }
        for number, moments in self.optimizer.state_dict()["state"].items():
            groups[f"optimizer {number}"] = moments
        return {f"{group} {name}": tensor.detach() for group, each in groups.items() for name, tensor in each.items()}

    def numbers(self) -> dict[str, Any]:
        """The rest, JSON-serializable."""
        return {
            "optimizer": self.optimizer.state_dict()["param_groups"],
            "schedule": self.schedule.state_dict(),
            "best_loss": self.best_loss,
            "best_epoch": self.best_epoch,
            "history": self.history,
        }

    def restore(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Restore the state saved as ``tensors`` and ``numbers``; tensors keep their device and memory layout."""
        groups: dict[str, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            group, name = key.rsplit(" ", 1)
            groups.setdefault(group, {})[name] = tensor
        self.network.load_state_dict(groups["network"])
        self.best = {name: torch.empty_like(tensor).copy_(groups["best"][name]) for name, tensor in self.best.items()}
        for place, generator in enumerate(self.generators):
            generator.set_state(groups["generator"][str(place)])
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        moments = {
            number: {
                name: torch.empty_like(parameter).copy_(tensor) if tensor.shape == parameter.shape else tensor
                for name, tensor in groups[f"optimizer {number}"].items()
            }
            for number, parameter in enumerate(parameters)
            if f"optimizer {number}" in groups
        }
        self.optimizer.load_state_dict({"state": moments, "param_groups": numbers["optimizer"]})
        self.schedule.load_state_dict(numbers["schedule"])
        self.best_loss, self.best_epoch = numbers["best_loss"], numbers["best_epoch"]
        self.history = numbers["history"]


class Checkpoints:
    """The checkpoints of one job, in a separate ``folder``.

    ``code`` is a digest of the training source. A checkpoint is written if the last one is ``seconds`` old (None:
    ``EDGEPRESS_CHECKPOINT_SECONDS``, or 30), and at the end of each training, since a job may have several.
    """

    def __init__(self, folder: str | Path, code: str, seconds: float | None = None) -> None:
        self.folder, self.code = Path(folder), code
        self.seconds = float(os.environ.get(SECONDS_VARIABLE, _SECONDS)) if seconds is None else seconds

    def of(self, *decisive: object) -> Checkpoint:
        """The checkpoint of the training determined by these: networks, data, generators, settings."""
        machine = (torch.__version__, torch.get_num_threads(), self.code)
        digest = hashlib.sha256()
        _feed(digest, (machine, decisive))
        return Checkpoint(self.folder / f"{digest.hexdigest()[:32]}.safetensors", self.seconds)

    def remove(self) -> None:
        """Remove the folder and empty parents, once the job has its outputs."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for parent in self.folder.parents:
            try:
                parent.rmdir()
            except OSError:
                return


class Checkpoint:
    """The checkpoint of one training."""

    def __init__(self, path: Path, seconds: float) -> None:
        self.path, self.seconds = path, seconds
        self._written = time.monotonic()

    def resume(self, state: TrainingState) -> None:
        """Restore ``state`` from the checkpoint, if there is one, and print that."""
        try:
            tensors, numbers = _read(self.path)
        except FileNotFoundError:
            return
        except _UNREADABLE as error:
            print(f"The checkpoint {self.path} is damaged and ignored: {error}")
            return
        state.restore(tensors, numbers)
        print(f"Resumed after epoch {len(state.history)}, from {self.path}")

    def save(self, state: TrainingState, ended: bool) -> None:
        """Write ``state`` if it is due. A full disk does not end the training."""
        if time.monotonic() - self._written < self.seconds and not ended:
            return
        try:
            write_atomically(self.path, _to_bytes(state))
        except OSError as error:
            print(f"The checkpoint {self.path} could not be written: {error}")
        self._written = time.monotonic()


def _to_bytes(state: TrainingState) -> bytes:
    arrays = {name: tensor.cpu().contiguous().numpy() for name, tensor in state.tensors().items()}
    about = {"crc32": _crc32(arrays), **state.numbers()}
    return safetensors.numpy.save(arrays, {"edgepress": json.dumps(about)})


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Raises one of ``_UNREADABLE`` if the file is damaged."""
    with safetensors.safe_open(path, framework="numpy") as file:
        numbers = json.loads(file.metadata()["edgepress"])
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if _crc32(arrays) != numbers.pop("crc32"):
        raise ValueError("its checksum does not match")
    return {name: torch.from_numpy(array) for name, array in arrays.items()}, numbers


def _crc32(arrays: Mapping[str, Any]) -> int:
    total = 0
    for name in sorted(arrays):
        total = zlib.crc32(arrays[name].reshape(-1), zlib.crc32(name.encode("utf-8"), total))
    return total


def _feed(digest: Any, thing: object) -> None:
    """Add ``thing`` to a hash: tensors by content, networks by architecture and tensors."""
    if isinstance(thing, Tensor):
        digest.update(f"{thing.dtype} {tuple(thing.shape)} {thing.device} ".encode())
        digest.update(thing.detach().cpu().contiguous().reshape(-1).numpy())
    elif isinstance(thing, nn.Module):
        trained = [name for name, parameter in thing.named_parameters() if parameter.requires_grad]
        _feed(digest, [repr(thing), thing.state_dict(), trained])
    elif isinstance(thing, torch.Generator):
        _feed(digest, thing.get_state())
    elif is_dataclass(thing):
        _feed(digest, vars(thing))
    elif isinstance(thing, Mapping):
        _feed(digest, [part for item in thing.items() for part in item])
    elif isinstance(thing, Sequence) and not isinstance(thing, str):
        digest.update(f"{len(thing)} ".encode())
        for each in thing:
            _feed(digest, each)
    else:
        digest.update(f"{thing!r}\n".encode())
