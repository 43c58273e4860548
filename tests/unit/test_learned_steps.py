import copy

import pytest
import torch
from torch import nn

from edgepress import methods
from edgepress.activations import ActivationGrid
from edgepress.datasets import SPLITS, Prepared
from edgepress.encodings import PerChannel
from edgepress.evaluation import evaluate
from edgepress.folding import fold_batch_norm
from edgepress.levels import Level
from edgepress.methods.learned_steps import _LearnedActivation
from edgepress.methods.qat import LearnedChannels
from edgepress.networks import inference_state
from edgepress.packing import Compressed
from edgepress.sweep import Bench, Trained, generator_for
from edgepress.targets.integer import IntegerNetwork
from edgepress.training import Training, train

BRIEFLY = Training(lr=0.01, batch_size=16, max_epochs=3, patience=3)
CPU = torch.device("cpu")


@pytest.fixture
def images() -> Prepared:
    """Two classes that differ in which half of the image is brighter."""
    generator = torch.Generator().manual_seed(3)
    inputs = {split: torch.randn(64, 2, 6, 6, generator=generator) for split in SPLITS}
    targets = {split: (x[..., :3].mean((1, 2, 3)) > x[..., 3:].mean((1, 2, 3))).long() for split, x in inputs.items()}
    return Prepared("toy", "classification", 2, inputs, targets)


@pytest.fixture
def network(images):
    torch.manual_seed(0)
    built = nn.Sequential(nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(96, 2))
    train(built, images, Training(lr=0.02, batch_size=16, max_epochs=12, patience=12), seed=0)
    return built.eval()


def compressed(network, data, level, training=BRIEFLY):
    return methods.create("lsq_activations", training).compress(network, data, level, generator_for(0))


def test_an_activation_has_the_gradient_of_the_paper():
    learned = _LearnedActivation(ActivationGrid(2, 0.5, 1)).train()
    values = torch.tensor([-2.0, -0.3, 0.1, 0.4, 3.0], requires_grad=True)
    shown = learned(values)
    assert shown.tolist() == pytest.approx([-0.5, -0.5, 0, 0.5, 1])
    shown.backward(torch.ones(5))
    # Esser et al., equation 3, with −1 to 2 steps around 0; times the step, for the logarithm.
    assert float(learned.log_step.grad) == pytest.approx(0.5 * (-1 + (0.6 - 1) + (-0.2 + 0) + (-0.8 + 1) + 2), abs=1e-6)
    assert values.grad.tolist() == [0, 1, 1, 1, 0]


@pytest.mark.parametrize("method", ["lsq", "lsq_channel", "lsq_activations"])
def test_decay_leaves_learned_steps_alone(network, images, method, monkeypatch):
    settings = Training(lr=1e-3, batch_size=64, max_epochs=1, patience=None, weight_decay=100.0)
    decays: dict[str, float] = {}

    class Noting(torch.optim.AdamW):
        def __init__(self, groups, **settings):
            super().__init__(groups, **settings)
            for group in self.param_groups:
                decays.update(dict.fromkeys((tuple(p.shape) for p in group["params"]), group["weight_decay"]))

    monkeypatch.setattr(torch.optim, "AdamW", Noting)
    level = Level.parse("w4a8" if method == "lsq_activations" else "w4")
    methods.create(method, settings).compress(network, images, level, generator_for(0))
    one, channels = [()], [(6, 1, 1, 1), (2, 1)]
    steps = {"lsq": one, "lsq_channel": channels, "lsq_activations": one + channels}[method]
    assert {shape: decay for shape, decay in decays.items() if decay == 0} == dict.fromkeys(steps, 0.0)
    assert decays[6, 2, 3, 3] == decays[2, 96] == 100


def test_an_activation_is_evaluated_on_the_grid_of_the_file():
    grid = ActivationGrid(3, 0.1, 2)
    learned = _LearnedActivation(grid).eval()
    learned.log_step.data += 0.3
    values = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(learned(values), grid.with_step(learned.log_step.exp()).quantize(values))


def test_each_channel_has_its_step_which_starts_at_the_least_error():
    weights = torch.tensor([[0.5, -1.0, 0.25, 0.75], [0.005, -0.01, 0.0025, 0.0075], [0.0, 0, 0, 0]])
    learned = LearnedChannels(weights, 4)
    assert learned.log_step.shape == (3, 1)
    assert torch.allclose(learned.log_step[0] - learned.log_step[1], torch.tensor(100.0).log(), atol=0.02)
    assert torch.allclose(learned(weights), learned.encoded(weights).decode(), atol=1e-7)
    assert learned.encoded(weights).decode()[2].eq(0).all()


