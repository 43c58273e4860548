"""Where each value lies: one arena, planned by lifetimes before anything is compiled.

A value has its place from the step that writes it to the last one that reads it, and what a kernel needs for itself for
that step alone. What is computed entry by entry is written over what it reads where nothing else reads that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgepress.targets.c.plan import Average, Convolution, Maximum, Plan, Step, Sum, Value

_ALIGNED = 8  # bytes
_SLACK = 1.05  # of the smallest arena, that more rows at a time may take


@dataclass(frozen=True)
class Scratch:
    """What a layer's kernel needs beside its values: ``fixed`` bytes, and a band of the input as wide as ``row`` bytes,
    of which ``rows`` output rows at a time read ``stride`` · (rows − 1) + ``least``. ``whole``: all rows at a time.
    """

    fixed: int
    row: int
    stride: int
    least: int
    out_rows: int
    whole: bool = False

    def band(self, rows: int) -> int:
        """Bytes of the band that ``rows`` output rows read."""
        return aligned(self.row * (self.stride * (rows - 1) + self.least))

    def size(self, rows: int) -> int:
        """All of its bytes."""
        return self.band(rows) + self.fixed


@dataclass(frozen=True)
class Arena:
    """Offsets of values, by name, and of the scratch of layers, by name; all in bytes. ``rows``: output rows that each
    layer computes at a time.
    """

    size: int
    values: Mapping[str, int]
    scratch: Mapping[str, int]
    rows: Mapping[str, int]


@dataclass(frozen=True)
class _Piece:
    name: str
    size: int
    first: int
    last: int


def aligned(size: int) -> int:
    """``size`` rounded up to where any type may begin."""
    return -(-size // _ALIGNED) * _ALIGNED


def arena(plan: Plan, scratch: Mapping[str, Scratch]) -> Arena:
    """The smallest arena found, and then as many rows at a time as take a twentieth more of it at most."""
    pieces, names = _values(plan)
    places = {step.layer: place for place, step in enumerate(plan.steps) if isinstance(step, Convolution)}

    def laid(rows: Mapping[str, int]) -> tuple[int, dict[str, int]]:
        own = [_Piece(f"scratch {name}", scratch[name].size(rows[name]), at, at) for name, at in places.items()]
        return _laid([*pieces, *own])

    rows = {name: each.out_rows if each.whole else 1 for name, each in scratch.items()}
    least, _ = laid(rows)
    live = {name: sum(p.size for p in pieces if p.first <= at <= p.last) for name, at in places.items()}
    for name, each in scratch.items():
        for bands in range(1, each.out_rows + 1):
            count = -(-each.out_rows // bands)
            if live[name] + each.size(count) <= least * _SLACK and count > rows[name]:
                more = rows | {name: count}
                if laid(more)[0] <= least * _SLACK:
                    rows = more
                    break
    size, offsets = laid(rows)
    values = {name: offsets[piece] for name, piece in names.items()}
    return Arena(size, values, {name: offsets[f"scratch {name}"] for name in places}, rows)


def _values(plan: Plan) -> tuple[list[_Piece], dict[str, str]]:
    """The pieces of memory that values take, and for each value the piece that it is in."""
    last = {plan.entry.name: -1}
    first = {plan.entry.name: -1}
    for place, step in enumerate(plan.steps):
        for value in step.reads:
            last[value.name] = place
        first.setdefault(step.writes.name, place)
        last.setdefault(step.writes.name, place)
    names = {plan.entry.name: plan.entry.name}
    pieces = {plan.entry.name: _Piece(plan.entry.name, aligned(plan.entry.size), -1, last[plan.entry.name])}
    for place, step in enumerate(plan.steps):
        if step.writes == plan.end:  # the caller's
            continue
        over = _written_over(step)
        name = step.writes.name
        if over is not None and last[over.name] == place and over.size >= step.writes.size:
            piece = pieces[names[over.name]]
            if piece.last == place:
                names[name] = piece.name
                pieces[piece.name] = _Piece(piece.name, piece.size, piece.first, last[name])
                continue
        names[name] = name
        pieces[name] = _Piece(name, aligned(step.writes.size), place, last[name])
    return list(pieces.values()), names


def _written_over(step: Step) -> Value | None:
    """The value whose place what a step writes may take."""
    if isinstance(step, Convolution):
        return step.reads[1] if len(step.reads) == 2 and step.reads[1].name != step.source.name else None
    if isinstance(step, Maximum):
        return step.source if step.window.before == (0, 0) else None
    return step.source if isinstance(step, Sum | Average) else None


def _laid(pieces: Sequence[_Piece]) -> tuple[int, dict[str, int]]:
    """The size of the arena and the offset of each piece: each at the lowest place that is free, in the best of a few
    orders.
    """
    orders = (
        lambda piece: (-piece.size, piece.first, piece.name),
        lambda piece: (piece.first - piece.last, -piece.size, piece.name),
        lambda piece: (piece.first, -piece.size, piece.name),
    )
    found = []
    for order in orders:
        offsets: dict[str, int] = {}
        done: list[_Piece] = []
        for piece in sorted(pieces, key=order):
            taken = sorted(
                (offsets[other.name], offsets[other.name] + other.size)
                for other in done if other.first <= piece.last and piece.first <= other.last
            )  # fmt: skip
            place = 0
            for begin, end in taken:
                if begin - place >= piece.size:
                    break
                place = max(place, end)
            offsets[piece.name] = place
            done.append(piece)
        found.append((max((offsets[p.name] + p.size for p in pieces), default=0), offsets))
    return min(found, key=lambda each: each[0])
