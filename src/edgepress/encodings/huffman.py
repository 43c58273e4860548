"""Huffman coding: frequent codes take fewer bits."""

from __future__ import annotations

import zlib
from math import prod
from typing import Any

import numpy as np
from torch import Tensor

from edgepress import bitstream
from edgepress.encodings.base import Encoding, Reader, Scaled, Sparse, read
from edgepress.encodings.channels import MultiPoint, PerChannel
from edgepress.encodings.codes import Dithered, Quantized

_WIDEST = 8  # maximum bits of a code, because deflate's symbols are bytes


class Huffman(Encoding):
    """Another encoding with its codes Huffman-coded (Han et al. 2016, arXiv 1510.00149) as a deflate stream of literals
    only (RFC 1951), which any inflater reads.

    Raises ValueError if ``coded`` has no codes, or codes of more than 8 bits.
    """

    tag = "huffman"

    def __init__(self, coded: Encoding) -> None:
        self.coded = coded
        self._numbers, self._width = _codes(coded)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.coded.shape

    @property
    def bits(self) -> float:
        return self.coded.bits

    @property
    def mask(self) -> Tensor | None:
        return self.coded.mask

    def decode(self) -> Tensor:
        return self.coded.decode()

    def picked(self, mask: Tensor) -> Encoding:
        return self.coded.picked(mask)

    def masked(self, mask: Tensor) -> Encoding:
        return self.coded.masked(mask)

    def write(self, parts: list[bytes]) -> list[Any]:
        """What precedes the codes, then the stream; the layout has the sizes of both."""
        before: list[bytes] = []
        layout = self.coded.write(before)
        before.pop()
        parts += [b"".join(before), deflated(self._numbers)]
        return [self.tag, len(parts[-2]), len(parts[-1]), self._width, self._numbers.size, layout]

    @classmethod
    def read(cls, layout: list[Any], shape: tuple[int, ...], reader: Reader) -> Huffman:
        _, before, after, width, count, coded = layout
        if not 1 <= width <= _WIDEST or not 0 <= count <= prod(shape) << _WIDEST:
            raise ValueError(f"there are no {count} codes of {width} bits to inflate")
        start = reader.take(before)
        codes = bitstream.pack(_inflated(reader.take(after), count), width)
        inner = Reader(start + codes)
        encoding = read(coded, shape, inner)
        if inner.place != len(inner.data):
            raise ValueError(f"{len(inner.data) - inner.place} bytes of its codes are left over")
        return cls(encoding)


def coded(encoding: Encoding) -> Encoding:
    """The encoding with Huffman-coded codes; unchanged if it has none or they are too wide."""
    try:
        return Huffman(encoding)
    except ValueError:
        return encoding


def _codes(encoding: Encoding) -> tuple[np.ndarray, int]:
    """The codes of an encoding, flat, and their width. Raises ValueError if they cannot be Huffman-coded."""
    if isinstance(encoding, Sparse):
        return _codes(encoding.kept)
    if isinstance(encoding, Dithered):
        return _codes(encoding.rounded)
    if isinstance(encoding, Scaled):
        return _codes(encoding.coded)
    if not isinstance(encoding, Quantized | PerChannel | MultiPoint):
        raise ValueError(f"{encoding.tag} has no codes")
    width = encoding.code_bits if isinstance(encoding, MultiPoint) else int(encoding.bits)
    if width > _WIDEST:
        raise ValueError(f"codes of {width} bits are wider than {_WIDEST}")
    return encoding.codes.reshape(-1).numpy().astype(np.uint8), width


def deflated(numbers: np.ndarray) -> bytes:
    """Codes of a byte each, by Huffman's code: a deflate stream of literals alone."""
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS, 9, zlib.Z_HUFFMAN_ONLY)
    return deflater.compress(numbers.tobytes()) + deflater.flush()


def _inflated(stream: bytes, count: int) -> np.ndarray:
    """``count`` codes. Raises ValueError if the stream is invalid or has another number of codes."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        numbers = inflater.decompress(stream, count + 1)
    except zlib.error as error:
        raise ValueError(f"its codes cannot be inflated: {error}") from None
    if len(numbers) != count or not inflater.eof or inflater.unused_data:
        raise ValueError(f"its codes do not inflate to {count} of them")
    return np.frombuffer(numbers, np.uint8)
