"""A regression trains in the target's unit, whatever follows the last layer of the network."""

import copy

import pytest
import torch
from torch import nn

from edgepress import methods, training
from edgepress.datasets import Prepared
from edgepress.evaluation import evaluate, predict
from edgepress.heads import Head
from edgepress.levels import Level
from edgepress.target_scale import TargetScale
from edgepress.training import Training, retrain, train

SETTINGS = Training(lr=0.01, batch_size=128, max_epochs=40, patience=10)
A_TOUCH = Training(lr=1e-6, batch_size=128, max_epochs=1, patience=1)
UNTRAINED = Training(lr=1e-12, batch_size=128, max_epochs=1, patience=1)


@pytest.fixture(scope="module")
def prices() -> Prepared:
    """Prices around 300,000 ± 59,000."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(600, 4, generator=generator)
    y = 300_000 + 80_000 * torch.tanh(x[:, 0] + x[:, 1] * x[:, 2]) + 20_000 * x[:, 3]
    parts = {"train": slice(0, 360), "val": slice(360, 480), "test": slice(480, 600)}
    return Prepared("prices", "regression", 1, {s: x[p] for s, p in parts.items()}, {s: y[p] for s, p in parts.items()})


class Ending(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Wide(nn.Module):
    """Two layers whose values are added."""

    def __init__(self):
        super().__init__()
        self.wide, self.deep = nn.Linear(4, 1), nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 1))

    def forward(self, x):
        return self.wide(x) + self.deep(x)


class Functional(nn.Module):
    """The output layer is none of torch's."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 16), nn.Parameter(torch.ones(1, 16))

    def forward(self, x):
        return nn.functional.linear(self.first(x).relu(), self.last)


def body(*ending):
    return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), *ending)


def last(function):
    return body(nn.Linear(16, 1), Ending(function))


NETWORKS = {
    "plain": lambda: body(nn.Linear(16, 1)),
    "no bias": lambda: body(nn.Linear(16, 1, bias=False)),
    "thousands": lambda: last(lambda y: y * 1000),
    "no bias, thousands": lambda: body(nn.Linear(16, 1, bias=False), Ending(lambda y: y * 1000)),
    "range": lambda: last(lambda y: y.sigmoid() * 600_000),
    "exp": lambda: last(torch.exp),
    "flat": lambda: last(lambda y: y[:, 0]),
    "squeezed": lambda: last(lambda y: y.squeeze()),
    "minus": lambda: last(lambda y: -y),
    "square": lambda: last(lambda y: y * y),
    "own unit": lambda: last(lambda y: y * 58_000 + 300_000),
    "ReLU": lambda: body(nn.Linear(16, 1), nn.ReLU()),
    "Softplus": lambda: body(nn.Linear(16, 1), nn.Softplus()),
    "BatchNorm": lambda: body(nn.Linear(16, 1), nn.BatchNorm1d(1)),
    "LayerNorm before": lambda: body(nn.LayerNorm(16), nn.Linear(16, 1)),
    "a sum of eight": lambda: body(nn.Linear(16, 8), nn.ReLU(), Ending(lambda y: y.sum(1, keepdim=True))),
    "added": Wide,
    "convolutions": lambda: nn.Sequential(
        Ending(lambda x: x[:, :, None, None].expand(-1, -1, 2, 2)),
        *(nn.Conv2d(4, 16, 1), nn.ReLU(), nn.Conv2d(16, 1, 1), nn.AdaptiveAvgPool2d(1)),
    ),
}


def built(name, seed=0):
    torch.manual_seed(seed)
    return NETWORKS[name]()


@pytest.mark.parametrize("name", NETWORKS)
def test_a_fresh_network_learns_and_a_trained_one_is_trained_on(prices, name):
    network = built(name)
    train(network, prices, SETTINGS, seed=0)
    quality = evaluate(network, prices, "test")["r2"]
    assert quality > 0.9
    loaded, further = copy.deepcopy(network), copy.deepcopy(network)
    train(loaded, prices, A_TOUCH, seed=0, loaded=list(network.state_dict()))
    assert evaluate(loaded, prices, "test")["r2"] == pytest.approx(quality, abs=1e-3)
    retrain(further, prices, Training(lr=0.002, batch_size=128, max_epochs=10, patience=10), seed=0)
    assert evaluate(further, prices, "val")["loss"] < evaluate(network, prices, "val")["loss"]
    assert evaluate(further, prices, "test")["r2"] > quality - 0.01


