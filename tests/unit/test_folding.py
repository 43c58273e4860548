import pytest
import torch
from torch import nn

from edgepress import codebooks, methods, networks
from edgepress.datasets import SPLITS, Prepared
from edgepress.encodings import Dense, PerChannel, Scaled, Sparse
from edgepress.evaluation import evaluate
from edgepress.folding import fold_batch_norm, fold_stored
from edgepress.levels import Level
from edgepress.methods.rounding import rounded
from edgepress.networks import inference_state
from edgepress.packing import Compressed
from edgepress.sweep import Bench, Trained, generator_for
from edgepress.targets.integer import IntegerNetwork
from edgepress.training import Training

from .eight_bit import with_statistics

BRIEFLY = Training(lr=0.01, batch_size=3, max_epochs=1, patience=1)


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(3)
    inputs = {split: torch.randn(6, 1, 16, 16, generator=generator) for split in SPLITS}
    return Prepared("images", "classification", 3, inputs, {split: torch.arange(6) % 3 for split in SPLITS})


def norms(network):
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]


@pytest.mark.parametrize("name", ["cnn", "resnet8", "resnet9", "ds_cnn"])
def test_a_folded_network_computes_the_same_without_batch_norm(name, images):
    network = with_statistics(networks.build(name, images), images.inputs["train"], seed=4)
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


ENCODINGS = {
    "a codebook": lambda weights: rounded(weights, "uniform", 3),
    "per channel": lambda weights: PerChannel.of(weights, [codebooks.symmetric(row, 3) for row in weights]),
    "a mask": lambda weights: Dense(weights).masked(weights > 0),
    "a mask of codes": lambda weights: ENCODINGS["a codebook"](weights).masked(weights > 0),
}


@pytest.mark.parametrize("encode", ENCODINGS.values(), ids=ENCODINGS)
@pytest.mark.parametrize("name", ["resnet8", "ds_cnn"])
def test_what_is_stored_folds_to_the_same_network_in_fewer_bytes(name, encode, images):
    network = with_statistics(networks.build(name, images), images.inputs["train"], seed=4)
    next(norm for norm in norms(network)).weight.data[0] *= -1
    weights = {name: network.get_parameter(name).detach() for name in networks.compressible(network)}
    encoded = {name: encode(weight) for name, weight in weights.items()}
    stored = methods.in_full_precision(network).with_tensors(encoded)
    shipped = fold_batch_norm(network)
    folded = fold_stored(stored, network)
    expected = stored.rebuild(network)(images.inputs["test"]).detach()
    torch.testing.assert_close(
        folded.rebuild(shipped)(images.inputs["test"]), expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max())
    )
    assert len(folded.to_bytes()) < len(stored.to_bytes())
    assert all(folded.tensors[name].bits == encoding.bits for name, encoding in encoded.items())
    back = Compressed.from_bytes(folded.to_bytes()).state_dict()
    assert all(torch.equal(back[name], tensor) for name, tensor in folded.state_dict().items())


def test_steps_take_factors_on_and_masks_stay():
    weights = torch.tensor([[0.0, 1.0, -2.0], [3.0, 0.0, 1.5]])
    steps = PerChannel.of(weights, [codebooks.Symmetric(3, torch.tensor([step])) for step in (0.5, 1.5)])
    scaled = steps.scaled(torch.tensor([2.0, -1.0]))
    assert isinstance(scaled, Scaled) and scaled.factors.tolist() == [1.0, -1.5]
    assert scaled.decode().tolist() == [[0, 2, -4], [-3, 0, -1.5]]
    kept = Dense(weights).masked(weights > 1).scaled(torch.tensor([2.0, -1.0]))
    assert isinstance(kept, Sparse) and kept.decode().tolist() == [[0, 0, 0], [-3, 0, -1.5]]
    assert torch.equal(kept.mask, weights > 1)


