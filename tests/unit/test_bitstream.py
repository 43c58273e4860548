import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress import bitstream

widths = st.integers(1, 32)


@st.composite
def numbers_of_a_width(draw):
    width = draw(widths)
    return draw(st.lists(st.integers(0, 2**width - 1), max_size=70)), width


@given(numbers_of_a_width())
def test_numbers_survive_and_lie_little_endian_without_gaps(case):
    numbers, width = case
    packed = bitstream.pack(np.array(numbers, np.int64), width)
    assert len(packed) == (len(numbers) * width + 7) // 8 == bitstream.packed_size(len(numbers), width)
    assert int.from_bytes(packed, "little") == sum(number << (i * width) for i, number in enumerate(numbers))
    assert bitstream.unpack(packed, len(numbers), width).tolist() == numbers


def test_layout_of_an_example():
    # 1, 2, 3, 4, 5 in 3 bits each, the first lowest: 0b101_100_011_010_001
    assert bitstream.pack(np.array([1, 2, 3, 4, 5]), 3) == bytes([0b11010001, 0b01011000])
    assert bitstream.pack(np.array([0xABC, 0xDEF]), 12) == bytes([0xBC, 0xFA, 0xDE])
    assert bitstream.pack(np.array([0x12345678]), 32) == bytes([0x78, 0x56, 0x34, 0x12])
    assert bitstream.pack(np.array([1, 0, 0, 0, 0, 0, 0, 0, 1]), 1) == bytes([1, 1])


@pytest.mark.parametrize("width", [1, 3, 7, 8, 9, 16, 17, 25, 26, 31, 32])
def test_the_largest_numbers_of_a_width_survive(width):
    numbers = np.full(19, 2**width - 1, np.int64)
    assert bitstream.unpack(bitstream.pack(numbers, width), 19, width).tolist() == numbers.tolist()


@pytest.mark.parametrize("width", [1, 3, 5, 12, 27])
def test_many_blocks_equal_their_parts(width):
    numbers = np.random.default_rng(width).integers(0, 2**width, 3 * 8 * bitstream._BLOCK + 13)
    packed = bitstream.pack(numbers, width)
    parts = [bitstream.pack(numbers[i : i + 80_000], width) for i in range(0, numbers.size, 80_000)]
    assert packed == b"".join(parts)
    assert np.array_equal(bitstream.unpack(packed, numbers.size, width), numbers)


@pytest.mark.parametrize("width", range(1, 33))
def test_unpacked_type_is_the_narrowest(width):
    numbers = bitstream.unpack(bitstream.pack(np.array([1]), width), 1, width)
    assert numbers.dtype == (np.uint8 if width <= 8 else np.uint16 if width <= 16 else np.uint32)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int32, np.uint32, np.int64, np.uint64])
def test_any_integer_type_packs_the_same(dtype):
    assert bitstream.pack(np.array([5, 0, 7, 2], dtype), 3) == bitstream.pack(np.array([5, 0, 7, 2]), 3)


@given(widths, st.integers(0, 9))
def test_numbers_out_of_range_are_rejected(width, others):
    for number in (-1, 2**width, -(2**width), 2**width + 1):
        with pytest.raises(ValueError, match=f"{width} bits"):
            bitstream.pack(np.array([0] * others + [number], np.int64), width)


@given(numbers_of_a_width(), st.integers(-3, 3).filter(bool))
def test_wrong_length_is_rejected(case, change):
    numbers, width = case
    packed = bitstream.pack(np.array(numbers, np.int64), width)
    damaged = packed[:change] if change < 0 else packed + bytes(change)
    if len(damaged) != len(packed):
        with pytest.raises(ValueError, match="bytes"):
            bitstream.unpack(damaged, len(numbers), width)


@pytest.mark.parametrize("width", [0, -1, 33, 64])
def test_width_out_of_range_is_rejected(width):
    with pytest.raises(ValueError, match="between 1 and 32"):
        bitstream.pack(np.array([0]), width)
    with pytest.raises(ValueError, match="between 1 and 32"):
        bitstream.unpack(b"\0", 1, width)
