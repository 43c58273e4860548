import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgepress.encodings import Dense, MultiPoint, Reader, read
from edgepress.methods.multipoint import sum_of_points

from .test_encodings import assert_same_bits, assert_survives, stored, values
from .test_multipoint import SHAPES


def uneven():
    """Three channels of five weights, at 3 bits, with one, two and one points."""
    return sum_of_points(values((3, 5)), 3, 2, lambda _: torch.tensor([True, False, True]))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("bits", [2, 5, 8, 9, 16])
def test_points_survive(shape, bits):
    assert_survives(sum_of_points(values(shape), bits, 2))
    few = iter(values((9, shape[0]), seed=2) > 0)
    assert_survives(sum_of_points(values(shape), bits, 4, lambda _: next(few)))


def test_size_by_hand():
    _, written = stored(uneven())
    assert len(written) == 1 + 4 * 4 + 8  # 3 counts of 2 bits, 4 steps, 20 codes of 3 bits
    _, written = stored(sum_of_points(values((8, 3, 3, 3)), 4, 3))
    assert len(written) == 2 + 8 * 3 * 4 + 8 * 27 * 3 * 4 // 8
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 0, 0, 0, 1], [0, 0, 0, 0, 0]], dtype=torch.bool)
    _, written = stored(uneven().masked(mask))
    assert len(written) == 2 + 1 + 1 + 4 * 4 + 3  # bitmap, counts, lengths of 2 bits, steps, 7 codes of 3 bits


def test_a_code_is_the_level_and_the_step_its_weight():
    counts, lengths = torch.tensor([1, 2]), torch.tensor([3, 3])
    steps, codes = torch.tensor([0.5, 1.0, 0.25]), torch.tensor([0, 3, 6, 6, 2, 3, 4, 3, 0], dtype=torch.uint8)
    points = MultiPoint((2, 3), 3, counts, lengths, steps, codes)
    assert points.decode().tolist() == [[-1.5, 0.0, 1.5], [3.25, -1.0, -0.75]]
    assert points.bits == 4.5 and points.shape == (2, 3)


@given(st.sampled_from(SHAPES), st.integers(2, 9), st.floats(0, 1), st.integers(0, 99))
def test_masks_pick_entries_of_every_point(shape, bits, density, seed):
    few = iter(values((9, shape[0]), seed) > 0)
    points = sum_of_points(values(shape, seed), bits, 3, lambda _: next(few))
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < density
    picked = points.picked(mask)
    assert_same_bits(picked.decode(), points.decode()[mask])
    assert_survives(picked)
    masked = points.masked(mask)
    assert isinstance(masked.kept, MultiPoint)
    assert_same_bits(masked.decode(), torch.where(mask, points.decode(), torch.zeros(())))
    fewer = mask & (values(shape, seed + 1) > 0)
    assert_same_bits(masked.masked(fewer).decode(), points.masked(fewer).decode())
    assert_survives(masked.masked(fewer))


def test_points_can_be_encoded_anew():
    points = uneven()
    assert_same_bits(points.recoded(Dense).decode(), points.decode())
    assert_same_bits(points.masked(points.decode() > 0).recoded(Dense).decode(), points.decode().clamp(min=0))


GOOD = ["points", 3, 3, 2, 0]
FORGED = {
    "1 bit": ["points", 1, 3, 2, 0],
    "17 bits": ["points", 17, 3, 2, 0],
    "bits a fraction": ["points", 3.0, 3, 2, 0],
    "bits a text": ["points", "3", 3, 2, 0],
    "rows that do not divide": ["points", 3, 4, 2, 0],
    "rows below 0": ["points", 3, -3, 2, 0],
    "no rows": ["points", 3, 0, 2, 0],
    "rows beyond the bytes": ["points", 3, 10**12, 2, 0],
    "rows beyond 64 bits": ["points", 3, 10**30, 2, 0],
    "counts of 0 bits": ["points", 3, 3, 0, 0],
    "counts of 33 bits": ["points", 3, 3, 33, 0],
    "lengths of 33 bits": ["points", 3, 3, 2, 33],
    "lengths that do not add up": ["points", 3, 3, 2, 1],
    "too few fields": ["points", 3, 3, 2],
    "too many fields": ["points", 3, 3, 2, 0, 0],
}


def test_the_layout_is_what_the_forged_ones_change():
    assert uneven().write([]) == GOOD


@pytest.mark.parametrize("kind", FORGED)
def test_a_forged_layout_is_refused(kind):
    _, written = stored(uneven())
    with pytest.raises(ValueError):
        read(FORGED[kind], (3, 5), Reader(written + bytes(99)))


def test_bytes_that_do_not_fit_are_refused():
    _, written = stored(uneven())
    for shape in ((3, 6), (2, 5), (16,), (), (3, 5, 2)):
        with pytest.raises(ValueError):
            read(GOOD, shape, Reader(written))
    for length in range(len(written)):
        with pytest.raises(ValueError, match="expected"):
            read(GOOD, (3, 5), Reader(written[:length]))
    with pytest.raises(ValueError, match="a code of 7 on a grid of 7 levels"):
        read(GOOD, (3, 5), Reader(written[:-8] + b"\xff" * 8))
    with pytest.raises(ValueError):
        read(GOOD, (3, 5), Reader(b"\xff" + written[1:]))
