import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from edgepress import methods, packing
from edgepress.datasets import Prepared
from edgepress.encodings import Dense, MultiPoint, Sparse
from edgepress.levels import Level
from edgepress.methods.multipoint import Points, best_point, output_power, sum_of_points
from edgepress.networks import compressible, inference_state

from .test_encodings import assert_same_bits, values

SHAPES = [(6, 20), (8, 3, 3, 3), (12, 1, 3, 3), (1, 1), (5, 4, 3)]


def relative_error(weights, points):
    return float((weights - points.decode()).square().sum() / weights.square().sum())


# ---- one point --------------------------------------------------------------------------------------------------


def test_a_row_on_a_grid_is_that_grid():
    rows = torch.tensor([[-3.0, 1.0, 2.0, 0.0], [0.3, -0.2, 0.1, 0.2], [50.0, 0.0, -50.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    steps, levels = best_point(rows, bits=3)
    assert torch.allclose(steps[:, None] * levels, rows)
    assert levels.abs().max() == 3 and not levels.frac().any()
    assert steps[3] == 0 and not levels[3].any()


@pytest.mark.parametrize("bits", [2, 3, 4, 8, 16])
def test_a_point_is_at_least_as_good_as_rounding_at_the_largest_weight(bits):
    rows, most = values((7, 50)), (1 << bits - 1) - 1
    steps, levels = best_point(rows, bits)
    step = rows.abs().amax(1, keepdim=True) / most
    rounded = step * (rows / step).round()
    errors = (rows - steps[:, None] * levels).square().sum(1)
    assert (errors <= (rows - rounded).square().sum(1) * (1 + 1e-5)).all()
    assert levels.abs().max() <= most


def test_two_bits_by_hand():
    # Levels −1, 0, 1: of the supports that a threshold can pick, {4, −3} leaves least, at the step 3.5.
    steps, levels = best_point(torch.tensor([[4.0, -3.0, 0.5, -0.5]]), bits=2)
    assert levels.tolist() == [[1, -1, 0, 0]] and steps.tolist() == [3.5]


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_the_search_finds_what_an_exhaustive_one_finds(bits):
    rows, most = values((20, 9), seed=1), (1 << bits - 1) - 1
    reach = rows.abs().amax(1)
    # The paper's range, 2(2^(b−1) − 1)‖r‖∞, in steps of a ten-thousandth of ‖r‖∞.
    scales = torch.arange(1, 20_000 * most) / 10_000
    levels = (rows / reach[:, None] / scales[:, None, None] * most).round().clamp(-most, most)
    removed = (levels * rows).sum(2).square() / levels.square().sum(2).clamp(min=1)
    least = rows.square().sum(1) - removed.max(0).values
    steps, levels = best_point(rows, bits)
    found = (rows - steps[:, None] * levels).square().sum(1)
    assert (found >= least - 1e-4).all() and found.sum() <= 1.03 * least.sum()


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_the_scale_of_the_weights_does_not_matter(scale):
    rows = values((4, 30))
    steps, levels = best_point(rows, 4)
    scaled_steps, scaled_levels = best_point(rows * scale, 4)
    assert (levels - scaled_levels).abs().max() <= 1 and torch.allclose(scaled_steps / scale, steps, rtol=1e-2)


# ---- sums of points ---------------------------------------------------------------------------------------------


def test_a_sum_of_two_grids_is_recovered():
    levels = torch.arange(-3.0, 4)
    weights = (levels[:, None] + levels / 7).reshape(1, 49)
    points = sum_of_points(weights, bits=3, most=2)
    assert torch.allclose(points.decode(), weights, atol=1e-6)
    assert torch.allclose(points.steps, torch.tensor([1, 1 / 7]))


@given(st.integers(2, 16), st.sampled_from(SHAPES), st.integers(0, 99))
def test_the_error_never_grows_with_points(bits, shape, seed):
    weights = values(shape, seed)
    errors = [1.0, *(relative_error(weights, sum_of_points(weights, bits, most)) for most in range(1, 5))]
    assert all(after <= before * (1 + 1e-5) + 1e-12 for before, after in pairwise(errors))


@pytest.mark.parametrize("bits, factor", [(2, 0.45), (3, 0.3), (4, 0.1)])
def test_the_error_falls_geometrically(bits, factor):
    weights = values((16, 200))
    errors = [1.0, *(relative_error(weights, sum_of_points(weights, bits, most)) for most in range(1, 5))]
    ratios = [after / before for before, after in pairwise(errors)]
    assert all(factor / 20 < ratio < factor for ratio in ratios)


def test_each_channel_goes_its_own_way():
    weights = values((5, 3, 2, 2))
    together = sum_of_points(weights, 4, 3).decode()
    alone = [sum_of_points(channel[None], 4, 3).decode() for channel in weights]
    assert torch.allclose(together, torch.cat(alone), atol=1e-6)


def test_a_channel_with_enough_gets_no_more():
    weights = values((4, 10))
    asked = []

    def enough(residual):
        asked.append(residual.clone())
        return torch.tensor([True, False, len(asked) == 2, False])

    points = sum_of_points(weights, 3, 3, enough)
    assert points.counts.tolist() == [1, 3, 2, 3] and points.bits == 3 * 9 / 4
    assert torch.allclose(
        asked[1],
        weights
        - sum_of_points(weights, 3, 2).decode() * (points.counts > 1)[:, None]
        - sum_of_points(weights, 3, 1).decode() * (points.counts == 1)[:, None],
        atol=1e-6,
    )


@pytest.mark.parametrize("bits", [0, 1, 17])
def test_bits_without_a_grid_are_refused(bits):
    with pytest.raises(ValueError):
        sum_of_points(torch.ones(2, 2), bits, 1)


@pytest.mark.parametrize("weights", [torch.ones(2, 0), torch.tensor([[1.0, math.nan]]), torch.tensor([[math.inf]])])
def test_weights_that_are_none_nan_or_infinite_are_refused(weights):
    with pytest.raises(ValueError, match="no sum of points"):
        sum_of_points(weights, 4, 1)


# ---- the methods ------------------------------------------------------------------------------------------------


@pytest.fixture
def network():
    torch.manual_seed(3)
    convolutions = [
        nn.Conv2d(2, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 6, 3, groups=6),
        nn.ReLU(),
    ]
    network = nn.Sequential(*convolutions, nn.Conv2d(6, 8, 1, stride=2, bias=False), nn.Flatten(), nn.Linear(72, 3))
    network(torch.randn(8, 2, 8, 8))  # gives the norm a mean and a variance of its own
    return network


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(5)
    inputs = {split: torch.randn(100, 2, 8, 8, generator=generator) for split in ("train", "val")}
    return Prepared("images", "classification", 3, inputs, {s: torch.zeros(100, dtype=torch.int64) for s in inputs})


def compress(method, network, data, bits):
    return method.compress(network, data, Level(bits=bits), torch.Generator())


def outputs_without_bias(network, weight, inputs, replaced):
    """What the layer of ``weight`` answers in ``network`` with ``replaced`` for its weights; channels come last."""
    layer, seen = network.get_submodule(weight.removesuffix(".weight")), []
    handle = layer.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    with torch.no_grad():
        network.eval()(inputs)
        handle.remove()
        bias = {} if layer.bias is None else {"bias": torch.zeros_like(layer.bias)}
        return torch.func.functional_call(layer, {"weight": replaced} | bias, (seen[0],)).movedim(1, -1)


@torch.no_grad()
def test_the_power_is_that_of_the_layer_s_own_outputs():
    layer, inputs = nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular", bias=False), torch.randn(4, 2, 5, 5)
    assert torch.allclose(output_power(layer, inputs, layer.weight), layer(inputs).square().mean(dim=(0, 2, 3)))


@pytest.mark.parametrize("bits", [2, 3, 4, 6])
@pytest.mark.parametrize("tolerance", [0.1, 0.003])
def test_the_error_of_the_output_is_tolerated_or_there_are_no_more_points(bits, tolerance, network, images):
    compressed = compress(Points(points=3, tolerance=tolerance), network, images, bits)
    state = inference_state(network)
    for name in compressible(network):
        encoding = compressed.tensors[name]
        out, missed = (
            outputs_without_bias(network, name, images.inputs["train"], weights).square().flatten(0, -2).mean(0)
            for weights in (state[name], state[name] - encoding.decode())
        )
        allowed = tolerance * out.mean() * (1 + 1e-3)
        assert ((missed <= allowed) | (encoding.counts == 3)).all()
        if (encoding.counts < 3).all():
            assert missed.mean() <= allowed
        if bits == 6 and tolerance == 0.1:
            assert (encoding.counts == 1).all()


def test_a_channel_has_no_point_that_it_does_not_need(network, images):
    most, fewer = (compress(Points(n, tolerance=0.003), network, images, 2) for n in (4, 1))
    assert any((most.tensors[name].counts > 1).any() for name in compressible(network))
    for name in compressible(network):
        if (most.tensors[name].counts == 1).all():
            assert_same_bits(most.tensors[name].decode(), fewer.tensors[name].decode())


def test_a_channel_that_matters_more_gets_more_points():
    torch.manual_seed(0)
    layer = nn.Sequential(nn.Linear(20, 8))
    data = Prepared("rows", "regression", 8, {"train": torch.randn(300, 20)}, {"train": torch.zeros(300)})
    method = methods.create("multipoint")
    before = compress(method, layer, data, 3).tensors["0.weight"].counts
    layer[0].weight.data[5] *= 30
    after = compress(method, layer, data, 3).tensors["0.weight"].counts
    assert after[5] >= before[5] and after[5] > after[after.argsort()[:-1]].max() == 1


def test_inputs_that_matter_more_get_the_points():
    torch.manual_seed(0)
    pair = nn.Sequential(nn.Conv2d(4, 4, 3, groups=4))
    x = torch.randn(64, 4, 6, 6) * torch.tensor([1, 1, 20, 1])[:, None, None]
    data = Prepared("rows", "regression", 1, {"train": x}, {"train": torch.zeros(64)})
    counts = compress(methods.create("multipoint"), pair, data, 3).tensors["0.weight"].counts
    assert counts[2] > 1 and counts[[0, 1, 3]].tolist() == [1, 1, 1]


def test_fixed_points_need_no_data(network):
    compressed = compress(methods.create("multipoint_fixed"), network, None, 4)
    state = inference_state(network)
    for name, tensor in compressed.tensors.items():
        if name in compressible(network):
            assert (tensor.counts == 2).all() and tensor.bits == 8
            assert_same_bits(tensor.decode(), sum_of_points(state[name], 4, 2).decode())
        else:
            assert isinstance(tensor, Dense)


def test_one_bit_is_skipped(network, images):
    for name in ("multipoint", "multipoint_fixed"):
        method = methods.create(name)
        assert "one level" in method.skip(network, images, Level(bits=1))
        assert method.skip(network, images, Level(bits=2)) is None


def test_a_file_holds_what_was_chosen(network, images):
    for name in ("multipoint", "multipoint_fixed"):
        compressed = compress(methods.create(name), network, images, 3)
        back = packing.Compressed.from_bytes(compressed.to_bytes())
        for key, tensor in compressed.state_dict().items():
            assert_same_bits(back.state_dict()[key], tensor)
        assert back.to_bytes() == compressed.to_bytes()


def test_the_network_stays_in_the_mode_it_was_in(network, images):
    network.train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    compress(methods.create("multipoint"), network, images, 4)
    assert all(module.training for module in network.modules())
    assert not any(module._forward_hooks for module in network.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_a_layer_used_twice_and_one_not_used():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.twice, self.unused = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            return self.twice(self.twice(x))

    data = Prepared("rows", "regression", 4, {"train": torch.randn(30, 4)}, {"train": torch.zeros(30)})
    tensors = compress(methods.create("multipoint"), Odd(), data, 4).tensors
    assert isinstance(tensors["twice.weight"], MultiPoint) and isinstance(tensors["unused.weight"], Dense)


def test_a_network_that_is_one_layer():
    data = Prepared("rows", "regression", 4, {"train": torch.randn(30, 4)}, {"train": torch.zeros(30)})
    assert isinstance(compress(methods.create("multipoint"), nn.Linear(4, 4), data, 4).tensors["weight"], MultiPoint)


@pytest.mark.parametrize("name", ["multipoint", "multipoint_fixed"])
def test_chains_with_pruning(name, network, images):
    level, generator = Level(bits=3, sparsity=0.5), torch.Generator()
    pruning, points = methods.create("magnitude"), methods.create(name)
    for steps in ([points, pruning], [pruning, points]):
        compressed = methods.compress(steps, network, images, level, generator)
        for weight in compressible(network)[:-1]:
            tensor = compressed.tensors[weight]
            assert isinstance(tensor, Sparse) and isinstance(tensor.kept, MultiPoint)
            assert abs(int((~tensor.mask).sum()) - tensor.mask.numel() / 2) <= 1
        assert_same_bits(
            packing.Compressed.from_bytes(compressed.to_bytes()).state_dict()["0.weight"],
            compressed.state_dict()["0.weight"],
        )
