"""Files of tensors that notice when a bit of them has flipped: prepared data, trained networks.

They are safetensors files, which any reader of these reads. Their one entry of metadata, ``edgepress``, is JSON: what
the file says about itself, and ``crc32`` of that and of the tensors with their names, types and shapes.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save
from torch import Tensor

from edgepress.files import FileError
from edgepress.logs import one_line

_ENTRY = "edgepress"
_AGAIN = "remove it, and run the same command again, which makes it"
_PAYLOAD = "payload"  # the one tensor of a packed file


def to_bytes(tensors: Mapping[str, Tensor], about: Mapping[str, Any] | None = None) -> bytes:
    """The file of ``tensors``, on the CPU, and of what is to be said ``about`` them."""
    # Copies, for safetensors takes no two tensors of the same memory, a weight that two layers share.
    whole = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
    entry = {**(about or {}), "crc32": _crc32(whole, about or {})}
    return save(whole, {_ENTRY: json.dumps(entry)})


def tensor_bytes(file: bytes) -> int:
    """The bytes of the tensors in a safetensors ``file``: all but the header, whose length its first 8 bytes say."""
    return len(file) - 8 - int.from_bytes(file[:8], "little")


def load(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what ``to_bytes`` made: the tensors, and what is said about them.

    Raises FileError where the file is not there, is none of this kind, or is damaged.
    """
    tensors, metadata = _read(path, _AGAIN, absent=f"`snakemake --cores 1 {path}` makes it, if it is a file of a run")
    try:
        about = dict(json.loads(metadata[_ENTRY]))
        expected = about.pop("crc32")
    except (KeyError, ValueError, TypeError, RecursionError):
        raise FileError(f"{path} has no checksum, so it is damaged, or not of edgepress; {_AGAIN}") from None
    if expected != _crc32(tensors, about):
        raise FileError(f"{path} is damaged: its checksum does not fit; {_AGAIN}")
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
    """Read the tensors of a safetensors file of any origin; one of edgepress's is checked like in ``load``.

    Raises FileError where the file is not there, is no safetensors, is packed, or is damaged.
    """
    tensors, metadata = _read(path, "save its tensors with safetensors.torch.save_file, or name another file")
    if _ENTRY in metadata and list(tensors) == [_PAYLOAD]:
        raise FileError(f"{path} is packed, and plain tensors are needed here; `edgepress unpack {path}` makes them")
    return load(path)[0] if _ENTRY in metadata else tensors


def _read(path: str | Path, cure: str, absent: str = "name another file") -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            names = file.keys()  # of something that is no dict
            return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    except FileNotFoundError:
        raise FileError(f"{path} is not there; {absent}") from None
    except (safetensors.SafetensorError, OSError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        reason = one_line(error)
        raise FileError(f"{path} cannot be read as safetensors: {reason}; {cure}") from None


def _crc32(tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> int:
    shapes = [[name, str(tensors[name].dtype), list(tensors[name].shape)] for name in sorted(tensors)]
    total = zlib.crc32(json.dumps([shapes, about], sort_keys=True).encode("utf-8"))
    for name in sorted(tensors):
        total = zlib.crc32(tensors[name].reshape(-1).view(torch.uint8).numpy().data, total)
    return total
