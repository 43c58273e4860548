import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress.costs import energy
from edgepress.costs.energy import accumulator_bits, energy_per_mac

BITS = st.integers(1, 16)


@pytest.mark.parametrize(
    ("weight_bits", "act_bits", "picojoules"),
    [
        (8, 8, 0.2 + 0.1),  # the table's own multiplication and addition
        (4, 8, 0.1 + 0.1 * 28 / 32),
        (8, 4, 0.1 + 0.1 * 28 / 32),
        (4, 4, 0.05 + 0.1 * 24 / 32),
        (2, 8, 0.05 + 0.1 * 26 / 32),
        (2, 2, 0.0125 + 0.1 * 20 / 32),
        (32, 32, 3.7 + 0.9),
        (4, 32, 3.7 + 0.9),  # the weight is decoded to float32
        (32, 8, 3.7 + 0.9),
    ],
)
def test_by_hand(weight_bits, act_bits, picojoules):
    assert energy_per_mac(weight_bits, act_bits) == pytest.approx(picojoules, rel=1e-12)


def test_the_rule_meets_what_the_table_says_at_other_widths():
    """Horowitz has 3.1 pJ for a multiplication of 32-bit integers and .03 pJ for an addition of 8-bit ones."""
    multiplication_of_32_bits = energy.INT8_MULTIPLICATION * (32 * 32) / (8 * 8)
    addition_of_8_bits = energy.INT32_ADDITION * 8 / 32
    assert multiplication_of_32_bits == pytest.approx(3.1, rel=0.05)
    assert addition_of_8_bits == pytest.approx(0.03, abs=0.005)


@given(BITS, BITS)
def test_more_bits_take_more(weight_bits, act_bits):
    taken = energy_per_mac(weight_bits, act_bits)
    assert 0 < taken < energy_per_mac(weight_bits + 1, act_bits)
    assert taken < energy_per_mac(weight_bits, act_bits + 1)
    assert taken == energy_per_mac(act_bits, weight_bits) < energy_per_mac(32, 32)


@given(BITS, BITS, st.integers(1, 2**16))
def test_a_sum_never_overflows(weight_bits, act_bits, terms):
    largest = terms * 2 ** (weight_bits - 1) * 2 ** (act_bits - 1)
    assert largest <= 2 ** (accumulator_bits(weight_bits, act_bits) - 1)
