import numpy as np
import pytest
import torch
from torch import fx, nn

from edgepress.activations import ActivationGrid, add_bits, input_bits, with_quantized_activations
from edgepress.costs.operations import bit_operations
from edgepress.levels import Level
from edgepress.methods import activations, create
from edgepress.packing import Compressed
from edgepress.sweep import Bench, Trained, generator_for

CPU = torch.device("cpu")


def grid(values, bits):
    return ActivationGrid.between(min(values), max(values), bits)


def test_a_grid_by_hand():
    unsigned = ActivationGrid.between(0.0, 7.5, 4)
    assert (unsigned.step, unsigned.zero_point) == (0.5, 0)
    assert unsigned.quantize(torch.tensor([-1.0, 0.2, 0.3, 7.4, 9.0])).tolist() == [0, 0, 0.5, 7.5, 7.5]
    signed = ActivationGrid.between(-1.0, 2.0, 2)
    assert (signed.step, signed.zero_point) == (1, 1)
    assert signed.quantize(torch.tensor([-3.0, -0.6, 0.4, 1.6, 5.0])).tolist() == [-1, -1, 0, 2, 2]


@pytest.mark.parametrize("low, high", [(0.0, 7.9), (-0.7, 2.0), (-2.1, 0.0), (0.0, 0.0), (-3e4, 1e-3)])
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_what_lies_on_a_grid_is_the_quotient_rounded_as_onnx_rounds(low, high, bits):
    made = ActivationGrid.between(low, high, bits)
    halves = made.step * (torch.arange(-3, min(made.highest, 1000) + 3) - made.zero_point + 0.5)
    scattered = torch.randn(10_000, generator=torch.Generator().manual_seed(0)) * (high - low)
    values = torch.cat([halves, scattered])
    quotients = values.numpy() / np.float32(made.step)
    codes = np.clip(np.round(quotients), -made.zero_point, made.highest - made.zero_point)
    quantized = made.quantize(values)
    assert np.array_equal(quantized.numpy(), codes * np.float32(made.step))
    # torch multiplies by 1/step, which differs where a value lies between two codes alone
    judge = torch.fake_quantize_per_tensor_affine(values, made.step, made.zero_point, 0, made.highest)
    differ = (quantized != judge).numpy()
    assert np.allclose(np.abs(quotients[differ] % 1 - 0.5), 0, atol=np.spacing(np.float32(1 << bits)))


def test_a_value_between_two_codes_gets_the_same_one_from_the_network_and_from_integers():
    """A product with 1/step rounds twice, so it can fall on the other side of a tie."""
    steps = np.linspace(0.01, 1, 2_000, dtype=np.float32)
    values = np.outer(np.arange(100) + np.float32(0.5), steps).astype(np.float32)
    tie = np.argwhere(np.round(values / steps) != np.round(values * (1 / steps)))
    assert len(tie)
    for row, column in tie[:20]:
        made = ActivationGrid(8, float(str(steps[column])), 0)
        value = torch.tensor([values[row, column]])
        expected = np.round(values[row, column] / steps[column])
        assert float(made.signed_codes(value)) == expected
        assert torch.equal(made.quantize(value), torch.tensor([expected * steps[column]]))


@pytest.mark.parametrize("low, high", [(0.0, 0.0), (3.0, 5.0), (-5.0, -3.0), (-1e-3, 1e3), (-0.7, 0.2)])
@pytest.mark.parametrize("bits", [1, 2, 8, 16])
def test_zero_is_always_a_level(low, high, bits):
    made = ActivationGrid.between(low, high, bits)
    assert 0 <= made.zero_point <= made.highest
    assert float(made.quantize(torch.zeros(1))) == 0


@pytest.mark.parametrize(
    "bits, step, zero_point", [(0, 1, 0), (17, 1, 0), (8, 0, 0), (8, float("nan"), 0), (2, 1, 4), (2, 1, -1)]
)
def test_grids_out_of_range_are_refused(bits, step, zero_point):
    with pytest.raises(ValueError, match="bits"):
        ActivationGrid(bits, step, zero_point)


