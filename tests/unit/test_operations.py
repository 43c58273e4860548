import pytest
import torch
from torch import nn

from edgepress.costs.operations import bit_operations, layer_macs
from edgepress.networks import compressible


def test_linear_by_hand():
    network = nn.Sequential(nn.Linear(5, 3), nn.ReLU(), nn.Linear(3, 2))
    assert layer_macs(network, (5,)) == {"0.weight": 15, "2.weight": 6}


@pytest.mark.parametrize(
    "layer, shape, macs",
    [
        (nn.Conv2d(3, 8, 3, padding=1), (3, 10, 12), 10 * 12 * 8 * 3 * 9),
        (nn.Conv2d(3, 8, 3), (3, 10, 12), 8 * 10 * 8 * 3 * 9),
        (nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), (4, 8, 8), 4 * 4 * 6 * 2 * 9),
        (nn.Conv1d(2, 5, 4), (2, 9), 6 * 5 * 2 * 4),
        (nn.Conv3d(1, 2, 2), (1, 3, 3, 3), 8 * 2 * 8),
        (nn.Linear(4, 7), (6, 4), 6 * 28),  # a Linear at six positions
    ],
)
def test_layers_by_hand(layer, shape, macs):
    assert layer_macs(nn.Sequential(layer), shape) == {"0.weight": macs}


def test_biases_norms_and_activations_are_not_counted():
    bare = nn.Sequential(nn.Conv2d(1, 2, 3, bias=False))
    dressed = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2))
    assert layer_macs(bare, (1, 6, 6)) == layer_macs(dressed, (1, 6, 6))


def test_a_layer_that_is_used_twice_counts_twice():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, x):
            return self.layer(self.layer(x))

    assert layer_macs(Twice(), (3,)) == {"layer.weight": 18}


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_names_are_those_of_the_tensors_that_methods_compress(depth):
    network = nn.Linear(3, 2)
    for _ in range(depth):
        network = nn.Sequential(network)
    assert list(layer_macs(network, (3,))) == compressible(network)
    assert set(compressible(network)) <= set(network.state_dict())


@pytest.mark.parametrize("training", [True, False])
def test_the_network_is_left_as_it_was(training):
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).train(training)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    layer_macs(network, (3,))
    assert network.training == training == network[1].training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())


def test_bit_operations_by_hand():
    macs = {"0.weight": 100, "2.weight": 10}
    assert bit_operations(macs, {"0.weight": 4, "2.weight": 32}) == 100 * 4 * 32 + 10 * 32 * 32
    assert bit_operations(macs, {"0.weight": 4, "2.weight": 2}, {"0.weight": 8}) == 100 * 4 * 8 + 10 * 2 * 32
