"""Rounding whose errors have mean 0 in each channel: what the file holds, against the same grid without the shift."""

import pytest
import torch
from torch import nn

from edgepress.levels import Level
from edgepress.methods import compress, create
from edgepress.methods.per_channel import rounded_per_channel
from edgepress.methods.zero_mean import with_least_squares, with_zero_mean_error
from edgepress.packing import Compressed
from edgepress.sweep import generator_for

NAMES = ("zero_mean_uniform_channel", "zero_mean_least_squares_channel")
FITS = (with_zero_mean_error, with_least_squares)
BITS = (1, 2, 3, 4, 6, 8)


def skewed(*shape, seed=0, decades=3):
    """Weights whose distribution has one long tail, unlike in each channel, as after folding BatchNorm."""
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return drawn.exp() * torch.logspace(-decades, decades, shape[0]).reshape(-1, *[1] * (len(shape) - 1)) - 0.1


def layers(decades=3):
    network = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 3, groups=6), nn.Conv2d(6, 4, 1), nn.Flatten(), nn.Linear(16, 5)
    )
    for index in (0, 1, 2, 4):
        network[index].weight.data = skewed(*network[index].weight.shape, seed=index, decades=decades)
    return network.eval()


def packed(network, method, bits, *before):
    steps = [create(name) for name in (*before, method)]
    level = Level(bits=bits, sparsity=0.5 if before else None)
    return compress(steps, network, None, level, generator_for(method, bits)).to_bytes()


def payload(file):
    """Bytes without the header, whose length depends on the number of digits of the checksum."""
    return len(file) - 8 - int.from_bytes(file[:8], "little")


def rows_of(network, file):
    """For each channel of each layer: weights, and what the file holds in their place."""
    state = Compressed.from_bytes(file).state_dict()
    for name, weights in network.state_dict().items():
        if name.endswith("weight"):
            yield from zip(weights.double().flatten(1), state[name].double().flatten(1), strict=True)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bits", BITS)
def test_in_the_file_each_channel_has_mean_error_0_the_same_bytes_and_no_more_squared_error(bits, name):
    network = layers()
    plain, shifted = (packed(network, method, bits) for method in ("nearest_uniform_channel", name))
    assert payload(plain) == payload(shifted)
    biased = smaller = 0
    for (weights, before), (_, after) in zip(rows_of(network, plain), rows_of(network, shifted), strict=True):
        step = float(weights.max() - weights.min()) / (2**bits - 1)
        biased += abs(float((before - weights).mean())) > 1e-3 * step
        assert abs(float((after - weights).mean())) <= 1e-6 * max(step, float(weights.abs().max()) / 8)
        errors = [float(((values - weights) ** 2).sum()) for values in (before, after)]
        assert errors[1] <= errors[0] * (1 + 1e-6)
        smaller += errors[1] < errors[0]
    assert biased > 10 and smaller >= biased


def test_codes_and_steps_are_those_of_the_nearest_levels():
    weights = skewed(5, 2, 3, 3)
    nearest = rounded_per_channel(weights, "uniform", 3)
    shifted = with_zero_mean_error(nearest, weights)
    assert torch.equal(shifted.codes, nearest.codes)
    assert [grid.step for grid in shifted.codebooks] == [grid.step for grid in nearest.codebooks]
    assert [grid.offset for grid in shifted.codebooks] != [grid.offset for grid in nearest.codebooks]


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("value", [0.0, 0.1, -3e-20, 7e8])
def test_a_constant_channel_is_exact(value, fit):
    weights = torch.stack([torch.full((9,), value), torch.linspace(-1, 2, 9)])
    shifted = fit(rounded_per_channel(weights, "uniform", 2), weights)
    assert torch.equal(shifted.decode()[0], weights[0])


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("shape", [(8, 1, 1, 1), (8, 1), (1, 1)])
def test_channels_of_one_weight_are_exact(shape, fit):
    weights = skewed(*shape)
    shifted = fit(rounded_per_channel(weights, "uniform", 2), weights)
    assert torch.equal(shifted.decode(), weights)


@pytest.mark.parametrize("name", NAMES)
def test_after_pruning_the_mean_is_over_the_weights_that_are_left_and_zeros_stay(name):
    network = layers(decades=0)
    file = packed(network, name, 2, "magnitude")
    pruned = compress([create("magnitude")], network, None, Level(sparsity=0.5), generator_for("pruned")).state_dict()
    channels = 0
    for (weights, after), before in zip(
        rows_of(network, file),
        [row for key, tensor in pruned.items() if key.endswith("weight") for row in tensor.flatten(1)],
        strict=True,
    ):
        kept = before != 0
        assert bool((after[~kept] == 0).all())
        if kept.any():
            assert abs(float((after - weights)[kept].mean())) <= 1e-6 * float(weights.abs().max())
            channels += int((~kept).any())
    assert channels > 5


@pytest.mark.parametrize("fit", FITS)
def test_levels_without_an_offset_of_their_own_are_refused(fit):
    weights = skewed(3, 8)
    with pytest.raises(ValueError, match="only a grid has an offset"):
        fit(rounded_per_channel(weights, "symmetric", 3), weights)


def test_at_the_end_of_a_least_squares_fit_each_weight_has_its_nearest_level():
    weights = skewed(6, 50)
    plain = rounded_per_channel(weights, "uniform", 3)
    fitted = with_least_squares(plain, weights)
    best = torch.stack([(row[:, None] - grid.levels).abs().amin(dim=1)
                        for row, grid in zip(weights, fitted.codebooks, strict=True)])  # fmt: skip
    torch.testing.assert_close((fitted.decode() - weights).abs(), best, rtol=1e-4, atol=0)
    errors = [((one.decode() - weights) ** 2).sum(dim=1) for one in (fitted, plain)]
    assert bool((errors[0] < errors[1]).all())
