"""Stores masks (the entries of a tensor that are kept) in the smallest of several forms."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np

from edgepress import bitstream

_GROUP = 4  # entries per group of N:M sparsity, as in sparse tensor cores


def pack(mask: np.ndarray) -> tuple[list[Any], bytes]:
    """The form of a flat bool mask, and its bytes.

    ``all`` keeps everything. ``gaps`` has the number of entries skipped before each kept one, in the width of the
    largest gap. ``nm`` has the index of the combination of N kept entries in every group of four. ``bitmap`` has one
    bit per entry. The smallest form is chosen, the later one of equals.
    """
    if mask.all():
        return ["all"], b""
    forms: list[tuple[list[Any], bytes]] = [_gaps(mask), *_patterns(mask)]
    forms.append((["bitmap"], bitstream.pack(mask.view(np.uint8), 1)))
    smallest: tuple[list[Any], bytes] = min(reversed(forms), key=lambda form: len(form[1]))
    return smallest


def unpack(form: list[Any], count: int, take: Callable[[int], bytes]) -> np.ndarray:
    """The inverse of ``pack`` for ``count`` entries; ``take`` returns the next bytes.

    Raises ValueError if form and bytes are not a valid mask.
    """
    kind, *details = form
    if kind == "all":
        return np.ones(count, bool)
    if kind == "bitmap":
        return bitstream.unpack(take(bitstream.packed_size(count, 1)), count, 1).astype(bool)
    if kind == "gaps":
        width, positions = details
        return _from_gaps(width, positions, count, take)
    if kind == "nm":
        (kept,) = details
        return _from_patterns(kept, count, take)
    raise ValueError(f"there is no mask of kind '{kind}'")


def _gaps(mask: np.ndarray) -> tuple[list[Any], bytes]:
    positions = np.flatnonzero(mask)
    gaps = np.diff(positions, prepend=-1) - 1
    width = max(1, int(gaps.max(initial=0)).bit_length())
    return ["gaps", width, positions.size], bitstream.pack(gaps, width)


def _from_gaps(width: int, positions: int, count: int, take: Callable[[int], bytes]) -> np.ndarray:
    if positions < 0:
        raise ValueError(f"a mask keeps {positions} entries")
    gaps = bitstream.unpack(take(bitstream.packed_size(positions, width)), positions, width)
    places = np.cumsum(gaps.astype(np.int64) + 1) - 1
    if positions and places[-1] >= count:
        raise ValueError(f"a mask points at entry {places[-1]} of {count}")
    mask = np.zeros(count, bool)
    mask[places] = True
    return mask


def _combinations(kept: int) -> np.ndarray:
    """All ways to keep ``kept`` entries of a group, one per row, bool, in lexicographic order."""
    ways = list(combinations(range(_GROUP), kept))
    table = np.zeros((len(ways), _GROUP), bool)
    table[np.arange(len(ways))[:, None], ways] = True
    return table


def _patterns(mask: np.ndarray) -> list[tuple[list[Any], bytes]]:
    """The mask as N:4 patterns, if it is one: 2:4 has 6 patterns, 3 bits per four entries."""
    groups = mask[: mask.size // _GROUP * _GROUP].reshape(-1, _GROUP)
    kept = int(groups[0].sum()) if groups.size else 0
    if groups.size != mask.size or not 0 < kept < _GROUP or (groups.sum(axis=1) != kept).any():
        return []
    table = _combinations(kept)
    numbers = (groups[:, None] == table).all(axis=2).argmax(axis=1)
    return [(["nm", kept], bitstream.pack(numbers, (len(table) - 1).bit_length()))]


def _from_patterns(kept: int, count: int, take: Callable[[int], bytes]) -> np.ndarray:
    if count % _GROUP or not 0 < kept < _GROUP:
        raise ValueError(f"no mask keeps {kept} of every {_GROUP} of {count} entries")
    table = _combinations(kept)
    groups, width = count // _GROUP, (len(table) - 1).bit_length()
    numbers = bitstream.unpack(take(bitstream.packed_size(groups, width)), groups, width)
    if groups and int(numbers.max()) >= len(table):
        raise ValueError(f"a mask has pattern {int(numbers.max())} of {len(table)}")
    mask: np.ndarray = table[numbers]
    return mask.reshape(-1)
