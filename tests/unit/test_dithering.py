import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from edgepress import codebooks, methods, noise
from edgepress.encodings import Dense, Dithered, Quantized, Sparse
from edgepress.levels import Level
from edgepress.methods.dithering import dithered
from edgepress.methods.rounding import stochastic
from edgepress.networks import compressible, inference_state
from edgepress.noise import dither
from edgepress.packing import Compressed

from .test_encodings import assert_same_bits, assert_survives, shapes, stored, values

MANY = 1 << 18
seeds = st.integers(0, 2**32 - 1)


def errors(weights, bits, seed):
    """The error of each weight, in steps."""
    grid = codebooks.uniform(weights, bits)
    return (dithered(grid, weights, seed).decode().double() - weights) / grid.step


def correlation(one, other):
    return float(torch.corrcoef(torch.stack([one.double(), other.double()]))[0, 1])


# ---- the noise --------------------------------------------------------------------------------------------------


def test_the_noise_is_splitmix64():
    # Vigna's reference implementation, begun at state 0.
    published = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F, 0xF88BB8A8724C81EC, 0x1B39896A51A8749B]
    whole = [(word >> 40) - (word >> 63 << 24) for word in published]
    assert dither(5, 0).tolist() == [(k + 0.5) / 2**24 for k in whole]


@pytest.mark.parametrize("seed", [1, 0xDEADBEEF, 2**32 - 1])
def test_the_noise_is_the_same_in_plain_integers(seed):
    def number(place):
        word = ((seed << 32) + (place + 1) * 0x9E3779B97F4A7C15) % 2**64
        word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        word = (word ^ word >> 27) * 0x94D049BB133111EB % 2**64
        word ^= word >> 31
        return ((word >> 40) - (word >> 63 << 24) + 0.5) / 2**24

    count = noise._BLOCK + 3
    drawn = dither(count, seed)
    for place in (0, 1, 77, noise._BLOCK - 1, noise._BLOCK, count - 1):
        assert float(drawn[place]) == number(place)


@given(st.integers(0, 200), seeds)
def test_the_noise_is_float32_strictly_within_half_a_step_and_exactly_centred(count, seed):
    drawn = dither(count, seed)
    assert drawn.dtype == torch.float32 and drawn.shape == (count,)
    whole = drawn.double() * 2**24 - 0.5
    assert torch.equal(whole, whole.round()) and bool((drawn.abs() < 0.5).all())


def test_the_noise_is_uniform_and_white():
    drawn = dither(MANY, 5).double()
    assert abs(drawn.mean()) < 4 * math.sqrt(1 / 12 / MANY)
    assert float(drawn.var()) == pytest.approx(1 / 12, rel=0.01)
    counts = torch.histc(drawn, 64, -0.5, 0.5)
    assert float(((counts - MANY / 64) ** 2).sum() / (MANY / 64)) < 63 + 4 * math.sqrt(2 * 63)  # χ², 63 degrees
    for lag in (1, 2, 7, 64, 576):
        assert abs(correlation(drawn[lag:], drawn[:-lag])) < 4 / math.sqrt(MANY)


@pytest.mark.parametrize("other", [6, 7, 4, 5 + 2**31, 2**32 - 1])
def test_another_seed_is_other_noise(other):
    assert abs(correlation(dither(MANY, 5), dither(MANY, other))) < 4 / math.sqrt(MANY)


# ---- the error --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 8, 12])
def test_the_error_is_uniform_within_half_a_step_and_independent_of_the_weight(bits):
    weights = values((MANY,), seed=bits)
    error = errors(weights, bits, seed=9)
    assert error.abs().max() < 0.5 + 2.0 ** (bits - 22)  # positions are float32
    assert abs(error.mean()) < 4 * math.sqrt(1 / 12 / MANY)
    assert float(error.var()) == pytest.approx(1 / 12, rel=0.01)
    counts = torch.histc(error, 32, -0.5, 0.5)
    assert float(((counts - MANY / 32) ** 2).sum() / (MANY / 32)) < 31 + 4 * math.sqrt(2 * 31)
    for of_weight in (weights, weights**2, (2 * math.pi * weights / codebooks.uniform(weights, bits).step).sin()):
        assert abs(correlation(error, of_weight)) < 4 / math.sqrt(MANY)
        assert abs(correlation(error**2, of_weight)) < 4 / math.sqrt(MANY)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5])
