"""Compressed networks as files: the bytes that a device would store.

A packed file is a safetensors file with one tensor, ``payload`` (the bytes of every tensor of the network, one after
the other), and three entries of metadata: ``format``, ``layout`` (JSON: name, shape and encoding of each tensor, in
the payload's order) and ``crc32`` of both. One payload, because a safetensors entry costs some 70 bytes and a network
of 30 small tensors would otherwise weigh more in its header than in its weights.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from torch import Tensor

from edgepress import encodings
from edgepress.encodings import Encoding, Reader

FORMAT = "edgepress 1"


class PackedFileError(ValueError):
    """A packed file that cannot be read; the message names the file and says what is wrong with it."""


class Compressed:
    """A network in compressed form: every tensor of its inference state, by name, in its encoding."""

    def __init__(self, tensors: Mapping[str, Encoding]) -> None:
        self.tensors = dict(tensors)

    def state_dict(self) -> dict[str, Tensor]:
        """The network's tensors as float32, rebuilt from what is stored."""
        return {name: encoding.decode() for name, encoding in self.tensors.items()}

    def to_bytes(self) -> bytes:
        """The packed file. Its length is the size of the network on a device."""
        parts: list[bytes] = []
        layout = [[name, list(e.shape), e.write(parts)] for name, e in self.tensors.items()]
        return _container(layout, b"".join(parts))

    @classmethod
    def from_bytes(cls, data: bytes, source: str = "the packed file") -> Compressed:
        """Unpack. Raises PackedFileError, naming ``source``, where the bytes are not what was packed."""
        layout, payload = _open_container(data, source)
        if isinstance(layout, dict):
            raise PackedFileError(f"{source} holds no network; the level does not apply: {layout.get('skipped')}")
        try:
            reader = Reader(payload)
            tensors = {name: encodings.read(spec, tuple(shape), reader) for name, shape, spec in layout}
            if reader.place != len(payload):
                raise ValueError(f"{len(payload) - reader.place} bytes are left over")
        except (ValueError, TypeError) as error:
            raise PackedFileError(f"{source} does not hold what its header says: {error}") from error
        return cls(tensors)

    @classmethod
    def load(cls, path: str | Path) -> Compressed:
        """Read a packed file from disk. Raises PackedFileError where it is damaged."""
        return cls.from_bytes(Path(path).read_bytes(), str(path))


def skipped(reason: str) -> bytes:
    """A packed file without a network, which says why the level does not apply."""
    return _container({"skipped": reason}, b"")


def _container(layout: Any, payload: bytes) -> bytes:
    text = json.dumps(layout, separators=(",", ":"))
    metadata = {"format": FORMAT, "layout": text, "crc32": f"{_crc32(text, payload):08x}"}
    return safetensors.numpy.save({"payload": np.frombuffer(payload, np.uint8)}, metadata)


def _open_container(data: bytes, source: str) -> tuple[Any, bytes]:
    try:
        tensors = dict(safetensors.deserialize(data))
        length = int.from_bytes(data[:8], "little")
        metadata = json.loads(data[8 : 8 + length]).get("__metadata__", {})
    except (safetensors.SafetensorError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise PackedFileError(f"{source} is not a safetensors file: {error}") from error
    if metadata.get("format") != FORMAT or list(tensors) != ["payload"]:
        raise PackedFileError(f"{source} is not a packed network of format '{FORMAT}'")
    text, payload = metadata.get("layout", ""), bytes(tensors["payload"]["data"])
    if f"{_crc32(text, payload):08x}" != metadata.get("crc32"):
        raise PackedFileError(f"{source} is damaged: its checksum does not fit; make it again")
    return json.loads(text), payload


def _crc32(text: str, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(text.encode("utf-8")))
