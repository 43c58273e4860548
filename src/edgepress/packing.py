"""Compressed networks as files: the bytes that a device would store.

A packed file is a safetensors file with one tensor, ``payload`` (the bytes of every tensor of the network, one after
the other), and one entry of metadata, ``edgepress``: JSON with the ``format``, the ``layout`` (name, shape and encoding
of each tensor, in the payload's order; and the grids of activations where these are quantized) and the ``crc32`` of
layout and payload. One payload, because a safetensors
entry costs some 70 bytes and a network of 30 small tensors would otherwise weigh more in its header than in its
weights; one entry of metadata, because safetensors writes several in no particular order, and the same network must
be the same bytes.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from torch import Tensor

from edgepress import encodings
from edgepress.activations import ActivationGrid
from edgepress.encodings import Encoding, Reader
from edgepress.files import FileError

FORMAT = 1
NO_GRIDS: Mapping[str, ActivationGrid] = MappingProxyType({})


class PackedFileError(FileError):
    """A packed file that cannot be read; the message names the file and says what is wrong with it."""


class Compressed:
    """A network in compressed form: every tensor of its inference state, by name, in its encoding, and the grids of
    its activations, by their place in the network, where these are quantized.
    """

    def __init__(
        self, tensors: Mapping[str, Encoding], activations: Mapping[str, ActivationGrid] | None = None
    ) -> None:
        self.tensors = dict(tensors)
        self.activations = dict(activations or {})

    def with_tensors(self, tensors: Mapping[str, Encoding]) -> Compressed:
        """The same network with some tensors in another encoding."""
        return Compressed({**self.tensors, **tensors}, self.activations)

    def with_activations(self, grids: Mapping[str, ActivationGrid]) -> Compressed:
        """The same network with its activations on ``grids``."""
        return Compressed(self.tensors, grids)

    def state_dict(self) -> dict[str, Tensor]:
        """The network's tensors as float32, rebuilt from what is stored."""
        return {name: encoding.decode() for name, encoding in self.tensors.items()}

    def to_bytes(self) -> bytes:
        """The packed file. Its length is the size of the network on a device."""
        parts: list[bytes] = []
        layout: Any = [[name, list(e.shape), e.write(parts)] for name, e in self.tensors.items()]
        if self.activations:
            grids = {name: [grid.bits, grid.step, grid.zero_point] for name, grid in self.activations.items()}
            layout = {"tensors": layout, "activations": grids}
        return _container(layout, b"".join(parts))

    @classmethod
    def from_bytes(cls, data: bytes, source: str = "the packed file") -> Compressed:
        """Unpack. Raises PackedFileError, naming ``source``, where the bytes are not what was packed."""
        layout, payload = _open_container(data, source)
        if isinstance(layout, dict) and "no_network" in layout:
            raise PackedFileError(f"{source} holds no network: {layout['no_network']}")
        try:
            if not isinstance(layout, dict):
                layout = {"tensors": layout, "activations": {}}
            activations = {name: ActivationGrid(*grid) for name, grid in layout["activations"].items()}
            reader, layout = Reader(payload), layout["tensors"]
            tensors = {name: encodings.read(spec, shape, reader) for name, shape, spec in layout}
            if len(tensors) != len(layout):
                raise ValueError("a tensor is named twice")
            if reader.place != len(payload):
                raise ValueError(f"{len(payload) - reader.place} bytes are left over")
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise PackedFileError(f"{source} does not hold what its header says: {error}") from error
        return cls(tensors, activations)

    @classmethod
    def load(cls, path: str | Path) -> Compressed:
        """Read a packed file from disk. Raises PackedFileError where it is damaged."""
        return cls.from_bytes(Path(path).read_bytes(), str(path))


def without_network(reason: str) -> bytes:
    """A packed file that holds no network, and says why: the level does not apply, or failed."""
    return _container({"no_network": reason}, b"")


def _container(layout: Any, payload: bytes) -> bytes:
    header = {"format": FORMAT, "crc32": _crc32(layout, payload), "layout": layout}
    return safetensors.numpy.save({"payload": np.frombuffer(payload, np.uint8)}, {"edgepress": _compact(header)})


def _open_container(data: bytes, source: str) -> tuple[Any, bytes]:
    try:
        tensors = dict(safetensors.deserialize(data))
        length = int.from_bytes(data[:8], "little")
        header = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["edgepress"])
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise PackedFileError(f"{source} is not a packed network, or is damaged: {error}") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT or list(tensors) != ["payload"]:
        raise PackedFileError(f"{source} is not a packed network of format {FORMAT}")
    layout, payload = header.get("layout"), bytes(tensors["payload"]["data"])
    if _crc32(layout, payload) != header.get("crc32"):
        raise PackedFileError(f"{source} is damaged: its checksum does not fit; make it again")
    return layout, payload


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _crc32(layout: Any, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(_compact(layout).encode("utf-8")))