def test_the_error_has_the_same_variance_wherever_a_weight_lies_and_that_of_stochastic_rounding_has_not(share):
    weights = torch.full((MANY,), 1 + share)
    weights[:2] = torch.tensor([0.0, 3.0])  # levels 0, 1, 2, 3
    error = errors(weights, 2, seed=3)
    assert float(error.var()) == pytest.approx(1 / 12, rel=0.02) and abs(error.mean()) < 0.003
    grid = codebooks.uniform(weights, 2)
    drawn = grid.decode(stochastic(grid, weights, torch.Generator().manual_seed(3))) - weights
    assert float(drawn.var()) == pytest.approx(share * (1 - share), rel=0.02)


@given(st.integers(1, 16), st.integers(1, 300), seeds)
def test_no_code_is_clipped(bits, count, seed):
    weights = values((count,), seed % 1000)
    grid = codebooks.uniform(weights, bits)
    codes = dithered(grid, weights, seed).rounded.codes.double()
    assert codes.min() >= 0 and codes.max() < 2**bits
    if count > 1:  # each code is the nearest whole number, but for rounding, so none had to be clamped
        position = (weights.double() - grid.parameters[0]) / grid.step + dither(count, seed)
        assert (codes - position).abs().max() <= 0.5 + 2.0 ** (bits - 22)


@pytest.mark.parametrize("bits", [1, 4, 16])
@pytest.mark.parametrize("weights", [torch.full((3, 2), -0.3), torch.tensor([7.0]), torch.tensor(2.0), torch.zeros(5)])
def test_constant_and_single_weights_are_kept(weights, bits):
    encoding = dithered(codebooks.uniform(weights, bits), weights, 1)
    assert torch.equal(encoding.decode(), weights)
    assert_survives(encoding)


# ---- the encoding -----------------------------------------------------------------------------------------------


@given(shapes, st.integers(1, 16), seeds)
def test_dithered_tensors_of_any_shape_survive(shape, bits, seed):
    weights = values(shape, seed % 10)
    encoding = dithered(codebooks.uniform(values((50,)), bits), weights, seed)
    assert_survives(encoding)
    assert encoding.shape == shape and encoding.bits == bits
    assert len(stored(encoding)[1]) == 4 + 16 + math.ceil(weights.numel() * bits / 8)


@given(shapes, st.integers(1, 9), st.floats(0, 1), seeds)
def test_a_mask_leaves_each_kept_entry_its_own_noise(shape, bits, density, seed):
    weights = values(shape, seed % 10)
    encoding = dithered(codebooks.uniform(values((50,)), bits), weights, seed)
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < density
    masked = encoding.masked(mask)
    assert_same_bits(masked.decode(), torch.where(mask, encoding.decode(), torch.zeros(())))
    assert_survives(masked)
    assert torch.equal(masked.mask, mask) and masked.bits == bits
    fewer = mask & (weights > 0)
    assert_same_bits(masked.masked(fewer).decode(), encoding.masked(fewer).decode())
    assert_survives(masked.masked(fewer))
    assert_same_bits(masked.picked(fewer).decode(), encoding.decode()[fewer])
    assert_survives(masked.picked(fewer))


def test_dithered_tensors_can_be_encoded_anew():
    weights = values((4, 5))
    encoding = dithered(codebooks.uniform(weights, 3), weights, 8)
    assert_same_bits(encoding.recoded(Dense).decode(), encoding.decode())
    again = encoding.masked(weights > 0).recoded(Dense)
    assert isinstance(again, Sparse) and torch.equal(again.mask, weights > 0)
    assert_same_bits(again.decode(), encoding.masked(weights > 0).decode())


def test_what_a_mask_keeps_can_be_dithered_by_itself():
    kept = values((6,))
    mask = torch.tensor([1, 0, 1, 1, 0, 1, 1, 1], dtype=torch.bool)
    encoding = Sparse(mask, Dense(kept)).recoded(lambda w: dithered(codebooks.uniform(w, 4), w, 8))
    assert_same_bits(encoding.decode()[mask], dithered(codebooks.uniform(kept, 4), kept, 8).decode())
    assert_survives(encoding)
    fewer = mask & (torch.arange(8) > 3)
    assert_same_bits(encoding.masked(fewer).decode(), torch.where(fewer, encoding.decode(), torch.zeros(())))
    assert_survives(encoding.masked(fewer))


def test_only_codes_of_a_grid_are_dithered():
    table = codebooks.Table(2, torch.tensor([0.0, 1.0, 5.0]))
    codes = Quantized(torch.tensor([0, 1, 2]), table)
    mask = torch.ones(3, dtype=torch.bool)
    for rounded in (Dense(torch.zeros(3)), codes, Sparse(mask, codes), Sparse(mask, Dense(torch.zeros(3)))):
        with pytest.raises(ValueError, match="grid"):
            Dithered(rounded, 1)


