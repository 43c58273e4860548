from fractions import Fraction

import pytest
import torch
from torch import nn

from edgepress.activations import ActivationGrid, Quantize, input_bits
from edgepress.encodings import Dense, PerChannel
from edgepress.evaluation import predict
from edgepress.methods import in_full_precision
from edgepress.methods.per_channel import rounded_per_channel
from edgepress.methods.rounding import rounded
from edgepress.packing import Compressed
from edgepress.targets.integer import IntegerNetwork, NoIntegerFormError, _Whole, integer_layers

from .eight_bit import NAMES, compressed


def one_layer(layer, grid, bits=8):
    """A network of one layer as it is stored, its input on ``grid``."""
    network = nn.Sequential(layer)
    tensors = {"0.weight": rounded_per_channel(layer.weight.detach(), "symmetric", bits)}
    return network, Compressed(tensors | {"0.bias": Dense(layer.bias)}, {"input_1": grid})


@pytest.mark.parametrize("ratio", [2**-40, 1e-4, 0.0123456789, 0.5, 0.999999999, 1.0, 3.7, 1000.0])
def test_rescaling_is_the_rounded_product(ratio):
    numbers = torch.randint(-(2**31) + 1, 2**31, (2000,), generator=torch.Generator().manual_seed(1))
    numbers = torch.cat([numbers, numbers >> 12, numbers >> 24, torch.arange(-300, 300)])
    grid = ActivationGrid(8, 1.0, 100)
    found = _Whole(((numbers.double(), torch.tensor(ratio, dtype=torch.float64)),)).rescaled(grid)
    for number, code in zip(numbers.tolist(), found.tolist(), strict=True):
        exact = Fraction(ratio) * number + 100 + Fraction(1, 2)
        if abs(exact - round(exact)) > 1e-5:  # no tie within what 31 bits of a multiplier resolve
            assert code == min(max(exact.numerator // exact.denominator, 0), 255)


def test_a_sum_is_rounded_once_and_rectified_at_the_zero_point():
    a, b = (torch.tensor(step, dtype=torch.float64) for step in (0.25, 0.125))
    terms = ((torch.tensor([1.0, -9.0, 2000.0]), a), (torch.tensor([2.0, 0.0, 0.0]), b))
    grid = ActivationGrid(8, 0.5, 10)
    assert _Whole(terms).rescaled(grid).tolist() == [11, 6, 255]
    assert _Whole(terms, rectified=True).rescaled(grid).tolist() == [11, 10, 255]


def test_a_layer_by_hand():
    layer = nn.Linear(2, 1)
    layer.weight.data, layer.bias.data = torch.tensor([[127.0, -64.0]]) / 4, torch.tensor([1.0])
    network, stored = one_layer(layer, ActivationGrid(8, 0.5, 128))
    (integers,) = integer_layers(network, stored).values()
    assert (integers.weight.tolist(), integers.steps.tolist(), integers.bias.tolist()) == ([[127, -64]], [0.25], [8])
    outputs = IntegerNetwork(network, stored)(torch.tensor([[1.1, -0.6]]))  # 2 and −1 steps
    assert outputs.tolist() == [[(2 * 127 + 64 + 8) * 0.25 * 0.5]]


@pytest.mark.parametrize("name", NAMES)
def test_integers_compute_what_the_network_on_its_grids_does(name):
    network, stored, inputs = compressed(name)
    on_grids, codes = stored.rebuild(network), {}
    for place, module in on_grids.named_modules():
        if isinstance(module, Quantize):
            point, grid = place.removeprefix("quantize_"), module.grid

            def keep(_, __, values, point=point, grid=grid):
                codes[point] = (values / grid.step).round().long() + grid.zero_point

            module.register_forward_hook(keep)
    with torch.no_grad():
        expected = on_grids(inputs).double()
    integers = IntegerNetwork(network, stored)
    found = integers.codes(inputs, codes)
    assert found.keys() == codes.keys() == stored.activations.keys()
    for point in codes:
        apart = (found[point] - codes[point]).abs()
        assert int(apart.max()) <= 1 and float((apart > 0).double().mean()) < 1e-2, point
        assert codes[point].unique().numel() > 20, "the test sees few of the codes"
    difference = (predict(integers, inputs) - expected).abs().max()
    assert float(difference) <= 0.03 * float(expected.max() - expected.min())


@pytest.mark.parametrize("weight", [1e-9, 0.0])
def test_a_bias_that_dwarfs_its_weights_stays(weight):
    layer = nn.Linear(3, 2)
    layer.weight.data = torch.tensor([[weight] * 3, [0.5, -0.5, 0.25]])
    layer.bias.data = torch.tensor([7.0, 0.1])
    network, stored = one_layer(layer, ActivationGrid(8, 0.01, 0))
    inputs = torch.rand(5, 3, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        torch.testing.assert_close(IntegerNetwork(network, stored)(inputs), network(inputs).double(), rtol=0, atol=0.02)


def test_removed_weights_are_zeros():
    torch.manual_seed(3)
    layer = nn.Linear(6, 4)
    network, stored = one_layer(layer, ActivationGrid(8, 0.01, 0))
    mask = torch.rand(4, 6) < 0.5
    pruned = stored.with_tensors({"0.weight": stored.tensors["0.weight"].masked(mask)})
    whole, (kept,) = integer_layers(network, stored)["0"], integer_layers(network, pruned).values()
    assert torch.equal(kept.weight, whole.weight * mask)


def test_sums_beyond_32_bits_are_an_error():
    layer = nn.Linear(70_000, 1)
    layer.weight.data, layer.bias.data = torch.ones(1, 70_000), torch.zeros(1)
    network, stored = one_layer(layer, ActivationGrid(8, 1.0, 0))
    with pytest.raises(OverflowError, match="'0' leaves 32 bits"):
        IntegerNetwork(network, stored)(torch.full((1, 70_000), 255.0))


def test_what_integers_do_not_compute_is_said():
    layer = nn.Linear(3, 2)
    network, stored = one_layer(layer, ActivationGrid(8, 1.0, 0))
    with pytest.raises(NoIntegerFormError, match="the input of '0' is not quantized"):
        IntegerNetwork(network, stored.with_activations({}))
    uniform = stored.with_tensors({"0.weight": rounded_per_channel(layer.weight.detach(), "uniform", 8)})
    for other in (uniform, one_layer(layer, ActivationGrid(8, 1.0, 0), bits=9)[1]):
        with pytest.raises(NoIntegerFormError, match=r"'0\.weight' is not stored as multiples"):
            IntegerNetwork(network, other)
    assert isinstance(stored.tensors["0.weight"], PerChannel)
    curved = nn.Sequential(layer, nn.Tanh())
    with pytest.raises(NoIntegerFormError, match="Tanh"):
        IntegerNetwork(curved, stored)(torch.zeros(1, 3))


@pytest.mark.parametrize("sides, windows", [((4, 6), 2), ((1, 1), 3)])
def test_averages_of_whole_windows(sides, windows):
    network = nn.Sequential(nn.AdaptiveAvgPool2d(windows), nn.Flatten())
    inputs = torch.randint(0, 256, (2, 3, *sides), generator=torch.Generator().manual_seed(4)).float()
    stored = Compressed({}, {"input_1": ActivationGrid(8, 1.0, 0)})
    torch.testing.assert_close(IntegerNetwork(network, stored)(inputs), network(inputs).double())
    with pytest.raises(NoIntegerFormError, match="different sizes"):
        IntegerNetwork(nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten()), stored)(torch.zeros(1, 3, 5, 5))


class Twice(nn.Module):
    """Its layer is used at two places."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        return self.layer(torch.relu(self.layer(x)))


def test_a_layer_that_reads_values_of_different_steps_has_no_integer_form():
    network = Twice().eval()
    steps = rounded(network.layer.weight.detach(), "symmetric", 8)
    grids = {"x": ActivationGrid(8, 0.1, 0), "relu": ActivationGrid(4, 0.2, 0)}
    stored = in_full_precision(network).with_tensors({"layer.weight": steps}).with_activations(grids)
    with pytest.raises(NoIntegerFormError, match="'layer' is used at several places"):
        IntegerNetwork(network, stored)
    same = stored.with_activations({"x": ActivationGrid(8, 0.1, 0), "relu": ActivationGrid(8, 0.1, 0)})
    assert integer_layers(network, same).keys() == {"layer"}
    assert input_bits(network, grids, (4,)) == {"layer.weight": 8}
