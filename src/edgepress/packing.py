"""Packed files of compressed networks: the bytes that a device would store.

A packed file is a safetensors file with one tensor, ``payload``, the concatenated bytes of all tensors of the network,
and one metadata entry, ``edgepress``, which is text of four parts:

- the format;
- a CRC-32 of layout, payload and names;
- the methods that made the file, joined by ``+``; they decide its ``Spec``;
- the layout as JSON: name, shape and encoding of each tensor in the payload's order (a tensor with several names refers
  to the first), and the grids of quantized activations; if shorter, deflated JSON in base 85.

There is one payload because a safetensors entry costs some 70 bytes, so a network of 30 small tensors would have a
header larger than its weights. There is one metadata entry because safetensors writes several in no fixed order, but
the same network must give the same bytes. The names of methods have a place of fixed width, so the size of a file does
not depend on them.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
import reprlib
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from torch import Tensor, nn

from edgepress import encodings, registry
from edgepress.activations import ActivationGrid, with_quantized_activations
from edgepress.encodings import Encoding, Reader
from edgepress.files import FileError
from edgepress.logs import one_line
from edgepress.spec import STEPS, Spec
from edgepress.widths import with_state

FORMAT = 3
_NAMES = 33  # width of the names of the methods; longer ones make the file larger
_HEADER = re.compile(r"(\d+) (\d+) (\S*) +(\S.*)", re.DOTALL)
MAX_LAYOUT = 1 << 26  # bytes of an inflated layout
MAX_ENTRIES = 1 << 29  # of all tensors, 2 GB unpacked: limits what a hostile file can allocate

_SAME = "same"  # layout of a tensor that is already stored under another name
_AGAIN = "remove it, and run the same command again, or name a packed file"


class PackedFileError(FileError):
    """A packed file cannot be read. The message names the file and the fault."""


class Compressed:
    """A compressed network: the encoding of every tensor of its inference state, by name, and the grids of quantized
    activations, by their position in the network. A tensor with several names (tied weights) has the same encoding
    object under each name. A network from a file has the methods that made it as ``steps``.

    >>> import torch
    >>> from edgepress.methods.rounding import rounded
    >>> packed = Compressed({"weight": rounded(torch.tensor([0.0, 0.4, 1.0]), "uniform", bits=1)}).to_bytes()
    >>> Compressed.from_bytes(packed).state_dict()
    {'weight': tensor([0., 0., 1.])}
    """

    def __init__(
        self,
        tensors: Mapping[str, Encoding],
        activations: Mapping[str, ActivationGrid] | None = None,
        steps: Sequence[str] = (),
    ) -> None:
        self.tensors = dict(tensors)
        self.activations = dict(activations or {})
        self.steps = tuple(steps)

    @property
    def spec(self) -> Spec:
        """The settings of the methods that made the file."""
        return registry.spec(self.steps)

    def with_tensors(self, tensors: Mapping[str, Encoding]) -> Compressed:
        """The network with other encodings for some tensors, under all of their names."""
        changed: dict[int, Encoding] = {}
        for name, encoding in tensors.items():
            changed.setdefault(id(self.tensors.get(name, encoding)), encoding)
        merged = {**tensors, **self.tensors}
        names = dict.fromkeys([*self.tensors, *tensors])
        return Compressed({name: changed.get(id(merged[name]), merged[name]) for name in names}, self.activations)

    def with_activations(self, grids: Mapping[str, ActivationGrid]) -> Compressed:
        """The network with activations quantized to ``grids``."""
        return Compressed(self.tensors, grids)

    def smallest_with(self, others: Mapping[str, Encoding]) -> Compressed:
        """The network with the encodings ``others`` for those tensors where they make the file smaller.

        A smaller tensor may have a larger layout, which is deflated as a whole. So each tensor in turn is decided by
        the size of the file. The file is never larger than before.
        """
        first = self._first_names()
        others = {first[name]: encoding for name, encoding in others.items()}
        here, there = ({name: _written(each) for name, each in some.items()} for some in (self.tensors, others))

        def size(taken: set[str]) -> int:
            chosen = {name: there[name] if name in taken else here[name] for name in here if first[name] == name}
            forms = {name: chosen[name][0] if first[name] == name else [_SAME, first[name]] for name in here}
            layout = [[name, list(self.tensors[name].shape), form] for name, form in forms.items()]
            return len(_container(self._layout(layout), b"")) + sum(length for _, length in chosen.values())

        files = [self]
        for taken in (set(others), {name for name in others if there[name][1] < here[name][1]}):
            for name in others:
                taken = min(taken, taken ^ {name}, key=size)
            files.append(self.with_tensors({name: others[name] for name in taken}))
        return min(files, key=lambda file: len(file.to_bytes()))

    def state_dict(self) -> dict[str, Tensor]:
        """The decoded tensors of the network: float32, except non-float types.

        A tensor with several names is the same object under each.
        """
        decoded = {id(encoding): encoding.decode() for encoding in self.tensors.values()}
        return {name: decoded[id(encoding)] for name, encoding in self.tensors.items()}

    def rebuild(self, architecture: nn.Module) -> nn.Module:
        """The network on the CPU, with the layers of ``architecture``, which is not modified."""
        network = with_state(architecture, self.state_dict())
        return with_quantized_activations(network, self.activations) if self.activations else network

    def to_bytes(self, steps: Sequence[str] | None = None) -> bytes:
        """The bytes of the packed file, made by the methods ``steps``. Their number is the size of the network on a
        device.
        """
        parts: list[bytes] = []
        first = self._first_names()
        layout = [
            [name, list(e.shape), e.write(parts) if first[name] == name else [_SAME, first[name]]]
            for name, e in self.tensors.items()
        ]
        return _container(self._layout(layout), b"".join(parts), self.steps if steps is None else steps)

    def _first_names(self) -> dict[str, str]:
        """Maps every name of each tensor to its first name."""
        first: dict[int, str] = {}
        return {name: first.setdefault(id(encoding), name) for name, encoding in self.tensors.items()}

    def _layout(self, tensors: list[Any]) -> Any:
        """The layout of the file, given those of its tensors."""
        if not self.activations:
            return tensors
        grids = {name: _without_none(astuple(grid)) for name, grid in self.activations.items()}
        return {"tensors": tensors, "activations": grids}

    @classmethod
    def from_bytes(cls, data: bytes, source: str = "the packed file") -> Compressed:
        """Unpack. Raises PackedFileError, naming ``source``, if the bytes are not a valid packed file."""
        steps, layout, payload = _open_container(data, source)
        if isinstance(layout, dict) and "no_network" in layout:
            raise PackedFileError(f"{source} holds no network: {layout['no_network']}")
        try:
            return _unpack(layout, payload, steps)
        except ValueError as error:
            raise PackedFileError(f"{source} does not match its header: {_brief(error)}; {_AGAIN}") from error

    @classmethod
    def load(cls, path: str | Path) -> Compressed:
        """Read a packed file from disk. Raises PackedFileError if it is damaged or does not exist."""
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise PackedFileError(f"{path} cannot be read ({error.strerror}); name a packed file") from None
        return cls.from_bytes(data, str(path))


def _written(encoding: Encoding) -> tuple[Any, int]:
    """The layout of a tensor, and its number of bytes in the payload."""
    parts: list[bytes] = []
    return encoding.write(parts), sum(map(len, parts))


def _without_none(values: Iterable[Any]) -> list[Any]:
    return [value for value in values if value is not None]


def _unpack(layout: Any, payload: bytes, steps: Sequence[str]) -> Compressed:
    """Decode a payload. Raises ValueError if it does not fit the layout."""
    grids: Any = {}
    if isinstance(layout, dict):
        grids, layout = layout.get("activations"), layout.get("tensors")
    _check_layout(layout)
    reader, tensors = Reader(payload), dict[str, Encoding]()
    for name, shape, encoding in layout:
        with _named(name, encoding):
            again = isinstance(encoding, list) and encoding[:1] == [_SAME]
            tensors[name] = _same(encoding, shape, tensors) if again else encodings.read(encoding, shape, reader)
    if reader.place != len(payload):
        raise ValueError(f"{len(payload) - reader.place} bytes are left over")
    if not isinstance(grids, dict):
        raise ValueError(f"the grids of its activations are {reprlib.repr(grids)}, not names with grids")
    activations = {}
    for name, grid in grids.items():
        with _named(name, grid):
            activations[name] = ActivationGrid(*grid)
    return Compressed(tensors, activations, steps)


def _same(layout: list[Any], shape: list[int], tensors: Mapping[str, Encoding]) -> Encoding:
    """The tensor stored under an earlier name. Raises ValueError if there is none of this shape."""
    _, name = layout
    if not isinstance(name, str) or name not in tensors or tensors[name].shape != tuple(shape):
        raise ValueError(f"no earlier tensor {reprlib.repr(name)} has the shape {shape}")
    return tensors[name]


@contextlib.contextmanager
def _named(name: str, layout: Any) -> Iterator[None]:
    """Turns errors into a ValueError that names the tensor that could not be read."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{name!r}: {error}") from error
    except (ArithmeticError, TypeError, RecursionError) as error:
        raise ValueError(f"{name!r} cannot be laid out like {reprlib.repr(layout)}") from error


