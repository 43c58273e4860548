import itertools
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgepress import codebooks
from edgepress.encodings import Dense, Dithered, Huffman, Quantized, Sparse
from edgepress.encodings.channels import in_eight_bits
from edgepress.encodings.huffman import coded
from edgepress.levels import Level
from edgepress.methods import compress, create
from edgepress.methods.per_channel import rounded_per_channel
from edgepress.packing import Compressed
from edgepress.sweep import generator_for

from .test_encodings import assert_survives, stored


def values(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def quantized(weights, bits):
    codebook = codebooks.symmetric(weights, bits)
    return Quantized(codebook.encode(weights), codebook)


def size(encoding):
    return len(stored(encoding)[1])


MASK = torch.arange(600) % 3 > 0
CODED = {
    "codes": quantized(values(600), 4),
    "channels": rounded_per_channel(values(6, 100), "symmetric", 3),
    "kept codes": Sparse(MASK, quantized(values(400), 8)),
    "dithered": Dithered(Quantized(torch.arange(600) % 5, codebooks.uniform(values(600), 3)), 9),
}


@pytest.mark.parametrize("name", CODED)
def test_values_are_what_they_were(name):
    coded = Huffman(CODED[name])
    assert_survives(coded)
    assert torch.equal(coded.decode(), CODED[name].decode())
    assert (coded.bits, coded.shape) == (CODED[name].bits, CODED[name].shape)


@given(st.integers(1, 8), st.lists(st.integers(0, 255), max_size=60))
def test_any_codes_survive(bits, numbers):
    codes = torch.tensor([number % 2**bits for number in numbers], dtype=torch.uint8)
    assert_survives(Huffman(Quantized(codes, codebooks.uniform(torch.tensor([-1.0, 2.0]), bits))))


def test_its_length_is_the_entropy_of_the_codes():
    encoding = quantized(values(200_000), 4)
    shares = torch.bincount(encoding.codes.long()).double() / 200_000
    entropy = float(-(shares * shares.log2()).nansum())
    assert entropy < 3.8
    bits = 8 * (size(Huffman(encoding)) - 4) / 200_000
    assert entropy <= bits < 1.01 * entropy + 0.02


def test_any_inflater_reads_the_stream():
    encoding = CODED["codes"]
    parts = []
    Huffman(encoding).write(parts)
    assert np.array_equal(np.frombuffer(zlib.decompress(parts[-1], -15), np.uint8), encoding.codes.numpy())


def test_it_is_taken_where_the_file_is_smaller():
    skewed, even = quantized(values(4000) ** 3, 8), Quantized(torch.arange(4096) % 256, codebooks.uniform(values(9), 8))
    assert isinstance(coded(skewed), Huffman) and size(coded(skewed)) < 0.8 * size(skewed)
    wide, dense = quantized(values(4000), 9), Dense(values(400))
    assert coded(wide) is wide and coded(dense) is dense
    few = quantized(values(600), 3)  # its stream is shorter by less than its entry in the layout is longer
    assert 0 < size(few) - size(coded(few)) < 16
    alone, plain = Compressed({"few": few}), Compressed({"skewed": skewed, "even": even})
    assert alone.smallest_with({"few": coded(few)}).tensors["few"] is few
    chosen = plain.smallest_with({name: coded(encoding) for name, encoding in plain.tensors.items()})
    assert isinstance(chosen.tensors["skewed"], Huffman) and chosen.tensors["even"] is even
    with pytest.raises(ValueError, match="has no codes"):
        Huffman(dense)


def test_a_mask_goes_beneath_the_code():
    mask = values(600) > 0.5
    assert torch.equal(Huffman(CODED["codes"]).masked(mask).decode(), CODED["codes"].decode() * mask)


# ---- 8-bit steps ------------------------------------------------------------------------------------------------


def test_eight_bits_hold_a_number_to_a_sixteenth():
    numbers = torch.logspace(0, -4, 200)
    near = in_eight_bits(numbers)
    assert float((near / numbers - 1).abs().max()) <= 1 / 16
    assert torch.equal(in_eight_bits(near), near)
    assert torch.equal(in_eight_bits(torch.zeros(3)), torch.zeros(3))
    assert float(in_eight_bits(numbers)[0]) == 1


def test_steps_that_fit_take_a_byte_each():
    weights = values(50, 20) * torch.logspace(-2, 1, 50)[:, None]
    plain = rounded_per_channel(weights, "symmetric", 4)
    for codebook in plain.codebooks:
        assert codebook.parameters.numel() == 1
    snapped = in_eight_bits(torch.cat([codebook.parameters for codebook in plain.codebooks]))
    narrow = type(plain)(
        plain.shape, [codebooks.Symmetric(4, step[None]) for step in snapped], plain.lengths, plain.codes
    )
    assert_survives(narrow)
    assert size(plain) - size(narrow) == 3 * 50 - 4


# ---- in chains --------------------------------------------------------------------------------------------------


def network():
    torch.manual_seed(2)
    return torch.nn.Sequential(torch.nn.Linear(4, 60), torch.nn.ReLU(), torch.nn.Linear(60, 3)).eval()


@pytest.mark.parametrize("steps", [["nearest_lloyd_max"], ["nearest_uniform", "magnitude"], ["multipoint_fixed"]])
def test_a_chain_that_ends_with_it_stores_the_same_values_in_fewer_bytes(steps, classes):
    level = Level(bits=4, sparsity=0.5 if "magnitude" in steps else None)
    plain, short = (
        compress([create(step) for step in chain], network(), classes, level, generator_for("a"))
        for chain in (steps, [*steps, "huffman"])
    )
    again = Compressed.from_bytes(short.to_bytes()).state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in plain.state_dict().items())
    assert len(short.to_bytes()) <= len(plain.to_bytes())


def test_a_compact_file_has_eight_bits_for_all_but_weights(classes):
    stored = create("gptq_compact").compress(network(), classes, Level(bits=4), generator_for("a"))
    assert stored.tensors["0.bias"].bits == 8
    assert "e4m3" in str(stored.tensors["0.weight"].write([]))
    plain = create("gptq").compress(network(), classes, Level(bits=4), generator_for("a"))
    assert len(stored.to_bytes()) < len(plain.to_bytes()) - 3 * 63


@pytest.mark.parametrize("widths", [(4, 3), (4, 5, 3), (4, 8, 3), (4, 16, 16, 3), (4, 60, 3), (4, 2, 2, 2, 2, 3)])
def test_small_files_are_never_larger_than_without(widths, classes):
    torch.manual_seed(sum(widths))
    layers = [layer for a, b in itertools.pairwise(widths) for layer in (torch.nn.Linear(a, b), torch.nn.ReLU())]
    made = torch.nn.Sequential(*layers[:-1]).eval()
    for bits in (8, 4, 2):
        for plain, short in ((["gptq"], ["gptq_compact"]), (["nearest_uniform"], ["nearest_uniform", "huffman"])):
            files = [
                compress([create(step) for step in chain], made, classes, Level(bits=bits), generator_for(0)).to_bytes()
                for chain in (plain, short)
            ]
            assert len(files[1]) <= len(files[0]), (bits, short)
