import copy
import math

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from edgepress import codebooks, methods, registry
from edgepress.encodings import Dense, PerChannel, Quantized
from edgepress.evaluation import evaluate
from edgepress.levels import Level
from edgepress.methods.qat import LearnedGrid, _Rounded
from edgepress.methods.rounding import rounded
from edgepress.networks import inference_state, load_inference_state
from edgepress.packing import Compressed
from edgepress.sweep import Bench, Trained, generator_for
from edgepress.training import Training, train

AWARE = [name for name, entry in registry.methods().items() if entry.family == "qat" and entry.sweeps]
BRIEFLY = Training(lr=0.01, batch_size=16, max_epochs=4, patience=4)


def trained_on(data):
    torch.manual_seed(0)
    inputs = data.input_shape[0]
    network = nn.Sequential(nn.Linear(inputs, 16), nn.ReLU(), nn.Linear(16, data.outputs))
    train(network, data, Training(lr=0.02, batch_size=16, max_epochs=30, patience=30), seed=0)
    return network


def loss_on_val(network, compressed, data):
    network = copy.deepcopy(network)
    load_inference_state(network, compressed.state_dict())
    return evaluate(network, data, "val")["loss"]


@pytest.mark.parametrize("codebook", ["uniform", "normal", "midrise"])
def test_the_gradient_is_that_of_a_network_with_the_quantized_weights(codebook):
    torch.manual_seed(0)
    layer, inputs = nn.Linear(6, 4), torch.randn(9, 6)
    quantized = copy.deepcopy(layer)
    book = getattr(codebooks, codebook)(layer.weight.detach(), 3)
    quantized.weight.data = book.decode(book.encode(layer.weight.detach()))
    parametrize.register_parametrization(layer, "weight", _Rounded(codebook, 3, None))
    for net in (layer, quantized):
        net(inputs).square().sum().backward()
    assert torch.equal(layer.weight, quantized.weight)
    assert torch.equal(layer.parametrizations.weight.original.grad, quantized.weight.grad)
    assert torch.equal(layer.bias.grad, quantized.bias.grad)


def test_the_learned_step_has_the_gradient_of_the_paper():
    weights = nn.Parameter(torch.tensor([-1.0, -0.26, 0.04, 0.11, 0.6], dtype=torch.float64))
    grid = LearnedGrid(weights, 3)
    grid.log_step.data = torch.tensor(math.log(0.1), dtype=torch.float64)
    shown = grid(weights)
    assert shown.tolist() == pytest.approx([-0.4, -0.3, 0.0, 0.1, 0.3])
    shown.backward(torch.ones_like(shown))
    # Esser et al., equation 3: −v/s + ⌊v/s⌉ inside, −Q_N or Q_P where clipped; times s, for the logarithm.
    expected = 0.1 * (-4 + (2.6 - 3) + (-0.4 + 0) + (-1.1 + 1) + 3)
    assert float(grid.log_step.grad) == pytest.approx(expected)
    assert weights.grad.tolist() == [0, 1, 1, 1, 0]


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_the_learned_step_starts_at_the_least_error_and_uses_its_levels(bits):
    weights = torch.randn(64, 100, generator=torch.Generator().manual_seed(0))
    grid = LearnedGrid(weights, bits)
    start, codes = grid.encoded(weights), grid.encoded(weights).codes.unique()
    plain = rounded(weights, "symmetric", bits)
    assert torch.allclose(start.decode(), plain.decode(), rtol=1e-5, atol=1e-6)
    assert codes.numel() > 0.75 * 2**bits
    assert bool(LearnedGrid(torch.zeros(3), 4)(torch.zeros(3)).eq(0).all())