def _check_layout(layout: Any) -> None:
    """Raise ValueError if a layout is not a list of unique names, shapes and encodings, or is too large."""
    if not isinstance(layout, list):
        raise ValueError(f"its layout is {layout!r}, not a list")
    names, entries = set(), 0
    for entry in layout:
        if not isinstance(entry, list) or len(entry) != 3 or not isinstance(entry[0], str):
            raise ValueError(f"its layout has {reprlib.repr(entry)} in place of a name, a shape and an encoding")
        name, shape, _ = entry
        if name in names:
            raise ValueError(f"{name!r} occurs twice")
        if not isinstance(shape, list) or not all(type(side) is int and side >= 0 for side in shape):
            raise ValueError(f"{name!r} cannot have the shape {reprlib.repr(shape)}")
        names.add(name)
        entries += prod(shape)
        if entries > MAX_ENTRIES:
            raise ValueError(f"{name!r} makes it {entries:,} entries; at most {MAX_ENTRIES:,} are allowed")


def without_network(reason: str) -> bytes:
    """A packed file without a network that says why: the level does not apply, or failed."""
    return _container({"no_network": reason}, b"")


def _container(layout: Any, payload: bytes, steps: Sequence[str] = ()) -> bytes:
    deflated = base64.b85encode(zlib.compress(_compact(layout).encode("utf-8"), 9)).decode("ascii")
    # Compare lengths within the header, where JSON is a string in JSON: each quotation mark takes two characters.
    layout = min(layout, deflated, key=lambda form: len(_compact(_compact(form))))
    names, unnamed = STEPS.join(steps), _crc32(layout, payload)
    begin = f"{FORMAT} {zlib.crc32(names.encode('utf-8'), unnamed)} {names}"
    header = f"{begin:{len(f'{FORMAT} {unnamed} ') + _NAMES}} {_compact(layout)}"
    return safetensors.numpy.save({"payload": np.frombuffer(payload, np.uint8)}, {"edgepress": header})


