import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from edgepress import codebooks, distribution, registry
from edgepress.codebooks import MAX_BITS, Grid, random_bits

FITS = {
    name: getattr(codebooks, name)
    for name in sorted({entry.args["codebook"] for entry in registry.methods().values() if "codebook" in entry.args})
}
each_fit = pytest.mark.parametrize("fit", FITS.values(), ids=FITS)
SEVERAL_BLOCKS = 3 * codebooks._BLOCK + 17

size = st.floats(2**-20, 2**10, width=32)
weight = st.one_of(st.just(0.0), size, size.map(lambda x: -x), st.sampled_from([-1.0, 0.5, 1.0, 2.0]))
tensors = st.lists(weight, min_size=1, max_size=24).map(lambda values: torch.tensor(values, dtype=torch.float32))
bits_of_a_weight = st.integers(1, MAX_BITS)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(value, count):
    return torch.full((count,), value, dtype=torch.int16)


def slack(codebook, weights):
    """Two float32 ulps of the largest magnitude: so much beside itself may a weight be taken to lie."""
    return 2 * 2**-23 * max(float(weights.abs().max()), float(codebook.levels.abs().max()))


def random_weights(count, seed=0):
    return torch.randn(count, generator=generator(seed))


# ---- levels and codes worked out by hand -----------------------------------------------------------------------


def test_uniform_by_hand():
    codebook = codebooks.uniform(torch.tensor([-1.0, 0.0, 0.2, 1.0]), 2)
    assert codebook.levels.tolist() == pytest.approx([-1, -1 / 3, 1 / 3, 1])
    assert codebook.encode(torch.tensor([-1.0, -0.7, -0.6, 0.2, 1.0])).tolist() == [0, 0, 1, 2, 3]


def test_uniform_iqr_by_hand():
    # Quartiles 1 and 3, so fences at 1 − 3 and 3 + 3.
    codebook = codebooks.uniform_iqr(torch.tensor([0.0, 1.0, 2.0, 3.0, 100.0]), 2)
    assert codebook.levels.tolist() == pytest.approx([-2, 2 / 3, 10 / 3, 6])
    assert codebook.encode(torch.tensor([-50.0, 0.0, 1.9, 2.1, 5.0, 100.0])).tolist() == [0, 1, 1, 2, 3, 3]


def test_tukey_fences_take_the_midpoint_of_two_order_statistics():
    # Ranks .75 and 2.25 of 0 … 3: quartiles (0 + 1)/2 and (2 + 10)/2.
    assert distribution.tukey_fences(torch.tensor([10.0, 0.0, 2.0, 1.0])) == (0.5 - 1.5 * 5.5, 6 + 1.5 * 5.5)


def test_histogram_by_hand():
    codebook = codebooks.histogram(torch.tensor([0.0, 8.0, 3.0]), 2)
    assert codebook.levels.tolist() == [1, 3, 5, 7]
    assert codebook.encode(torch.tensor([0.0, 1.9, 2.0, 4.0, 6.1, 8.0])).tolist() == [0, 0, 1, 2, 3, 3]


def test_midrise_by_hand():
    weights = torch.tensor([-1.0, -0.6, -0.5, -0.1, 0.0, 0.4, 0.5, 1.0])
    codebook = codebooks.midrise(weights, 2)  # Δ = 1/2
    assert codebook.levels.tolist() == [-0.75, -0.25, 0.25, 0.75]
    decoded = codebook.decode(codebook.encode(weights)).tolist()
    assert decoded == [-0.75, -0.75, -0.25, -0.25, 0.25, 0.25, 0.75, 0.75]  # the last one is an end of its cell


