"""Operating points of a method, and their names in files and tables."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")
FLOAT_BITS = 32  # those of float32
FULL_PRECISION = f"w{FLOAT_BITS}a{FLOAT_BITS}"
_NAME = re.compile(r"(?:w(?P<bits>\d+))?(?:a(?P<act_bits>\d+))?(?:s(?P<percent>\d+(?:\.\d+)?))?")


@dataclass(frozen=True)
class Level:
    """The operating point of a method: bits per weight, bits per activation, fraction of weights removed.

    A field is None where the method does not touch it. The name joins the fields that are set:
    ``w4`` is 4-bit weights, ``w4a8`` adds 8-bit activations, ``s97.5`` is 97.5 % sparsity, which has six decimals
    at most.

    >>> str(Level(bits=4, sparsity=0.5))
    'w4s50'
    >>> Level.parse("w4a8")
    Level(bits=4, act_bits=8, sparsity=None)
    """

    bits: int | None = None
    act_bits: int | None = None
    sparsity: float | None = None

    def __str__(self) -> str:
        name = ""
        if self.bits is not None:
            name += f"w{self.bits}"
        if self.act_bits is not None:
            name += f"a{self.act_bits}"
        if self.sparsity is not None:
            name += f"s{round(self.sparsity * 100, 4):.7g}"
        return name

    @classmethod
    def parse(cls, name: str) -> Level:
        """Read a name such as ``w4s20`` back. Raises ValueError where it is none."""
        match = _NAME.fullmatch(name)
        if not name or match is None:
            raise ValueError(f"'{name}' is not a level; a level reads like w4, w4a8, s50 or w4s20")
        bits, act_bits, percent = match.group("bits", "act_bits", "percent")
        return cls(
            bits=None if bits is None else int(bits),
            act_bits=None if act_bits is None else int(act_bits),
            sparsity=None if percent is None else round(float(percent) / 100, 8),
        )


def asked(part: T | None) -> T:
    """A part of a level that a method sweeps over. Raises ValueError where the level leaves it out."""
    if part is None:
        raise ValueError("the level leaves out what the method sweeps over")
    return part


def precision(name: str) -> Level:
    """Parse a level of bits per weight and per activation alone, each 1–16 or 32 (float32).

    Raises ValueError where the name is none.
    """
    match = _NAME.fullmatch(name)
    level = Level.parse(name) if name and match else Level()
    integers = {*range(1, 17), FLOAT_BITS}
    if level.sparsity is not None or not {level.bits, level.act_bits} <= integers or str(level) != name:
        raise ValueError(f"'{name}' is no precision; say bits a weight and an activation, 1–16 or 32, as in w4a8")
    return level