def _header(text: str) -> tuple[int, Any, str, Any]:
    """Checksum, methods and layout, after the format, which is 0 where it is none of these."""
    if parts := _HEADER.fullmatch(text):
        return int(parts[1]), int(parts[2]), parts[3], json.loads(parts[4])
    older = json.loads(text) if text[:1] in "{[" else None
    if not isinstance(older, dict) or older.get("format") != 2:  # which was JSON, and named no methods
        return 0, None, "", None
    return FORMAT, older.get("crc32"), "", older.get("layout")


def _open_container(data: bytes, source: str) -> tuple[list[str], Any, bytes]:
    try:
        tensors = safetensors.deserialize(data)
        length = int.from_bytes(data[:8], "little")
        form, crc32, steps, layout = _header(json.loads(data[8 : 8 + length])["__metadata__"]["edgepress"])
    except (KeyError, TypeError):
        form = 0
    except (safetensors.SafetensorError, ValueError, RecursionError) as error:
        raise PackedFileError(f"{source} is not a packed network, or is damaged: {_brief(error)}; {_AGAIN}") from error
    names = [name for name, _ in tensors]
    if names != ["payload"]:
        raise PackedFileError(f"{source} is not a packed network: it holds plain tensors; run `edgepress compress` "
                              f"on it, or name a packed file")  # fmt: skip
    if form != FORMAT:
        raise PackedFileError(f"{source} is not a packed network of format {FORMAT}; {_AGAIN}")
    payload = bytes(tensors[0][1]["data"])
    if zlib.crc32(steps.encode("utf-8"), _crc32(layout, payload)) != crc32:
        raise PackedFileError(f"{source} is damaged: its checksum does not match; {_AGAIN}")
    try:
        layout = _inflated(layout) if isinstance(layout, str) else layout
        return steps.split(STEPS) if steps else [], layout, payload
    except (zlib.error, ValueError, RecursionError) as error:
        raise PackedFileError(
            f"{source} does not match its header: its layout cannot be read, {_brief(error)}; {_AGAIN}"
        ) from error


def _inflated(layout: str) -> Any:
    """Inflate a layout. Raises ValueError or zlib.error if the text is invalid."""
    inflater = zlib.decompressobj()
    text = inflater.decompress(base64.b85decode(layout), MAX_LAYOUT)
    if not inflater.eof or inflater.unused_data:
        raise ValueError(f"its text does not inflate to one of at most {MAX_LAYOUT:,} bytes")
    return json.loads(text)


def _brief(error: Exception) -> str:
    """An error's message, shortened, because some quote all of their input."""
    return one_line(error)[:200]


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _crc32(layout: Any, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(_compact(layout).encode("utf-8")))