@pytest.mark.parametrize("bits", [1, 2, 3, 5, 8])
def test_midrise_is_its_formula_and_clips_no_weight(bits):
    for weights in (
        random_weights(2000, bits).double(),
        torch.tensor([-1.01, 0.2, 2.99]),
        torch.tensor([0.125, 4.125]),
    ):
        codebook = codebooks.midrise(weights, bits)
        step = 2 * float(weights.abs().max()) / 2**bits
        assert codebook.levels.tolist() == pytest.approx((-codebook.levels).flip(0).tolist())  # symmetric
        inside = weights[weights.abs() < (1 - 1e-6) * weights.abs().max()]
        expected = step * ((inside / step).floor() + 0.5)
        assert torch.allclose(codebook.decode(codebook.encode(inside)).double(), expected.double(), rtol=0, atol=1e-6)
        rounded = codebook.decode(codebook.encode(weights))
        assert float((rounded - weights).abs().max()) <= step / 2 * (1 + 1e-5)


@pytest.mark.parametrize("bits", [2, 3, 4, 8, 16])
def test_normal_levels_are_the_quantiles_of_scipy(bits):
    weights = random_weights(500, 3) * 0.2 + 0.05
    values = weights.double().numpy()
    shares = np.linspace(0, 1, 2**bits)[1:-1]
    quantiles = stats.norm.ppf(shares, values.mean(), values.std(ddof=1))
    expected = np.sort([values.min(), *quantiles, values.max()])
    assert codebooks.normal(weights, bits).levels.numpy() == pytest.approx(expected, rel=1e-6, abs=1e-7)


def test_normal_encodes_to_the_nearest_of_uneven_levels():
    weights = torch.tensor([-3.0, -1.0, 0.0, 1.0, 3.0])  # std √5: levels −3, −.963, .963, 3
    codebook = codebooks.normal(weights, 2)
    inner = math.sqrt(5) * stats.norm.ppf(2 / 3)
    assert codebook.levels.tolist() == pytest.approx([-3, -inner, inner, 3])
    weights = torch.tensor([-9.0, -2.0, -1.9, 0.0, 0.1, 1.95, 2.0, 9.0])
    assert codebook.encode(weights).tolist() == [0, 0, 1, 2, 2, 2, 3, 3]


def test_one_bit_is_two_levels():
    weights = torch.tensor([-1.0, 0.0, 0.0, 3.0])
    assert codebooks.uniform(weights, 1).levels.tolist() == [-1, 3]
    assert codebooks.histogram(weights, 1).levels.tolist() == [0, 2]
    assert codebooks.midrise(weights, 1).levels.tolist() == [-1.5, 1.5]
    assert codebooks.normal(weights, 1).levels.tolist() == [-1, 3]
    assert codebooks.uniform(weights, 1).encode(weights).tolist() == [0, 0, 0, 1]


def test_ties_go_up():
    grid = Grid.of(2, 0.0, 1.0)
    assert grid.encode(torch.tensor([0.5, 1.5, 2.5])).tolist() == [1, 2, 3]
    assert grid.encode(torch.tensor([0.4999, 1.4999, 2.4999])).tolist() == [0, 1, 2]
    wide, fine = (codebooks.normal(torch.tensor([-8.0, 8.0]), bits) for bits in (1, 2))
    assert wide.encode(torch.tensor([0.0, -1e-4])).tolist() == [1, 0]
    assert fine.encode(torch.tensor([0.0, -1e-4])).tolist() == [2, 1]


# ---- what has no codebook, or hardly one ------------------------------------------------------------------------


@pytest.mark.parametrize("fit", [fit for name, fit in FITS.items() if name != "symmetric"])  # whose levels are bound
@pytest.mark.parametrize("bits", [1, 2, 7, 8, 9, 16])
@pytest.mark.parametrize("value", [0.0, -0.001, 3.7, 1e-30, -1e30])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_constant_tensor_is_kept(fit, bits, value, count):
    weights = torch.full((count,), value)
    codebook = fit(weights, bits)
    for bits_drawn in (None, random_bits(count, generator())):
        assert torch.equal(codebook.decode(codebook.encode(weights, bits_drawn)), weights)