@pytest.mark.parametrize("level", [Level(bits=8, act_bits=8), Level(bits=4, act_bits=4), Level(bits=2, act_bits=2)])
def test_the_file_holds_learned_grids_of_the_level(network, images, level):
    folded = fold_batch_norm(network)
    stored = Compressed.from_bytes(compressed(folded, images, level).to_bytes())
    plain = methods.create("activations_equalized").compress(folded, images, level, generator_for(0)).activations
    assert stored.tensors.keys() == inference_state(folded).keys()
    assert all(isinstance(stored.tensors[name], PerChannel) for name in ("0.weight", "4.weight"))
    for point, grid in stored.activations.items():
        assert (grid.bits, grid.zero_point) == (plain[point].bits, plain[point].zero_point)
        assert grid.step != plain[point].step
        assert grid.bits == (8 if point == "input_1" else level.act_bits)


def after_training(network, data, level):
    chain = [methods.create(name) for name in ("activations_equalized", "nearest_symmetric_channel")]
    return methods.compress(chain, network, data, level, generator_for(0))


@pytest.mark.parametrize("bits", [2, 3])
def test_the_network_that_was_best_on_val_is_the_one_in_the_file(bits, network, images, monkeypatch):
    folded, level, told = fold_batch_norm(network), Level(bits=bits, act_bits=bits), []
    monkeypatch.setattr("edgepress.methods.retraining.print", told.append, raising=False)
    stored = compressed(folded, images, level)
    start = evaluate(after_training(folded, images, level).rebuild(folded), images, "val")["loss"]
    best = min(start, *(row["val_loss"] for row in told))
    assert evaluate(stored.rebuild(folded), images, "val")["loss"] == pytest.approx(best, rel=1e-5)
    assert bits == 3 or best < start


def test_it_is_better_than_rounding_after_training(network, images):
    level, folded = Level(bits=2, act_bits=2), fold_batch_norm(network)
    after = after_training(folded, images, level)
    aware = compressed(folded, images, level, Training(lr=0.01, batch_size=16, max_epochs=10, patience=10))
    losses = [evaluate(stored.rebuild(folded), images, "val")["loss"] for stored in (aware, after)]
    assert losses[0] < losses[1]


def test_integers_compute_the_same(network, images):
    folded = fold_batch_norm(network)
    stored = compressed(folded, images, Level(bits=4, act_bits=4))
    inputs = images.inputs["test"]
    with torch.no_grad():
        floats, integers = stored.rebuild(folded)(inputs), IntegerNetwork(folded, stored)(inputs)
    difference = (floats - integers).abs() / floats.abs().max()
    assert float(difference.median()) < 0.01 and float(difference.max()) < 0.1  # one code of 4 bits, where it is a tie


def test_the_bench_gives_it_the_network_as_it_is_shipped(network, images):
    before = copy.deepcopy(inference_state(network))
    bench = Bench(Trained("toy", 0, network, images), ["test"], CPU, BRIEFLY)
    (result,) = bench.sweep("lsq_activations", ["w4a4"], draws=1)
    (row,) = result.rows
    assert (row["status"], row["bits"], row["act_bits"], row["family"]) == ("ok", 4, 4, "qat_activations")
    assert row["bops"] == 6 * 18 * 16 * 4 * 8 + 96 * 2 * 4 * 4  # the input has 8 bits
    assert "1.weight" not in Compressed.from_bytes(result.packed).tensors
    assert all(torch.equal(before[name], tensor) for name, tensor in inference_state(network).items())


@pytest.mark.parametrize("dead", [5, 6])
def test_channels_without_weights_do_not_stop_it(dead, images, network):
    folded = fold_batch_norm(network)
    with torch.no_grad():
        folded[0].weight[:dead], folded[0].bias[:dead] = 0, 1
    stored = compressed(folded, images, Level(bits=4, act_bits=4))
    assert all(tensor.isfinite().all() for tensor in stored.state_dict().values())


def test_it_needs_two_bits_and_float_weights(network, images):
    method = methods.create("lsq_activations", BRIEFLY)
    assert "2 bits" in method.skip(network, images, Level(bits=1, act_bits=8))
    assert "2 bits" in method.skip(network, images, Level(bits=8, act_bits=1))
    rounded = methods.create("nearest_uniform").compress(network, images, Level(bits=4), generator_for(0))
    with pytest.raises(ValueError, match="before others"):
        method.apply(rounded, network, images, Level(bits=4, act_bits=4), generator_for(0))
