import pytest
import torch
from torch import nn

from edgepress import graph
from edgepress.datasets import SPLITS, Prepared
from edgepress.graph import UntraceableError, activation_points, layer_inputs, trace


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(3)
    inputs = {split: torch.randn(6, 1, 16, 16, generator=generator) for split in SPLITS}
    return Prepared("images", "classification", 3, inputs, {split: torch.arange(6) % 3 for split in SPLITS})


class Branching(nn.Module):
    def forward(self, x):
        return x + 1 if x.sum() > 0 else x


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
    assert layer_inputs(traced, points) == {"first.weight": ["x"], "inner.weight": ["relu"], "last.weight": ["add"]}


def test_what_is_called_is_traced_once_for_a_network_and_again_where_its_layers_change(monkeypatch):
    traced = []
    monkeypatch.setattr(graph, "trace", lambda network: traced.append(network) or trace(network))
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    for _ in range(2):
        assert graph.called_weights(network) == ["0.weight", "2.weight"]
    assert len(traced) == 1
    network.append(nn.Linear(2, 2))
    assert graph.called_weights(network) == ["0.weight", "2.weight", "3.weight"]
    assert len(traced) == 2