def test_fences_that_meet_leave_one_value():
    weights = torch.tensor([5.0] * 9 + [-100.0, 100.0])
    codebook = codebooks.uniform_iqr(weights, 4)
    assert codebook.decode(codebook.encode(weights)).tolist() == [5.0] * 11


@each_fit
@pytest.mark.parametrize("values", [[], [math.nan], [0.0, math.nan, 1.0], [math.inf, 0.0], [-math.inf, 0.0]])
def test_empty_and_non_finite_tensors_are_rejected(fit, values):
    with pytest.raises(ValueError, match="no codebook"):
        fit(torch.tensor(values), 4)


@each_fit
@pytest.mark.parametrize("bits", [0, -1, 17, 32])
def test_bits_out_of_range_are_rejected(fit, bits):
    with pytest.raises(ValueError, match="bits are not between 1 and 16"):
        fit(torch.tensor([0.0, 1.0]), bits)


@each_fit
@pytest.mark.parametrize("values", [[0.0, 1e-38, 3e-38], [0.0, 1e-45, 1e-42]], ids=["tiny", "subnormal"])
def test_weights_near_the_smallest_float_are_quantized(fit, values):
    weights = torch.tensor(values)
    codebook = fit(weights, 4)
    distance = (codebook.decode(codebook.encode(weights)) - weights).abs()
    assert distance.max() <= weights.max()


@each_fit
@pytest.mark.parametrize("bits", [1, 4, 8])
def test_weights_near_the_largest_float_are_quantized(fit, bits):
    weights = torch.tensor([-3e38, 0.0, 1e38, 2e38, 3e38])
    codebook = fit(weights, bits)
    error = (codebook.decode(codebook.encode(weights)).double() - weights.double()).abs()
    nearest = (weights.double()[:, None] - codebook.levels.double()).abs().amin(dim=1)
    assert codebook.levels.isfinite().all() and (error - nearest).max() <= 1e33


@each_fit
def test_weights_beyond_float32_are_refused(fit):
    with pytest.raises(ValueError, match="NaN or infinite"):
        fit(torch.tensor([1e300, -1e300], dtype=torch.float64), 4)


# ---- properties -------------------------------------------------------------------------------------------------


@each_fit
@given(weights=tensors, bits=bits_of_a_weight, seed=st.none() | st.integers(0, 5))
def test_codes_are_in_range_and_decode_to_levels(fit, weights, bits, seed):
    codebook = fit(weights, bits)
    codes = codebook.encode(weights, None if seed is None else random_bits(weights.numel(), generator(seed)))
    assert codebook.levels.dtype == torch.float32 and codebook.levels.shape == (codebook.size,)
    assert codebook.size <= 2**bits and bool((codebook.levels.diff() >= 0).all())
    assert codes.dtype == (torch.uint8 if bits <= 8 else torch.int32)
    assert int(codes.min()) >= 0 and int(codes.max()) < 2**bits
    decoded = codebook.decode(codes)
    assert torch.equal(decoded, codebook.levels[codes.long()])
    assert decoded.unique().numel() <= 2**bits


@each_fit
@given(weights=tensors, bits=bits_of_a_weight)
def test_nearest_is_nearest(fit, weights, bits):
    codebook = fit(weights, bits)
    chosen = (codebook.decode(codebook.encode(weights)).double() - weights.double()).abs()
    least = (codebook.levels.double() - weights.double()[:, None]).abs().min(dim=1).values
    assert bool((chosen <= least + 2 * slack(codebook, weights)).all())


@each_fit
@pytest.mark.parametrize("bits", [3, 8, 13])
def test_nearest_is_nearest_in_a_layer_of_usual_size(fit, bits):
    weights = random_weights(1500, bits) * 0.1
    codebook = fit(weights, bits)
    chosen = (codebook.decode(codebook.encode(weights)).double() - weights.double()).abs()
    least = (codebook.levels.double() - weights.double()[:, None]).abs().min(dim=1).values
    assert bool((chosen <= least + 2 * slack(codebook, weights)).all())
    assert float((chosen > least + 1e-12).double().mean()) < 0.01  # rounding of ties, hardly ever


