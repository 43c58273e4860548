"""The base class of encodings, its reader, and the basic encodings: float32, other dtypes unchanged, the entries kept
by a mask, and another encoding with a factor per channel.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from math import prod
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from edgepress.encodings import masks

MAX_ENTRIES = 1 << 31  # of a tensor: limits what a damaged or hostile file can allocate


class Reader:
    """Reads bytes sequentially. Raises ValueError if there are too few."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.place = 0

    def take(self, count: int) -> bytes:
        """The next ``count`` bytes."""
        part = self.data[self.place : self.place + count]
        if count < 0 or len(part) != count:
            raise ValueError(f"{count} bytes expected at byte {self.place}, {len(part)} found")
        self.place += count
        return part

    def array(self, count: int, dtype: str) -> np.ndarray:
        """The next ``count`` numbers, little-endian, as a writable copy."""
        return np.frombuffer(self.take(count * np.dtype(dtype).itemsize), dtype).copy()


class Encoding(ABC):
    """A tensor in its stored form."""

    tag: ClassVar[str]
    tags: ClassVar[dict[str, type[Encoding]]] = {}

    def __init_subclass__(cls) -> None:
        Encoding.tags[cls.tag] = cls

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """The shape of the tensor."""

    @property
    def mask(self) -> Tensor | None:
        """The entries that are kept, if others are pruned; else None."""
        return None

    @property
    @abstractmethod
    def bits(self) -> float:
        """The bits of one weight in an operation, without masks and codebooks; the mean if entries differ."""

    @abstractmethod
    def decode(self) -> Tensor:
        """The tensor, float32 unless it is not a float; bit-identical before packing and after unpacking."""

    @abstractmethod
    def picked(self, mask: Tensor) -> Encoding:
        """The entries selected by ``mask``, of this shape, as one row."""

    def recoded(self, encode: Callable[[Tensor], Encoding]) -> Encoding:
        """The values encoded anew by ``encode``; only the kept ones if there is a mask."""
        if self.mask is None:
            return encode(self.decode())
        kept = self.decode()[self.mask]
        return Sparse(self.mask, encode(kept) if kept.numel() else Dense(kept))

    def masked(self, mask: Tensor) -> Encoding:
        """The tensor with only the entries that ``mask`` keeps."""
        return Sparse(mask, self.picked(mask))

    def scaled(self, factors: Tensor) -> Encoding:
        """The tensor, shape (channels, …), with each channel multiplied by its factor, shape (channels,)."""
        return Scaled(self, factors)

    @abstractmethod
    def write(self, parts: list[bytes]) -> list[Any]:
        """Append the bytes to ``parts``, codes last, and return the layout, which begins with ``tag``."""

    @classmethod
    @abstractmethod
    def read(cls, layout: list[Any], shape: tuple[int, ...], reader: Reader) -> Encoding:
        """The inverse of ``write``. Raises ValueError if layout and bytes do not match."""


class Dense(Encoding):
    """Every entry as float32."""

    tag = "f32"

    def __init__(self, values: Tensor) -> None:
        self.values = values.detach().to("cpu", torch.float32).clone()

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.values.shape)

    @property
    def bits(self) -> int:
        return 32

    def decode(self) -> Tensor:
        return self.values

    def picked(self, mask: Tensor) -> Dense:
        return Dense(self.values[mask])

    def scaled(self, factors: Tensor) -> Dense:
        return Dense(self.values * along_channels(factors, self.values))

    def write(self, parts: list[bytes]) -> list[Any]:
        parts.append(self.values.contiguous().numpy().astype("<f4", copy=False).tobytes())
        return [self.tag]

    @classmethod
    def read(cls, layout: list[Any], shape: tuple[int, ...], reader: Reader) -> Dense:
        return cls(torch.from_numpy(reader.array(prod(shape), "<f4")).reshape(shape))


class Exact(Encoding):
    """Entries of a dtype that is not float, such as integers and booleans, unchanged."""

    tag = "exact"
    types: ClassVar[dict[str, torch.dtype]] = {
        str(dtype).removeprefix("torch."): dtype
        for dtype in (
            *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
            *(torch.uint16, torch.uint32, torch.uint64, torch.complex64, torch.complex128),
        )
    }

    def __init__(self, values: Tensor) -> None:
        self.values = values.detach().to("cpu").clone()

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.values.shape)

    @property
    def bits(self) -> int:
        return 8 * self.values.element_size()

    def decode(self) -> Tensor:
        return self.values

    def picked(self, mask: Tensor) -> Exact:
        return Exact(self.values[mask])

    def write(self, parts: list[bytes]) -> list[Any]:
        parts.append(self.values.contiguous().numpy().tobytes())
        return [self.tag, str(self.values.dtype).removeprefix("torch.")]

    @classmethod
    def read(cls, layout: list[Any], shape: tuple[int, ...], reader: Reader) -> Exact:
        _, name = layout
        if name not in cls.types:
            raise ValueError(f"there is no type {name!r}")
        dtype = cls.types[name]
        stored = torch.uint8 if dtype == torch.bool else dtype  # a byte other than 0 and 1 is not a valid bool
        data = bytearray(reader.take(prod(shape) * dtype.itemsize))
        values = torch.frombuffer(data, dtype=stored) if data else torch.empty(0, dtype=stored)
        return cls(values.reshape(shape).to(dtype))


