"""Packs integers of 1 to 32 bits into bytes without gaps.

Bit 0 of the first number is bit 0 of the first byte (little-endian throughout), so 8 numbers of width b fill exactly b
bytes. The implementation is vectorized over groups of 8: it shifts number j of every group at once.
"""

from __future__ import annotations

import numpy as np

MAX_WIDTH = 32
_GROUP = 8
_BLOCK = 1 << 15  # groups per block, whose byte planes fit the L2 cache


def packed_size(count: int, width: int) -> int:
    """The number of bytes of ``count`` numbers of ``width`` bits."""
    return -(-count * width // 8)


def storage_type(width: int) -> type[np.unsignedinteger]:
    """The narrowest unsigned type that holds numbers of ``width`` bits."""
    return np.uint8 if width <= 8 else np.uint16 if width <= 16 else np.uint32


def pack(numbers: np.ndarray, width: int) -> bytes:
    """Pack a 1-D array of integers in [0, 2^width) into ``packed_size`` bytes.

    Raises ValueError if the width is not 1–32 or a number does not fit.
    """
    working = _working_type(width)
    count = numbers.size
    if count and (int(numbers.min()) < 0 or int(numbers.max()) >> width):
        raise ValueError(f"numbers from {numbers.min()} to {numbers.max()} do not fit in {width} bits")
    groups = -(-count // _GROUP)
    packed = np.empty((groups, width), np.uint8)
    for first in range(0, groups, _BLOCK):
        rows = packed[first : first + _BLOCK]
        block = np.zeros(len(rows) * _GROUP, working)
        part = numbers[first * _GROUP : (first + _BLOCK) * _GROUP]
        block[: part.size] = part
        columns = np.ascontiguousarray(block.reshape(-1, _GROUP).T)
        planes = np.zeros((width, len(rows)), np.uint8)
        for j in range(_GROUP):
            byte, shift = divmod(j * width, 8)
            shifted = columns[j] << shift
            for plane in planes[byte : -(-(j + 1) * width // 8)]:
                plane |= shifted.astype(np.uint8)
                shifted >>= 8
        rows[:] = planes.T
    return packed.tobytes()[: packed_size(count, width)]


def unpack(data: bytes, count: int, width: int) -> np.ndarray:
    """Unpack ``count`` numbers of ``width`` bits into a 1-D array of the narrowest unsigned type.

    Raises ValueError if the width is not 1–32 or ``data`` has the wrong length.
    """
    working = _working_type(width)
    if len(data) != packed_size(count, width):
        raise ValueError(f"{count} numbers of {width} bits are {packed_size(count, width)} bytes, not {len(data)}")
    groups = -(-count // _GROUP)
    raw = np.frombuffer(data.ljust(groups * width, b"\0"), np.uint8).reshape(groups, width)
    numbers = np.empty((groups, _GROUP), storage_type(width))
    mask = working((1 << width) - 1)
    for first in range(0, groups, _BLOCK):
        planes = np.ascontiguousarray(raw[first : first + _BLOCK].T).astype(working)
        columns = np.empty((_GROUP, planes.shape[1]), numbers.dtype)
        for j in range(_GROUP):
            byte, shift = divmod(j * width, 8)
            value = planes[byte] >> shift
            for k, plane in enumerate(planes[byte + 1 : -(-(j + 1) * width // 8)], start=1):
                value |= plane << (8 * k - shift)
            columns[j] = value & mask
        numbers[first : first + _BLOCK] = columns.T
    return numbers.reshape(-1)[:count]


def _working_type(width: int) -> type[np.unsignedinteger]:
    """A type wide enough for a number shifted to its position within up to 5 bytes."""
    if not 1 <= width <= MAX_WIDTH:
        raise ValueError(f"a width of {width} bits is not between 1 and {MAX_WIDTH}")
    if 8 % width == 0:  # never crosses a byte boundary
        return np.uint8
    return np.uint16 if width <= 9 else np.uint32 if width <= 25 else np.uint64
