import pytest
import torch
from torch import nn

from edgepress import networks
from edgepress.datasets import SPLITS, Prepared
from edgepress.graph import UntraceableError, activation_points, fold_batch_norm, layer_inputs, trace


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(3)
    inputs = {split: torch.randn(6, 1, 16, 16, generator=generator) for split in SPLITS}
    return Prepared("images", "classification", 3, inputs, {split: torch.arange(6) % 3 for split in SPLITS})


def with_statistics(network, inputs):
    """BatchNorms that have seen some data, with scales and shifts that are not 1 and 0."""
    torch.manual_seed(4)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.uniform_(module.bias, -1, 1)
    with torch.no_grad():
        network.train()(inputs)
    return network.eval()


def norms(network):
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]


@pytest.mark.parametrize("name", ["cnn", "resnet8", "resnet9", "ds_cnn"])
def test_a_folded_network_computes_the_same_without_batch_norm(name, images):
    network = with_statistics(networks.build(name, images), images.inputs["train"])
    before = {key: value.clone() for key, value in network.state_dict().items()}
    folded = fold_batch_norm(network)
    expected = network(images.inputs["test"]).detach()
    torch.testing.assert_close(
        folded(images.inputs["test"]), expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max())
    )
    assert norms(network) and not norms(folded)
    assert networks.compressible(folded) == networks.compressible(network)
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


def test_folding_by_hand():
    network = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1, eps=0.0)).eval()
    state = {"0.weight": [[3.0]], "0.bias": [1.0], "1.weight": [2.0], "1.bias": [5.0]}
    state |= {"1.running_mean": [4.0], "1.running_var": [0.25]}
    network.load_state_dict({key: torch.tensor(value) for key, value in state.items()}, strict=False)
    folded = fold_batch_norm(network)
    assert (folded[0].weight.item(), folded[0].bias.item()) == (3 * 2 / 0.5, (1 - 4) * 2 / 0.5 + 5)


class Shared(nn.Module):
    """The output of the layer goes to the norm, and past it."""

    def __init__(self):
        super().__init__()
        self.layer, self.norm = nn.Linear(2, 2), nn.BatchNorm1d(2)

    def forward(self, x):
        x = self.layer(x)
        return x + self.norm(x)


class Branching(Shared):
    def forward(self, x):
        return self.norm(self.layer(x)) if x.sum() > 0 else x


@pytest.mark.parametrize("kind", [Shared, Branching])
def test_what_cannot_be_folded_stays(kind):
    network = kind().eval()
    folded = fold_batch_norm(network)
    assert len(norms(folded)) == 1
    inputs = torch.ones(3, 2)
    assert torch.equal(folded(inputs), network(inputs))


def test_a_network_that_branches_on_its_data_is_no_graph():
    with pytest.raises(UntraceableError, match="no fixed graph"):
        trace(Branching())


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.relu, self.pool = nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)
        self.inner = nn.Conv2d(2, 2, 3, padding=1)
        self.drop, self.last = nn.Dropout(0.5), nn.Linear(8, 3)

    def forward(self, x):
        x = self.pool(self.relu(self.first(x)))
        return self.last(self.drop((x + self.inner(x)).flatten(1)))


def test_points_are_what_a_device_holds_between_layers():
    traced = trace(Small())
    points = activation_points(traced, torch.zeros(1, 1, 4, 4))
    assert [point.name for point in points] == ["x", "relu", "inner", "add"]
    assert layer_inputs(traced, points) == {"first.weight": "x", "inner.weight": "relu", "last.weight": "add"}
