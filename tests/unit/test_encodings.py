import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgepress import codebooks
from edgepress.encodings import Dense, Dithered, Exact, Quantized, Reader, Sparse, as_it_is, read

shapes = st.lists(st.integers(0, 5), max_size=4).map(tuple)
FITS = [codebooks.uniform, codebooks.uniform_iqr, codebooks.histogram, codebooks.midrise, codebooks.normal]


def stored(encoding):
    """The encoding after a trip to bytes and back, and those bytes."""
    parts = []
    layout = encoding.write(parts)
    reader = Reader(b"".join(parts))
    back = read(layout, encoding.shape, reader)
    assert reader.place == len(reader.data), "not all that was written was read"
    return back, b"".join(parts)


def assert_same_bits(one, other):
    assert one.dtype == other.dtype == torch.float32 and one.shape == other.shape
    assert one.contiguous().numpy().tobytes() == other.contiguous().numpy().tobytes()


def assert_survives(encoding):
    back, written = stored(encoding)
    assert back.shape == encoding.shape and back.bits == encoding.bits
    assert_same_bits(back.decode(), encoding.decode())
    assert stored(back)[1] == written


def values(shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@given(shapes, st.integers(0, 9))
def test_dense_tensors_of_any_shape_survive(shape, seed):
    tensor = values(shape, seed)
    assert_survives(Dense(tensor))
    assert_same_bits(Dense(tensor).decode(), tensor)


def test_dense_keeps_every_bit_of_special_values():
    tensor = torch.tensor([0.0, -0.0, math.inf, -math.inf, math.nan, 1e-45, 3.4e38])
    assert_survives(Dense(tensor))
    assert len(stored(Dense(tensor))[1]) == 4 * 7


def test_dense_is_a_copy():
    tensor = torch.zeros(3)
    dense = Dense(tensor)
    tensor += 1
    assert dense.decode().tolist() == [0, 0, 0]


@given(shapes, st.integers(1, 16), st.sampled_from(FITS), st.integers(0, 9))
def test_quantized_tensors_of_any_shape_survive(shape, bits, fit, seed):
    codebook = fit(values((50,), seed), bits)
    encoding = Quantized(codebook.encode(values(shape, seed)), codebook)
    assert_survives(encoding)
    assert_same_bits(encoding.decode(), codebook.decode(codebook.encode(values(shape, seed))))
    entries, parameters = math.prod(shape), 4 if fit is codebooks.normal else 2
    assert len(stored(encoding)[1]) == 8 * parameters + math.ceil(entries * bits / 8)


masks = st.one_of(
    st.lists(st.booleans(), max_size=80),
    st.tuples(st.integers(0, 400), st.sets(st.integers(0, 399), max_size=4)).map(
        lambda case: [i in case[1] for i in range(case[0])]
    ),
)


@given(masks, st.booleans())
def test_masks_of_any_pattern_survive(pattern, quantized):
    mask = torch.tensor(pattern, dtype=torch.bool)
    kept = values((int(mask.sum()),))
    codebook = codebooks.uniform(torch.tensor([-2.0, 2.0]), 3)
    encoding = Sparse(mask, Quantized(codebook.encode(kept), codebook) if quantized else Dense(kept))
    assert_survives(encoding)
    decoded = encoding.decode()
    assert torch.equal(decoded[mask], encoding.kept.decode()) and not decoded[~mask].any()


@given(shapes, st.integers(0, 9), st.floats(0, 1))
def test_sparse_tensors_of_any_shape_survive(shape, seed, density):
    tensor = values(shape, seed)
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < density
    encoding = Sparse(mask, Dense(tensor[mask]))
    assert_survives(encoding)
    assert_same_bits(encoding.decode(), torch.where(mask, tensor, torch.zeros(())))


@given(shapes.filter(bool), st.integers(0, 9), st.booleans())
def test_scaled_tensors_of_any_shape_survive(shape, seed, masked):
    tensor, factors = values(shape, seed), values(shape[:1], seed + 1)
    codebook = codebooks.uniform(torch.tensor([-2.0, 2.0]), 3)
    coded = Quantized(codebook.encode(tensor), codebook)
    coded = coded.masked(tensor > 0) if masked else coded
    scaled = coded.scaled(factors)
    assert_survives(scaled)
    each = factors.reshape(-1, *[1] * (len(shape) - 1))
    assert_same_bits(scaled.decode(), coded.decode() * each)
    assert_same_bits(scaled.scaled(torch.full(shape[:1], 2.0)).decode(), scaled.decode() * 2)
    both = tensor > -1
    assert_same_bits(scaled.masked(both).decode(), torch.where(both, scaled.decode(), 0 * each))
    with pytest.raises(ValueError, match="factors for the channels"):
        coded.scaled(values((shape[0] + 1,)))


@given(masks)
def test_the_smaller_of_bitmap_and_gaps_is_stored(pattern):
    mask = torch.tensor(pattern, dtype=torch.bool)
    encoding = Sparse(mask, Dense(torch.ones(int(mask.sum()))))
    parts = []
    _, (form, *_), _ = encoding.write(parts)
    places = [i for i, kept in enumerate(pattern) if kept]
    widest = max([after - before - 1 for before, after in pairwise([-1, *places])], default=0)
    bitmap, gaps = math.ceil(len(pattern) / 8), math.ceil(len(places) * max(1, widest.bit_length()) / 8)
    if len(places) == len(pattern):
        assert (form, len(parts[0])) == ("all", 0)
    else:
        assert len(parts[0]) == min(bitmap, gaps)
        assert form == ("gaps" if gaps < bitmap else "bitmap")


@pytest.mark.parametrize(
    "kept, form, size",
    [
        (range(1000), "all", 0),
        (range(500, 1000), "bitmap", 125),  # as gaps, 500 × 9 bits
        (range(0, 1000, 2), "gaps", 63),  # 500 × 1 bit
        (range(99, 1000, 100), "gaps", 9),  # 10 × 7 bits
        ([999], "gaps", 2),  # 10 bits
        ([], "gaps", 0),
    ],
)
def test_mask_sizes_by_hand(kept, form, size):
    mask = torch.zeros(1000, dtype=torch.bool)
    mask[list(kept)] = True
    parts = []
    layout = Sparse(mask, Dense(torch.ones(len(kept)))).write(parts)
    assert layout[1][0] == form and len(parts[0]) == size


def test_a_transposed_tensor_keeps_its_order():
    tensor = values((4, 6)).T
    mask = tensor > 0
    codebook = codebooks.uniform(tensor, 4)
    quantized = Quantized(codebook.encode(tensor), codebook)
    for encoding in (Dense(tensor), quantized, Dithered(quantized, 3), Sparse(mask, Dense(tensor[mask]))):
        assert_survives(encoding)


def test_a_mask_must_fit_what_is_kept():
    with pytest.raises(ValueError, match="keeps 1 entries"):
        Sparse(torch.tensor([True, False]), Dense(torch.zeros(2)))


def test_bits_of_a_stored_number():
    codebook = codebooks.uniform(torch.tensor([0.0, 1.0]), 5)
    codes = codebook.encode(torch.tensor([0.0]))
    assert Dense(torch.zeros(1)).bits == 32
    assert Quantized(codes, codebook).bits == Dithered(Quantized(codes, codebook), 3).bits == 5
    assert Sparse(torch.tensor([True]), Quantized(codes, codebook)).bits == 5
    assert Sparse(torch.tensor([True]), Dense(torch.zeros(1))).bits == 32


def test_reader_takes_part_after_part_and_no_more_than_there_is():
    reader = Reader(np.array([1, 2], "<f4").tobytes() + b"rest")
    assert reader.array(2, "<f4").tolist() == [1.0, 2.0]
    assert reader.take(0) == b"" and reader.take(4) == b"rest"
    for count in (1, 10**18, -1):
        with pytest.raises(ValueError, match="expected at byte 12"):
            reader.take(count)
    with pytest.raises(ValueError, match="expected"):
        Reader(b"1234567").array(2, "<f4")


@pytest.mark.parametrize("layout", [[], ["nope"], ["f32"], ["codes", "grid", 4, 2], ["sparse", ["bitmap"], ["f32"]]])
def test_too_few_bytes_or_an_unknown_layout_are_rejected(layout):
    with pytest.raises(ValueError):
        read(layout, (3,), Reader(b""))


@pytest.mark.parametrize("dtype", Exact.types.values(), ids=str)
def test_other_types_than_floats_survive_as_they_are(dtype):
    for shape in ((), (0,), (3, 2)):
        tensor = torch.randint(0, 100, shape, generator=torch.Generator().manual_seed(0)).to(dtype)
        encoding = as_it_is(tensor)
        back, written = stored(encoding)
        assert type(back) is Exact and back.shape == tensor.shape and back.bits == 8 * tensor.element_size()
        assert back.decode().dtype == dtype and torch.equal(back.decode(), tensor)
        assert len(written) == tensor.numel() * tensor.element_size()
    extreme = torch.tensor([2**63 - 1, -(2**63), 2**24 + 1])
    assert torch.equal(stored(as_it_is(extreme))[0].decode(), extreme)


def test_types_that_there_are_not_are_refused():
    for layout in (["exact", "float8"], ["exact", ["int8"]], ["exact"]):
        with pytest.raises((ValueError, TypeError)):
            read(layout, [2], Reader(bytes(2)))
    assert read(["exact", "bool"], [2], Reader(b"\x02\x00")).decode().tolist() == [True, False]
