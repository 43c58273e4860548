import pytest
import torch
from torch import nn

from edgepress import methods, networks
from edgepress.datasets import SPLITS, Prepared
from edgepress.encodings import Dense
from edgepress.folding import fold_batch_norm
from edgepress.levels import Level
from edgepress.methods.equalization import equalized
from edgepress.networks import inference_state
from edgepress.sweep import generator_for


@pytest.fixture
def images() -> Prepared:
    generator = torch.Generator().manual_seed(3)
    inputs = {split: torch.randn(40, 3, 8, 8, generator=generator) for split in SPLITS}
    return Prepared("toy", "classification", 3, inputs, {s: torch.arange(40) % 3 for s in SPLITS})


def uneven(name, data):
    """A folded network, some channels of whose activations are 20 times as large as others."""
    network = fold_batch_norm(networks.build(name, data, 0))
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                factors = torch.logspace(-0.65, 0.65, len(module.weight))[:, None, None, None]
                module.weight *= factors
                module.bias *= factors.flatten()
    return network


def with_state(network, tensors):
    stored = {name: Dense(tensor) for name, tensor in {**inference_state(network), **tensors}.items()}
    return methods.Compressed(stored).rebuild(network).eval()


@torch.no_grad()
@pytest.mark.parametrize("name", ["cnn", "ds_cnn", "resnet8", "resnet9"])
def test_the_network_computes_what_it_did(name, images):
    network = uneven(name, images)
    inputs = images.inputs["train"]
    changed = equalized(network, inputs)
    before, after = network(inputs), with_state(network, changed)(inputs)
    assert torch.allclose(before, after, atol=1e-5 * float(before.abs().max()))
    assert any(not torch.equal(tensor, network.get_parameter(key)) for key, tensor in changed.items())


@torch.no_grad()
def test_what_a_depthwise_layer_reads_becomes_of_one_range(images):
    network, inputs = uneven("ds_cnn", images), images.inputs["train"]

    def spread(net):
        sizes = net.features[0](inputs).transpose(0, 1).flatten(1).quantile(0.999, dim=1)
        return float(sizes.max() / sizes.median())

    even = with_state(network, equalized(network, inputs))
    assert spread(network) > 2 and spread(even) < 1.2


class Branching(nn.Module):
    """What is added, or read twice, or goes through a sigmoid, keeps its scale."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.third, self.last = (nn.Linear(4, 4) for _ in range(4))

    def forward(self, x):
        x = self.first(x)
        x = torch.sigmoid(self.second(x) + x)
        return self.last(self.third(x))


def test_only_layers_that_one_alone_reads_are_scaled():
    torch.manual_seed(0)
    network = Branching().eval()
    changed = equalized(network, torch.randn(50, 4))
    same = {name for name, tensor in changed.items() if torch.equal(tensor, network.get_parameter(name))}
    assert same == {"first.weight", "first.bias", "second.weight", "second.bias", "last.bias"}


@torch.no_grad()
@pytest.mark.parametrize("used", [5, 1, 0])
def test_channels_that_are_never_used_do_not_break_it(used):
    torch.manual_seed(0)
    network, inputs = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)), torch.randn(50, 4)
    network[0].bias[used:] = -100
    changed = equalized(network, inputs)
    assert torch.allclose(network(inputs), with_state(network, changed)(inputs), atol=1e-5)
    factors = (network[0].bias / changed["0.bias"]).abs()
    assert float(factors.max() / factors.min()) <= 101


@torch.no_grad()
def test_few_bits_lose_less_than_without(images):
    network, inputs = uneven("ds_cnn", images), images.inputs["val"]
    exact, error = network(inputs), {}
    for name in ("activations_mse", "activations_equalized"):
        stored = methods.create(name).compress(network, images, Level(act_bits=4), generator_for(0))
        error[name] = float((stored.rebuild(network)(inputs) - exact).square().mean())
    assert error["activations_equalized"] < 0.9 * error["activations_mse"]


def test_it_comes_before_what_compresses_weights(images):
    network = uneven("ds_cnn", images)
    rounded = methods.create("nearest_uniform").compress(network, images, Level(bits=4), generator_for(0))
    with pytest.raises(ValueError, match="before others"):
        methods.create("activations_equalized").apply(rounded, network, images, Level(act_bits=4), generator_for(0))


class LastAxis(nn.Module):
    """Its second layer reads places, not the channels of the first, of which there are as many, or a part."""

    def __init__(self, places):
        super().__init__()
        self.first, self.second = nn.Conv1d(1, 7, 1), nn.Linear(places, 5)

    def forward(self, x):
        return self.second(torch.relu(self.first(x))).flatten(1)


@torch.no_grad()
@pytest.mark.parametrize("places", [7, 14])
def test_a_layer_that_reads_another_side_is_left_alone(places):
    torch.manual_seed(1)
    network, inputs = LastAxis(places).eval(), torch.randn(20, 1, places)
    torch.testing.assert_close(with_state(network, equalized(network, inputs))(inputs), network(inputs))


@torch.no_grad()
def test_layers_that_share_their_weights_are_left_alone():
    torch.manual_seed(1)
    network = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3))
    inputs = torch.randn(20, 4)
    network[2].weight = network[0].weight
    torch.testing.assert_close(with_state(network, equalized(network, inputs))(inputs), network(inputs))