def as_it_is(tensor: Tensor) -> Encoding:
    """An uncompressed tensor: float32 if it is a float of any precision, else unchanged."""
    return Dense(tensor) if tensor.is_floating_point() else Exact(tensor)


class Sparse(Encoding):
    """The entries that a mask keeps, in another encoding; all others are 0.

    The mask is stored as a bitmap, as gaps or as patterns of groups, whichever is smallest (``encodings.masks``).
    """

    tag = "sparse"

    def __init__(self, mask: Tensor, kept: Encoding) -> None:
        if kept.shape != (int(mask.count_nonzero()),):
            raise ValueError(f"a mask keeps {int(mask.count_nonzero())} entries, but {kept.shape} are given")
        self._mask = mask
        self.kept = kept

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.mask.shape)

    @property
    def mask(self) -> Tensor:
        return self._mask

    @property
    def bits(self) -> float:
        return self.kept.bits

    def decode(self) -> Tensor:
        values = torch.zeros(self.mask.numel(), dtype=torch.float32)
        values[self.mask.reshape(-1)] = self.kept.decode()
        return values.reshape(self.mask.shape)

    def picked(self, mask: Tensor) -> Encoding:
        return self.masked(mask).kept if bool((mask <= self.mask).all()) else Dense(self.decode()[mask])

    def masked(self, mask: Tensor) -> Sparse:
        both = mask & self.mask
        return Sparse(both, self.kept.picked(both[self.mask]))

    def scaled(self, factors: Tensor) -> Encoding:
        if not isinstance(self.kept, Dense):
            return Scaled(self, factors)
        each = along_channels(factors, self.mask).expand(self.shape)[self.mask]
        return Sparse(self.mask, self.kept.scaled(each))

    def write(self, parts: list[bytes]) -> list[Any]:
        form, packed = masks.pack(self.mask.reshape(-1).numpy())
        parts.append(packed)
        return [self.tag, form, self.kept.write(parts)]

    @classmethod
    def read(cls, layout: list[Any], shape: tuple[int, ...], reader: Reader) -> Sparse:
        _, form, kept = layout
        mask = masks.unpack(form, prod(shape), reader.take)
        return cls(torch.from_numpy(mask).reshape(shape), read(kept, (int(mask.sum()),), reader))


class Scaled(Encoding):
    """A tensor, shape (channels, …), in another encoding, with a float32 factor per channel."""

    tag = "scaled"

    def __init__(self, coded: Encoding, factors: Tensor) -> None:
        if factors.shape != coded.shape[:1]:
            raise ValueError(f"{tuple(factors.shape)} factors for the channels of a tensor {coded.shape}")
        self.coded = coded
        self.factors = factors.detach().to("cpu", torch.float32)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.coded.shape

    @property
    def mask(self) -> Tensor | None:
        return self.coded.mask

    @property
    def bits(self) -> float:
        return self.coded.bits

    def decode(self) -> Tensor:
        values = self.coded.decode()
        return values * along_channels(self.factors, values)

    def picked(self, mask: Tensor) -> Dense:
        return Dense(self.decode()[mask])  # entries in one row have no channel

    def masked(self, mask: Tensor) -> Scaled:
        return Scaled(self.coded.masked(mask), self.factors)

    def scaled(self, factors: Tensor) -> Scaled:
        return Scaled(self.coded, self.factors * factors)

    def write(self, parts: list[bytes]) -> list[Any]:
        parts.append(self.factors.numpy().astype("<f4", copy=False).tobytes())
        return [self.tag, self.coded.write(parts)]

    @classmethod
    def read(cls, layout: list[Any], shape: tuple[int, ...], reader: Reader) -> Scaled:
        _, coded = layout
        factors = torch.from_numpy(reader.array(prod(shape[:1]), "<f4"))
        return cls(read(coded, shape, reader), factors)


def along_channels(factors: Tensor, values: Tensor) -> Tensor:
    """``factors``, shape (channels,), reshaped to multiply ``values``, shape (channels, …)."""
    return factors.reshape(-1, *[1] * (values.dim() - 1))


def read(layout: Any, shape: Any, reader: Reader) -> Encoding:
    """Read the encoding that a layout describes. Raises ValueError or TypeError if layout, shape and bytes do not
    match, or a tensor would have more than 2^31 entries.
    """
    if not isinstance(layout, list) or not layout or layout[0] not in Encoding.tags:
        raise ValueError(f"there is no encoding like {layout}")
    if not all(isinstance(side, int) and side >= 0 for side in shape) or prod(shape) > MAX_ENTRIES:
        raise ValueError(f"no tensor has the shape {shape}")
    return Encoding.tags[layout[0]].read(layout, tuple(shape), reader)