@each_fit
@given(weights=tensors, bits=bits_of_a_weight, seed=st.integers(0, 5))
def test_stochastic_takes_one_of_the_two_neighbours(fit, weights, bits, seed):
    codebook = fit(weights, bits)
    decoded = codebook.decode(codebook.encode(weights, random_bits(weights.numel(), generator(seed)))).double()
    low = torch.minimum(decoded, weights.double())[:, None] + slack(codebook, weights)
    high = torch.maximum(decoded, weights.double())[:, None] - slack(codebook, weights)
    levels = codebook.levels.double()
    assert not bool(((levels > low) & (levels < high)).any())


@given(tensors)
def test_fences_are_those_of_numpy(weights):
    q1, q3 = np.percentile(weights.double().numpy(), [25, 75], method="midpoint")
    expected = (q1 - 1.5 * (q3 - q1), q3 + 1.5 * (q3 - q1))
    assert distribution.tukey_fences(weights) == pytest.approx(expected, rel=1e-12, abs=1e-12)


# ---- stochastic rounding ----------------------------------------------------------------------------------------


@each_fit
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_stochastic_rounding_is_unbiased(fit, bits):
    weights, draws = random_weights(33, 5), 60_000
    codebook = fit(weights, bits)
    levels = codebook.levels.double()
    repeated = weights.repeat(draws)
    decoded = codebook.decode(codebook.encode(repeated, random_bits(repeated.numel(), generator(bits))))
    mean = decoded.double().reshape(draws, -1).mean(dim=0)
    inside = weights.double().clamp(levels[0], levels[-1])  # what lies outside becomes the end level
    above = torch.searchsorted(levels, inside).clamp(1, levels.numel() - 1)
    gap = levels[above] - levels[above - 1]
    share = (inside - levels[above - 1]) / gap
    error = gap * (share * (1 - share) / draws).sqrt()
    assert bool(((mean - inside).abs() <= 5 * error + gap / 2**16 + slack(codebook, weights)).all())


@each_fit
@pytest.mark.parametrize("bits", [1, 2, 4, 6, 8, 10, 12, 16])
def test_nothing_is_drawn_on_a_level(fit, bits):
    levels = fit(random_weights(300, 1), bits).levels
    codebook = fit(random_weights(300, 1), bits)
    for extreme in (-(2**15), 2**15 - 1):
        assert torch.equal(codebook.decode(codebook.encode(levels, noise(extreme, levels.numel()))), levels)


@each_fit
def test_nothing_is_drawn_outside_the_codebook(fit):
    codebook = fit(random_weights(300, 2), 3)
    low, high = codebook.levels[0], codebook.levels[-1]
    outside = torch.stack([low - 1e-3, low - 50, high + 1e-3, high + 50])
    for extreme in (-(2**15), 2**15 - 1):
        assert codebook.encode(outside, noise(extreme, 4)).tolist() == [0, 0, 7, 7]


@pytest.mark.parametrize("codebook", [Grid.of(2, 0.0, 1.0), codebooks.Normal(2, torch.tensor([0.0, 1, -8, 8]))])
def test_even_an_unlikely_neighbour_is_drawn_at_last(codebook):
    between = codebook.levels[:-1] + codebook.levels.diff() * torch.tensor([0.001, 0.5, 0.999])
    ends = [codebook.encode(between, noise(extreme, 3)).tolist() for extreme in (-(2**15), 2**15 - 1)]
    assert sorted(ends) == [[0, 1, 2], [1, 2, 3]]