def test_ranges_by_hand():
    values = torch.cat([torch.rand(99_999, generator=torch.Generator().manual_seed(0)), torch.tensor([100.0])])
    assert activations.minmax(values, 8).step == pytest.approx(100 / 255)
    assert activations.percentile(values, 8).step == pytest.approx(1 / 255, rel=0.02)
    assert activations.minmax(values - 0.5, 8).zero_point == 1
    assert activations.percentile(values - 0.5, 8).zero_point in (127, 128)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_mse_leaves_no_more_error_than_any_other_range(bits):
    values = torch.randn(20_000, generator=torch.Generator().manual_seed(1)) ** 3

    def error(made):
        return float((made.quantize(values) - values).square().mean())

    best = error(activations.mse(values, bits))
    others = [
        ActivationGrid.between(float(values.min()) * s / 20, float(values.max()) * s / 20, bits) for s in range(1, 21)
    ]
    assert best <= 1.02 * min(map(error, others))  # it judges by a histogram
    assert best < 0.9 * error(activations.minmax(values, bits)) or bits == 8


@pytest.fixture
def network():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 3)).eval()


def test_activations_take_the_values_of_their_grids(network, classes):
    grids = {"input_1": grid([-4, 4], 8), "_1": grid([0, 3], 3), "_3": grid([0, 3], 2)}
    quantized = with_quantized_activations(network, grids)
    seen = {}
    for name, layer in (("_1", "2"), ("_3", "4")):
        quantized.get_submodule(layer).register_forward_hook(
            lambda _, inputs, __, name=name: seen.update({name: inputs[0]})
        )
    quantized(classes.inputs["test"])
    assert {name: values.unique().numel() <= 2 ** grids[name].bits for name, values in seen.items()} == {
        "_1": True,
        "_3": True,
    }
    assert quantized.state_dict().keys() == network.state_dict().keys()


def test_an_activation_that_is_not_there_is_refused(network):
    with pytest.raises(ValueError, match="no activation 'nowhere'"):
        with_quantized_activations(network, {"nowhere": grid([0, 1], 8)})


def test_calibration_gives_each_point_a_grid_that_the_file_keeps(network, classes):
    stored = create("activations_minmax").compress(network, classes, Level(act_bits=4), generator_for(0))
    assert {name: made.bits for name, made in stored.activations.items()} == {"input_1": 8, "_1": 4, "_3": 4}
    assert stored.activations["_1"].zero_point == 0
    assert Compressed.from_bytes(stored.to_bytes()).activations == stored.activations
    assert input_bits(network, stored.activations, (4,)) == {"0.weight": 8, "2.weight": 4, "4.weight": 4}
    assert isinstance(stored.rebuild(network), fx.GraphModule)


@torch.no_grad()
def test_many_bits_change_little_and_few_change_much(network, classes):
    inputs = classes.inputs["train"]
    exact, change = network(inputs), {}
    for bits in (16, 2):
        stored = create("activations_mse").compress(network, classes, Level(act_bits=bits), generator_for(0))
        change[bits] = float((stored.rebuild(network)(inputs) - exact).abs().max() / exact.abs().max())
    assert change[16] < 0.05 < change[2]


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.inner, self.last = nn.Linear(4, 5), nn.Linear(5, 5), nn.Linear(5, 3)

    def forward(self, x):
        x = self.first(x).relu()
        return self.last((x + self.inner(x)).relu())


def test_what_no_layer_multiplies_keeps_8_bits(classes):
    stored = create("activations_mse").compress(Residual(), classes, Level(act_bits=3), generator_for(0))
    bits = {name: made.bits for name, made in stored.activations.items()}
    assert bits == {"x": 8, "relu": 3, "inner": 8, "relu_1": 3}


def test_what_is_only_added_can_have_the_bits_of_the_level(classes):
    for method, levels in {"activations_mse": {8: 8, 4: 8}, "activations_mse_adds": {8: 8, 4: 4}}.items():
        for level, adds in levels.items():
            stored = create(method).compress(Residual(), classes, Level(act_bits=level), generator_for(0))
            bits = {name: made.bits for name, made in stored.activations.items()}
            assert bits == {"x": 8, "relu": level, "inner": adds, "relu_1": level}
            assert add_bits(Residual(), stored.activations) == adds
    assert add_bits(Residual(), {}) is None


def test_a_chain_of_weights_and_activations_counts_both_bits(network, classes):
    bench = Bench(Trained("toy", 0, network, classes), ["test"], CPU)
    (result,) = bench.sweep("both", ["w4a8"], 1, ["nearest_uniform", "activations_mse"])
    row = result.rows[0]
    assert (row["level"], row["bits"], row["act_bits"]) == ("w4a8", 4, 8)
    assert row["bops"] == (20 + 25 + 15) * 4 * 8
    assert bit_operations({"a": 10}, {"a": 4}, {}) == 10 * 4 * 32
