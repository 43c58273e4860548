"""Masks as bytes: which entries of a tensor are kept, in whichever form is smallest."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np

from edgepress import bitstream

_GROUP = 4  # entries; those of which N are kept in every group are what sparse tensor cores run


def pack(mask: np.ndarray) -> tuple[list[Any], bytes]:
    """The form of a mask, bool and flat, and its bytes.

    ``all`` keeps everything. ``gaps`` says how many entries are skipped before each kept one, in the width of the
    widest gap; ``nm`` which N of every four entries are kept, as the number of that combination; ``bitmap`` has a bit
    an entry. The smallest is taken, of two equal ones the later.
    """
    if mask.all():
        return ["all"], b""
    forms: list[tuple[list[Any], bytes]] = [_gaps(mask), *_patterns(mask)]
    forms.append((["bitmap"], bitstream.pack(mask.view(np.uint8), 1)))
    smallest: tuple[list[Any], bytes] = min(reversed(forms), key=lambda form: len(form[1]))
    return smallest


def unpack(form: list[Any], count: int, take: Callable[[int], bytes]) -> np.ndarray:
    """The mask of ``count`` entries that ``pack`` wrote; ``take`` gives the next bytes.

    Raises ValueError where form and bytes are none of a mask.
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
    """The ways to keep ``kept`` entries of a group, a row each, bool, in the order of their places."""
    ways = list(combinations(range(_GROUP), kept))
    table = np.zeros((len(ways), _GROUP), bool)
    table[np.arange(len(ways))[:, None], ways] = True
    return table


def _patterns(mask: np.ndarray) -> list[tuple[list[Any], bytes]]:
    """The mask as patterns of groups, if it is one of them: 2 of 4 are 6 patterns, 3 bits for four entries."""
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