@each_fit
def test_the_seed_decides_the_draw(fit):
    weights = random_weights(5000)
    codebook = fit(weights, 4)
    first, again, other = (codebook.encode(weights, random_bits(5000, generator(seed))) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_random_bits_are_uniform():
    count = 1 << 18
    drawn = random_bits(count, generator()).to(torch.int32) + 2**15
    assert drawn.dtype == torch.int32 and int(drawn.min()) >= 0 and int(drawn.max()) < 2**16
    for bit in range(16):
        ones = int((drawn >> bit & 1).sum())
        assert abs(ones - count / 2) < 5 * math.sqrt(count) / 2
    buckets = torch.bincount(drawn >> 8, minlength=256).double()
    assert float(((buckets - count / 256) ** 2 / (count / 256)).sum()) < stats.chi2.ppf(0.9999, 255)
    assert abs(float(np.corrcoef(drawn[:-1], drawn[1:])[0, 1])) < 5 / math.sqrt(count)


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 1001])
def test_random_bits_come_in_any_number(count):
    assert random_bits(count, generator()).shape == (count,)
    assert torch.equal(random_bits(count, generator()), random_bits(1004, generator())[:count])


# ---- large tensors, other layouts -------------------------------------------------------------------------------


@each_fit
@pytest.mark.parametrize("bits", [5, 12])
@pytest.mark.parametrize("drawn", [False, True], ids=["nearest", "stochastic"])
def test_a_large_tensor_is_coded_like_its_parts(fit, bits, drawn):
    weights = random_weights(SEVERAL_BLOCKS)
    bits_drawn = random_bits(SEVERAL_BLOCKS, generator()) if drawn else None
    codebook = fit(weights, bits)
    parts = [slice(i, i + 50_001) for i in range(0, SEVERAL_BLOCKS, 50_001)]
    codes = codebook.encode(weights, bits_drawn)
    pieces = [codebook.encode(weights[part], bits_drawn[part] if drawn else None) for part in parts]
    assert torch.equal(codes, torch.cat(pieces))
    assert torch.equal(codebook.decode(codes), codebook.levels[codes.long()])


def adversaries():
    count = 131_075
    random = random_weights(count, 9)
    spiked = random.clone()
    spiked[::4] = 100.0
    lopsided = torch.cat([torch.zeros(count - 5), random[:5]])
    return {
        "random": random,
        "sorted": random.sort().values,
        "reversed": random.sort(descending=True).values,
        "equal": torch.full((count,), 0.25),
        "spikes above": spiked,
        "spikes below": -spiked,
        "periodic": (torch.arange(count) % 4).float(),
        "nearly all zero": lopsided,
        "a few values": random.mul(2).round(),
        "one outlier": torch.cat([random, torch.tensor([1e30])]),
    }


@pytest.mark.parametrize("name", adversaries())
def test_fences_of_large_tensors_are_those_of_a_full_sort(name):
    weights = adversaries()[name]
    q1, q3 = np.percentile(weights.double().numpy(), [25, 75], method="midpoint")
    assert distribution.tukey_fences(weights) == (q1 - 1.5 * (q3 - q1), q3 + 1.5 * (q3 - q1))


@each_fit
def test_layout_type_and_gradient_do_not_matter(fit):
    weights = random_weights(60).reshape(6, 10).bfloat16().float()
    codebook = fit(weights, 3)
    codes = codebook.encode(weights)
    assert codes.shape == (6, 10)
    for same in (weights.double(), weights.bfloat16(), torch.nn.Parameter(weights), weights.T.contiguous().T):
        assert torch.equal(fit(same, 3).encode(same), codes)
    assert torch.equal(fit(weights.T, 3).encode(weights.T), codes.T)
    before = weights.clone()
    codebook.encode(weights, random_bits(60, generator()))
    assert torch.equal(weights, before)


@each_fit
@pytest.mark.parametrize("shape", [(), (0,), (1,), (2, 0, 3), (2, 3, 1, 2)])
def test_codes_have_the_shape_of_the_weights(fit, shape):
    codebook = fit(torch.tensor([-1.0, 1.0]), 2)
    codes = codebook.encode(torch.zeros(shape))
    assert codes.shape == codebook.decode(codes).shape == shape
