"""Tensor files with a checksum: prepared data, trained networks.

They are ordinary safetensors files. Their only metadata entry, ``edgepress``, is JSON: attributes of the file, and
``crc32`` of these and of the tensors with their names, types and shapes.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save
from torch import Tensor

from edgepress.files import FileError
from edgepress.logs import one_line

_ENTRY = "edgepress"
_AGAIN = "remove it, and run the same command again, which creates it"
_PAYLOAD = "payload"  # the only tensor of a packed file


@dataclass(frozen=True)
class FileSize:
    """The bytes of a network's file, or files, and how many of them hold tensors."""

    whole: int
    tensors: int

    @classmethod
    def of(cls, file: bytes) -> FileSize:
        """The size of a safetensors file."""
        return cls(len(file), tensor_bytes(file))


def to_bytes(tensors: Mapping[str, Tensor], about: Mapping[str, Any] | None = None) -> bytes:
    """The bytes of a file with ``tensors``, on the CPU, and the attributes ``about`` them."""
    # Copies, because safetensors refuses tensors that share memory, such as tied weights.
    whole = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
    entry = {**(about or {}), "crc32": _crc32(whole, about or {})}
    return save(whole, {_ENTRY: json.dumps(entry)})


def tensor_bytes(file: bytes) -> int:
    """The bytes of the tensors in a safetensors ``file``: all except the header, whose length is in the first 8
    bytes.
    """
    return len(file) - 8 - int.from_bytes(file[:8], "little")


def load(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a file made by ``to_bytes``: the tensors and the attributes.

    Raises FileError if the file does not exist, is not of this kind, or is damaged.
    """
    tensors, metadata = _read(path, _AGAIN, absent=f"`snakemake --cores 1 {path}` creates it, if it is a file of a run")
    try:
        about = dict(json.loads(metadata[_ENTRY]))
        expected = about.pop("crc32")
    except (KeyError, ValueError, TypeError, RecursionError):
        raise FileError(f"{path} has no checksum, so it is damaged or not from edgepress; {_AGAIN}") from None
    if expected != _crc32(tensors, about):
        raise FileError(f"{path} is damaged: its checksum does not match; {_AGAIN}")
    return tensors, about


def checksum(path: str | Path) -> int:
    """The checksum that the file carries; ``load`` is what compares it with the tensors.

    Raises FileError where there is none.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return int(json.loads(file.metadata()[_ENTRY])["crc32"])
    except (safetensors.SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
        raise FileError(f"{path} has no checksum that can be read ({one_line(error)}); {_AGAIN}") from None


def load_foreign(path: str | Path) -> dict[str, Tensor]:
    """Read the tensors of any safetensors file. A file of edgepress is checked as in ``load``.

    Raises FileError if the file does not exist, is not safetensors, is packed, or is damaged.
    """
    tensors, metadata = _read(path, "save its tensors with safetensors.torch.save_file, or name another file")
    if _ENTRY in metadata and list(tensors) == [_PAYLOAD]:
        raise FileError(f"{path} is packed, but plain tensors are needed here; `edgepress unpack {path}` creates them")
    return load(path)[0] if _ENTRY in metadata else tensors


def _read(path: str | Path, cure: str, absent: str = "name another file") -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            names = file.keys()  # not a dict
            return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    except FileNotFoundError:
        raise FileError(f"{path} does not exist; {absent}") from None
    except (safetensors.SafetensorError, OSError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        reason = one_line(error)
        raise FileError(f"{path} cannot be read as safetensors: {reason}; {cure}") from None


def _crc32(tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> int:
    shapes = [[name, str(tensors[name].dtype), list(tensors[name].shape)] for name in sorted(tensors)]
    total = zlib.crc32(json.dumps([shapes, about], sort_keys=True).encode("utf-8"))
    for name in sorted(tensors):
        total = zlib.crc32(tensors[name].reshape(-1).view(torch.uint8).numpy().data, total)
    return total
