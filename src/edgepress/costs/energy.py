"""The energy of a multiply-accumulate in 45 nm CMOS, in picojoules.

At 8 and at 32 bits from Horowitz, "Computing's energy problem", ISSCC 2014, fig. 1.1.9; at other precisions by a rule.
A multiplier of b_w × b_a bits is an array of b_w · b_a cells that each add a bit, so its energy grows with the product:
from 8 bits that gives 3.2 pJ at 32 bits, where the table has 3.1. An adder is a cell a bit, so its energy grows with
the width of what it adds up: from 32 bits that gives .025 pJ at 8 bits, where the table has .03.

What the rule leaves out — control, wires, and what makes an array work at several precisions — weighs more the fewer
the bits, so below 8 bits it is a lower bound.
"""

from __future__ import annotations

from edgepress.levels import FLOAT_BITS

INT8_MULTIPLICATION = 0.2
INT32_ADDITION = 0.1
FLOAT32_MULTIPLICATION = 3.7
FLOAT32_ADDITION = 0.9
GUARD_BITS = 16  # a sum of 65,536 products cannot overflow; the longest of the networks here has 25,088


def is_float(weight_bits: int, act_bits: int) -> bool:
    """Whether the arithmetic is that of float32: one operand is, to which the other is decoded."""
    return FLOAT_BITS in (weight_bits, act_bits)


def accumulator_bits(weight_bits: int, act_bits: int) -> int:
    """The width of what products are added up in: that of a product and guard bits, 32 at 8 × 8; 32 for float32."""
    return FLOAT_BITS if is_float(weight_bits, act_bits) else weight_bits + act_bits + GUARD_BITS


def energy_per_mac(weight_bits: int, act_bits: int) -> float:
    """Energy in pJ of multiplying a weight by an activation and adding the product to a sum.

    Bits are those of integers; 32 is float32, and one such operand makes the arithmetic float32.
    """
    if is_float(weight_bits, act_bits):
        return FLOAT32_MULTIPLICATION + FLOAT32_ADDITION
    multiplication = INT8_MULTIPLICATION * (weight_bits * act_bits) / (8 * 8)
    return multiplication + INT32_ADDITION * accumulator_bits(weight_bits, act_bits) / 32