@pytest.mark.parametrize("name", AWARE)
@pytest.mark.parametrize("kind", ["classes", "amounts"])
def test_what_is_stored_is_quantized_and_no_worse_on_val_than_at_the_start(name, kind, request):
    data = request.getfixturevalue(kind)
    network, level = trained_on(data), Level(bits=3)
    aware = methods.create(name, BRIEFLY).compress(network, data, level, generator_for(name))
    for weight in ("0.weight", "2.weight"):
        assert isinstance(aware.tensors[weight], Quantized | PerChannel) and aware.tensors[weight].bits == 3
    learned = {"lsq": "nearest_symmetric", "lsq_channel": "nearest_symmetric_channel"}
    before = learned.get(name, name.removeprefix("qat_").replace("stochastic", "nearest"))
    plain = methods.create(before).compress(network, data, level, generator_for(name))
    assert loss_on_val(network, aware, data) <= loss_on_val(network, plain, data) * (1 + 1e-6)


def test_the_control_trains_as_long_as_the_others_in_float32(classes, capsys):
    network, epochs = trained_on(classes), {}
    bench = Bench(Trained("toy", 0, network, classes), ["val", "test"], torch.device("cpu"), BRIEFLY)
    for name, level in (("qat_control", "w32"), ("lsq", "w4")):
        (result,) = bench.sweep(name, [level], draws=1)
        epochs[name] = capsys.readouterr().out.count("'epoch'")
        row = result.rows[0]
        assert (row["family"], row["status"], row["bits"]) == ("qat", "ok", 32 if level == "w32" else 4)
        if name == "qat_control":
            stored = Compressed.from_bytes(result.packed)
            assert all(isinstance(tensor, Dense) for tensor in stored.tensors.values())
            assert row["loss"] <= evaluate(network, classes, "val")["loss"]
            assert row["bops"] == row["macs"] * 32 * 32
            assert not torch.equal(stored.state_dict()["0.weight"], inference_state(network)["0.weight"])
    assert epochs["qat_control"] == epochs["lsq"] == BRIEFLY.max_epochs


def test_biases_train_along_and_the_network_is_left_alone(classes):
    network = trained_on(classes)
    before = copy.deepcopy(inference_state(network))
    aware = methods.create("qat_nearest_uniform", BRIEFLY).compress(network, classes, Level(bits=2), generator_for(1))
    assert all(torch.equal(before[name], tensor) for name, tensor in inference_state(network).items())
    assert not torch.equal(aware.state_dict()["0.bias"], before["0.bias"])


def test_it_is_the_first_step_of_a_chain(classes):
    network = trained_on(classes)
    pruned = methods.create("magnitude").compress(network, classes, Level(sparsity=0.5), generator_for(1))
    with pytest.raises(ValueError, match="must come before others"):
        methods.create("lsq", BRIEFLY).apply(pruned, network, classes, Level(bits=4), generator_for(1))
    chain = [methods.create("lsq", BRIEFLY), methods.create("magnitude")]
    both = methods.compress(chain, network, classes, Level(bits=4, sparsity=0.5), generator_for(1))
    assert int((both.state_dict()["0.weight"] == 0).sum()) >= 2 * 16
    assert isinstance(both, Compressed) and isinstance(both.tensors["0.bias"], Dense)


def test_without_settings_it_says_what_is_missing():
    with pytest.raises(ValueError, match="'lsq' fine-tunes the network"):
        methods.create("lsq")


@pytest.mark.parametrize("name", ["qat_nearest_uniform", "lsq"])
def test_a_training_that_diverges_is_a_failed_level(classes, name):
    network = trained_on(classes)
    wild = Training(lr=1e30, batch_size=16, max_epochs=2, patience=2)
    bench = Bench(Trained("toy", 0, network, classes), ["val", "test"], torch.device("cpu"), wild)
    (result,) = bench.sweep(name, ["w4"], draws=1)
    assert [(row["split"], row["status"]) for row in result.rows] == [("val", "failed"), ("test", "failed")]
    assert all("diverged" in row["reason"] for row in result.rows)


def test_one_bit_has_no_learned_step(classes):
    assert "2 bits" in methods.create("lsq", BRIEFLY).skip(nn.Linear(2, 2), classes, Level(bits=1))