def test_integers_compute_what_is_left_of_training_with_norms(images):
    network = with_statistics(networks.build("resnet8", images), images.inputs["train"], seed=4)
    next(norm for norm in norms(network)).weight.data[:2] *= -1
    weights = {name: network.get_parameter(name).detach() for name in networks.compressible(network)}
    # Steps so short that the lowest code, −128, is there: a norm that turns its sign makes it one too many.
    encoded = {
        name: PerChannel.of(tensor, [codebooks.Symmetric(8, row.abs().max().reshape(1) / 128) for row in tensor])
        for name, tensor in weights.items()
    }
    assert any(int(tensor.codes.min()) == 0 for tensor in encoded.values())
    stored = fold_stored(methods.in_full_precision(network).with_tensors(encoded), network)
    shipped, level = fold_batch_norm(network), Level(bits=8, act_bits=8)
    stored = methods.compress([methods.create("activations_mse")], shipped, images, level, generator_for(0), stored)
    inputs = images.inputs["test"]
    with torch.no_grad():
        floats, integers = stored.rebuild(shipped)(inputs), IntegerNetwork(shipped, stored)(inputs)
    assert float((floats - integers).abs().max() / floats.abs().max()) < 0.02


def test_the_bench_ships_what_was_trained_with_norms(images):
    network = with_statistics(networks.build("ds_cnn", images), images.inputs["train"], seed=4)
    bench = Bench(Trained("ds_cnn", 0, network, images), ["val"], torch.device("cpu"), BRIEFLY)
    again = methods.create("lsq_channel", BRIEFLY)
    visible = images.only("train", "val")
    generator = generator_for("images", "ds_cnn", 0, "lsq_channel", "w3", 0)
    (result,) = bench.sweep("lsq_channel", ["w3"], draws=1)
    trained = again.compress(network, visible, Level(bits=3), generator)
    stored = Compressed.from_bytes(result.packed)
    assert stored.tensors.keys() == inference_state(bench.shipped).keys()
    assert len(result.packed) < len(trained.to_bytes()) - 1000
    assert result.rows[0]["loss"] == pytest.approx(evaluate(trained.rebuild(network), images, "val")["loss"], rel=1e-4)
    (row,) = next(iter(bench.sweep("both", ["w3s50"], draws=1, steps=["lsq", "magnitude"]))).rows
    assert row["status"] == "ok" and row["sparsity"] == pytest.approx(0.5, abs=0.1)


def test_a_norm_without_statistics_of_its_own_stays():
    network = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3, track_running_stats=False)).eval()
    assert len(norms(fold_batch_norm(network))) == 1


def test_a_norm_of_places_behind_a_linear_layer_stays():
    network = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(4)).eval()
    assert len(norms(fold_batch_norm(network))) == 1


def test_bits_a_weight_are_of_the_parameters_that_are_stored(images):
    """BatchNorms are folded: full precision has 32 bits a parameter, and those of the header."""
    network = with_statistics(networks.build("cnn", images), images.inputs["train"], seed=4)
    bench = Bench(Trained("cnn", 0, network, images), ["test"], torch.device("cpu"))
    (result,) = bench.sweep("nearest_uniform", ["w4"], draws=1)
    stored = sum(tensor.numel() for tensor in Compressed.from_bytes(result.packed).state_dict().values())
    assert stored < networks.parameter_count(network)
    for row in (bench.baseline()[0], result.rows[0]):
        assert row["bits_per_weight"] == pytest.approx(8 * row["bytes"] / stored)
        assert row["bits_per_weight"] > row["bits"]


def test_a_layer_with_two_names_is_folded_under_both():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.norm = nn.Linear(3, 4), nn.BatchNorm1d(4)
            self.again, self.norms = self.layer, nn.ModuleList([self.norm])

        def forward(self, x):
            return self.norms[0](self.again(x))

    network, x = Twice(), torch.randn(20, 3)
    network(x)
    folded = fold_batch_norm(network.eval(), (3,))
    assert set(inference_state(folded)) == {
        f"{name}.{key}" for name in ("layer", "again") for key in ("weight", "bias")
    }
    assert folded.layer is folded.again and torch.allclose(folded(x), network(x), atol=1e-5)


def test_a_weight_that_is_used_elsewhere_is_not_folded():
    class Read(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.norm = nn.Linear(3, 3), nn.BatchNorm1d(3)

        def forward(self, x):
            return self.norm(self.layer(x)) @ self.layer.weight

    tied = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 3))
    tied[2].weight = tied[0].weight
    for network in (Read(), tied):
        x = torch.randn(20, 3)
        network(x)
        folded = fold_batch_norm(network.eval(), (3,))
        assert set(inference_state(folded)) == set(inference_state(network))
        assert torch.equal(folded(x), network(x))
