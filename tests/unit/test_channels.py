import pytest
import torch
from torch import nn

from edgepress import methods, networks
from edgepress.costs.operations import layer_macs
from edgepress.levels import Level
from edgepress.methods.channels import hidden_sizes, weights_left, widths_for
from edgepress.packing import Compressed
from edgepress.sweep import Bench, Trained
from edgepress.widths import channel_groups

CPU = torch.device("cpu")


def two_layers():
    network = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    return network, channel_groups(network, (4,))


def test_weights_left_by_hand():
    network, groups = two_layers()
    assert weights_left(hidden_sizes(network), groups, [4, 8]) == 16 + 32  # the output layer does not count
    assert weights_left(hidden_sizes(network), groups, [3, 2]) == 4 * 3 + 3 * 2


@pytest.mark.parametrize(
    "sparsity, widths",
    [
        (0.0, [4, 8]),
        (0.1, [4, 7]),  # 44 of 48 are left, .917; the next, 3 and 6 channels, .625
        (0.3, [3, 6]),
        (0.5, [3, 5]),  # 27 are nearer to 24 than the 16 of [2, 4]
        (0.65, [2, 4]),
        (1.0, [1, 1]),
    ],
)
def test_the_uniform_share_that_comes_nearest(sparsity, widths):
    network, groups = two_layers()
    assert widths_for(hidden_sizes(network), groups, sparsity) == widths


def test_the_channels_of_least_norm_go(classes):
    network, _ = two_layers()
    network[0].weight.data = torch.tensor([[1.0, 1, 1, 1], [-2, -2, 0, 0.5], [0, 0, 3, 0], [2, 2, 2, 2]])
    stored = methods.create("channels_l1").compress(network, classes, Level(sparsity=0.3), torch.Generator())
    state = stored.state_dict()
    assert torch.equal(state["0.weight"], network[0].weight[[0, 1, 3]])
    assert torch.equal(state["0.bias"], network[0].bias[[0, 1, 3]])
    kept = network[2].weight.abs().sum(dim=1).topk(6).indices.sort().values
    assert torch.equal(state["2.weight"], network[2].weight[kept][:, [0, 1, 3]])
    assert torch.equal(state["4.weight"], network[4].weight[:, kept]) and state["4.bias"].shape == (3,)


def test_what_is_measured_is_the_narrow_network(image_data):
    network = networks.build("cnn", image_data, seed=0)
    bench = Bench(Trained("cnn", 0, network, image_data), ["test"], CPU)
    whole = bench.baseline()[0]
    (result,) = bench.sweep("channels_l1", ["s75"], draws=1)
    (row,) = result.rows
    narrow = Compressed.from_bytes(result.packed).rebuild(bench.shipped)
    assert row["macs"] == sum(layer_macs(narrow, image_data.input_shape).values()) < whole["macs"] / 2
    assert row["bops"] == row["macs"] * 32 * 32
    weights = sum(narrow.get_parameter(name).numel() for name in networks.compressible(narrow))
    assert row["sparsity"] == pytest.approx(1 - weights / bench.weights) and 0.7 < row["sparsity"] < 0.8
    assert row["bytes"] < whole["bytes"] * 0.3
    assert row["bits_per_weight"] == pytest.approx(8 * row["bytes"] / networks.parameter_count(bench.shipped))


def test_codes_and_activations_of_a_narrow_network(image_data):
    network = networks.build("cnn", image_data, seed=0)
    bench = Bench(Trained("cnn", 0, network, image_data), ["test"], CPU)
    steps = ["channels_l1", "nearest_uniform", "activations_mse"]
    (result,) = bench.sweep("narrow", ["w4a8s50"], 1, steps)
    (row,) = result.rows
    assert (row["status"], row["bops"]) == ("ok", row["macs"] * 4 * 8)


def test_it_is_skipped_where_a_channel_a_layer_is_more_than_asked(classes):
    network, _ = two_layers()
    method = methods.create("channels_l1")
    assert method.skip(network, classes, Level(sparsity=0.8)) is None
    assert "10.4%" in method.skip(network, classes, Level(sparsity=0.9))  # 4 + 1 of 48


def test_a_network_without_hidden_channels_is_skipped(classes):
    assert "no channels" in methods.create("channels_l1").skip(nn.Linear(4, 3), classes, Level(sparsity=0.5))


def test_it_comes_first_in_a_chain(classes):
    network, _ = two_layers()
    chain = [methods.create("nearest_uniform"), methods.create("channels_l1")]
    with pytest.raises(ValueError, match="before others"):
        methods.compress(chain, network, classes, Level(bits=4, sparsity=0.5), torch.Generator())


def test_a_network_is_traced_a_few_times_a_level_not_once_a_share(image_data, monkeypatch):
    traced = []
    trace = torch.fx.symbolic_trace
    monkeypatch.setattr(torch.fx, "symbolic_trace", lambda network: traced.append(network) or trace(network))
    network, method = networks.build("cnn", image_data, seed=0), methods.create("channels_l1")
    assert method.skip(network, image_data, Level(sparsity=0.5)) is None and 0 < len(traced) <= 2
    method.compress(network, image_data, Level(sparsity=0.5), torch.Generator())
    assert len(traced) <= 4