def test_the_seed_is_stored_before_the_codes():
    weights = torch.tensor([0.0, 3.0])
    encoding = dithered(codebooks.uniform(weights, 2), weights, 0xDEADBEEF)
    parts = []
    assert encoding.write(parts) == ["dithered", ["codes", "grid", 2, 2]]
    assert np.frombuffer(b"".join(parts)[:4], "<u4").tolist() == [0xDEADBEEF]


# ---- the method -------------------------------------------------------------------------------------------------


@pytest.fixture
def network():
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 12), nn.Linear(12, 3))


def compress(steps, network, level, seed=0):
    chain = [methods.create(name) for name in steps]
    return methods.compress(chain, network, None, level, torch.Generator().manual_seed(seed))


def test_weights_are_dithered_by_a_seed_each_and_the_rest_stays(network):
    compressed = compress(["dithered_uniform"], network, Level(bits=4))
    weights = compressible(network)
    for name, original in inference_state(network).items():
        tensor = compressed.tensors[name]
        if name in weights:
            grid = codebooks.uniform(original, 4)
            assert isinstance(tensor, Dithered)
            assert_same_bits(tensor.decode(), dithered(grid, original, tensor.seed).decode())
            assert (tensor.decode() - original).abs().max() <= grid.step / 2 * (1 + 1e-4)
        else:
            assert isinstance(tensor, Dense) and torch.equal(tensor.decode(), original)
    assert len({compressed.tensors[name].seed for name in weights}) == len(weights)


@pytest.mark.parametrize(
    "steps",
    [
        ["dithered_uniform", "magnitude"],
        ["magnitude", "dithered_uniform"],
        ["magnitude", "dithered_uniform", "magnitude_global"],
        ["magnitude", "dithered_uniform", "dithered_uniform"],
    ],
    ids=" ".join,
)
def test_chains_with_pruning(steps, network):
    compressed = compress(steps, network, Level(bits=3, sparsity=0.2))
    back = Compressed.from_bytes(compressed.to_bytes()).state_dict()
    for name, rebuilt in compressed.state_dict().items():
        assert_same_bits(back[name], rebuilt)
    for name in compressible(network)[:-1]:
        tensor = compressed.tensors[name]
        assert isinstance(tensor, Dithered) and isinstance(tensor.rounded, Sparse) and tensor.bits == 3
        assert torch.equal(tensor.decode() == 0, ~tensor.mask)
    removed = [int((~compressed.tensors[name].mask).sum()) for name in compressible(network)[:-1]]
    if "magnitude_global" not in steps:
        assert removed == [round(0.2 * 36), round(0.2 * 192)]


def test_pruning_removes_the_smallest_of_what_is_stored_and_leaves_the_others(network):
    whole = compress(["dithered_uniform"], network, Level(bits=3)).state_dict()
    pruned = compress(["dithered_uniform", "magnitude"], network, Level(bits=3, sparsity=0.2)).state_dict()
    for name in compressible(network)[:-1]:
        kept = pruned[name] != 0
        assert_same_bits(pruned[name][kept], whole[name][kept])
        assert whole[name][~kept].abs().max() <= whole[name][kept].abs().min()


def test_the_grid_is_that_of_what_a_mask_keeps(network):
    with torch.no_grad():
        for name in compressible(network):
            network.get_parameter(name).abs_().add_(1)
    compressed = compress(["magnitude", "dithered_uniform"], network, Level(bits=3, sparsity=0.5))
    for name in compressible(network)[:-1]:
        tensor, original = compressed.tensors[name], network.get_parameter(name).detach()
        grid = codebooks.uniform(original[tensor.mask], 3)
        assert torch.equal(tensor.rounded.kept.codebook.parameters, grid.parameters)
        assert (tensor.decode() - original)[tensor.mask].abs().max() <= grid.step / 2 * (1 + 1e-4)


@pytest.mark.parametrize("method", ["dithered_uniform", "nearest_uniform", "stochastic_kde", "nearest_normal_channel"])
def test_a_layer_of_which_pruning_left_nothing_is_no_obstacle(method):
    network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2)).eval()
    with torch.no_grad():
        network[2].weight *= 1e-6
    stored = compress(["magnitude_global", method], network, Level(bits=4, sparsity=0.8))
    values = Compressed.from_bytes(stored.to_bytes()).state_dict()
    assert not values["2.weight"].any() and values["0.weight"].any()