def test_what_comes_from_a_file_begins_as_it_is(prices):
    network = built("plain")
    train(network, prices, UNTRAINED, seed=0)
    before = copy.deepcopy(network.state_dict())
    train(network, prices, UNTRAINED, seed=0, loaded=["2.weight", "2.bias"])
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    train(network, prices, UNTRAINED, seed=0, loaded=["0.weight", "0.bias"])  # a backbone, and a new head
    assert not torch.equal(before["2.weight"], network[2].weight)


@pytest.mark.parametrize("frozen", [["2.weight", "2.bias"], ["2.bias"], ["0.weight", "0.bias", "2.weight"]])
def test_a_frozen_output_layer_stays_as_it_is(prices, frozen):
    network = built("plain")
    before = copy.deepcopy(network.state_dict())
    training.freeze(network, frozen)
    train(network, prices, A_TOUCH, seed=0)
    assert all(torch.equal(before[name], network.get_parameter(name)) for name in frozen)


@pytest.mark.parametrize("unit", [1e-6, 1e3, 1e8])
@pytest.mark.parametrize("name", ["plain", "no bias", "convolutions"])
def test_the_unit_does_not_matter(prices, name, unit):
    other = Prepared("other", "regression", 1, prices.inputs, {s: t * unit for s, t in prices.targets.items()})
    networks = []
    for data in (prices, other):
        networks.append(built(name))
        train(networks[-1], data, SETTINGS, seed=0)
    expected, found = (evaluate(*pair, "test")["r2"] for pair in zip(networks, (prices, other), strict=True))
    assert found == pytest.approx(expected, abs=5e-3)


@pytest.mark.parametrize("method, level", [
    ("qat_nearest_uniform", Level(bits=4)), ("lsq", Level(bits=4)), ("lsq_channel", Level(bits=4)),
    ("magnitude_finetuned", Level(sparsity=0.5)), ("admm", Level(bits=4, sparsity=0.5)),
])  # fmt: skip
def test_methods_that_train_again_do_so_alike_in_every_unit(prices, method, level):
    thousandth = {split: targets / 1000 for split, targets in prices.targets.items()}
    small = Prepared("small", "regression", 1, prices.inputs, thousandth)
    plain = built("plain")
    train(plain, prices, SETTINGS, seed=0)
    factor, narrow = last(lambda y: y * 1000), built("plain")
    for network in (factor, narrow):
        network.load_state_dict(plain.state_dict())
        network[2].load_state_dict({name: tensor / 1000 for name, tensor in plain[2].state_dict().items()})
    quality = []
    for network, data in ((plain, prices), (factor, prices), (narrow, small)):
        again = methods.create(method, Training(lr=0.002, batch_size=128, max_epochs=4, patience=4))
        stored = again.compress(network, data.only("train", "val"), level, torch.Generator().manual_seed(1))
        quality.append(evaluate(stored.rebuild(network), data, "test")["r2"])
    assert quality[1:] == pytest.approx(quality[:1] * 2, abs=5e-3) and quality[0] > 0.8


def test_the_response_is_found_where_the_network_answers_the_mean(prices):
    for name, centre, gain in (("plain", 1, 1), ("thousands", 1e-3, 1e3), ("minus", -1, -1)):
        found = TargetScale.of(prices, built(name))
        assert (found.centre, found.gain) == pytest.approx((centre * found.mean, gain), rel=1e-6), name
    found = TargetScale.of(prices, built("exp"))
    assert found.centre == pytest.approx(torch.tensor(found.mean).log().item(), abs=1e-3)
    assert found.gain == pytest.approx(found.mean, rel=0.05)


def test_a_layer_without_a_bias_begins_at_the_mean(prices):
    network = built("no bias")
    train(network, prices, UNTRAINED, seed=0)
    mean = float(prices.targets["train"].mean())
    assert float(predict(network, prices.inputs["train"]).mean()) == pytest.approx(mean, rel=0.05)


def test_where_no_layer_answers_in_the_targets_unit_nothing_changes_and_it_is_said(prices, capsys):
    for network in (Functional(), body(nn.Linear(16, 1), nn.Sigmoid())):
        before = copy.deepcopy(network.state_dict())
        train(network, prices, UNTRAINED, seed=0)
        assert all(torch.allclose(before[name], tensor) for name, tensor in network.state_dict().items())
        assert "no layer of the network could be adapted to its unit" in capsys.readouterr().out


def test_to_look_for_the_head_leaves_the_network_as_it_is(prices):
    network = body(nn.Dropout(0.5), nn.BatchNorm1d(16), nn.Linear(16, 1)).train()
    network[3].eval()
    before, drawn = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    head = Head.of(network, prices.inputs["train"][:8])
    assert head.name == "4" and head.response(torch.tensor(5.0)).tolist() == [5.0] * 8
    assert torch.equal(drawn, torch.get_rng_state())
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert [module.training for module in network] == [True, True, True, False, True]
