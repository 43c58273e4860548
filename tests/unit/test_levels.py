import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress.config import ConfigError, parse
from edgepress.levels import Level, asked, precision

bits = st.none() | st.integers(1, 64)


@pytest.mark.parametrize(
    "level, name",
    [
        (Level(bits=4), "w4"),
        (Level(bits=16, act_bits=8), "w16a8"),
        (Level(act_bits=8), "a8"),
        (Level(sparsity=0.5), "s50"),
        (Level(sparsity=0.0), "s0"),
        (Level(sparsity=0.975), "s97.5"),
        (Level(sparsity=0.07), "s7"),
        (Level(sparsity=0.29), "s29"),
        (Level(bits=4, sparsity=0.2), "w4s20"),
        (Level(bits=2, act_bits=4, sparsity=0.999), "w2a4s99.9"),
    ],
)
def test_names(level, name):
    assert str(level) == name
    assert Level.parse(name) == level


@pytest.mark.parametrize(
    "name",
    ["", "4", "w", "wa8", "w4 ", " w4", "w4\n", "W4", "w-4", "w4.5", "s", "s.5", "s5.", "s1e3", "a8w4", "w4x", "w4w4"],
)
def test_what_is_no_level_is_rejected(name):
    with pytest.raises(ValueError, match=f"^'{re.escape(name)}' is not a level"):
        Level.parse(name)


@given(bits, bits, st.none() | st.integers(0, 10**4 - 1).map(lambda n: n / 10**4))
def test_names_are_read_back(weight_bits, act_bits, sparsity):
    level = Level(weight_bits, act_bits, sparsity)
    if str(level):
        assert Level.parse(str(level)) == level


@pytest.mark.parametrize(
    "shares", [[0.9999999], [1e-7], [0.0, 1e-12], [-0.0], [0.5, 0.500000001], [1 / 3, 2 / 3], [0.123456]], ids=str
)
def test_levels_of_a_config_have_names_of_their_own_that_are_read_back(shares):
    try:
        names = parse({"sparsity": shares}).levels("magnitude")
    except ConfigError:
        return  # refusing such a share is as good
    assert len(set(names)) == len(shares)
    assert [Level.parse(name).sparsity for name in names] == pytest.approx(shares, abs=1e-6)
    assert all(Level.parse(name).sparsity < 1 for name in names)


@pytest.mark.parametrize("name", ["w8a8", "w1a16", "w32a32", "w4a32"])
def test_a_precision_is_read_back(name):
    level = precision(name)
    assert str(level) == name and level.sparsity is None


@pytest.mark.parametrize("name", ["", "w8", "a8", "w8a8s50", "w0a8", "w17a8", "w8a31", "w08a8", "8a8", "w8a8\n"])
def test_what_is_no_precision_is_told(name):
    with pytest.raises(ValueError, match="is no precision; say bits"):
        precision(name)


def test_a_method_says_what_its_level_leaves_out():
    assert asked(Level(bits=4).bits) == 4 and asked(Level(sparsity=0.0).sparsity) == 0.0
    with pytest.raises(ValueError, match="leaves out"):
        asked(Level(bits=4).sparsity)
