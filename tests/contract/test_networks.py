"""The contract of every registered network, for each kind of input and task."""

import copy

import pytest
import torch

from edgepress import networks, registry
from edgepress.costs.operations import layer_macs
from edgepress.training import Training, train

from .conftest import small_data

CASES = [
    (name, kind, task)
    for name, entry in sorted(registry.networks().items())
    for kind in entry.inputs
    for task in ("classification", "regression")
]


@pytest.fixture(params=CASES, ids="-".join, scope="module")
def case(request):
    name, kind, task = request.param
    data = small_data(kind, task)
    return name, data, networks.build(name, data, seed=0)


def test_declares_what_it_is(case):
    name, _, _ = case
    entry = registry.networks()[name]
    assert entry.about and set(entry.inputs) <= {"table", "image"}


def test_gives_a_row_of_outputs_an_example(case):
    _, data, network = case
    outputs = network.eval()(data.inputs["test"])
    assert outputs.shape == (len(data.inputs["test"]), data.outputs)
    assert outputs.isfinite().all()


def test_the_seed_decides_the_weights(case):
    name, data, network = case
    same, other = (networks.inference_state(networks.build(name, data, seed)) for seed in (0, 1))
    state = networks.inference_state(network)
    assert all(torch.equal(state[key], same[key]) for key in state)
    assert any(not torch.equal(state[key], other[key]) for key in state)


def test_building_leaves_the_global_generator_alone(case):
    name, data, _ = case
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    networks.build(name, data, seed=1)
    assert torch.equal(torch.rand(3), expected)


def test_has_layers_to_compress_that_cost_operations(case):
    _, data, network = case
    names = networks.compressible(network)
    assert len(names) >= 2
    macs = layer_macs(network, data.input_shape)
    assert list(macs) == names and all(count > 0 for count in macs.values())


def test_its_state_goes_into_a_fresh_one(case):
    name, data, network = case
    fresh = networks.build(name, data, seed=9)
    networks.load_inference_state(fresh, networks.inference_state(network))
    assert torch.equal(fresh.eval()(data.inputs["val"]), network.eval()(data.inputs["val"]))


def test_training_lowers_its_loss(case):
    _, data, network = case
    if networks.parameter_count(network) > 20_000_000:
        pytest.skip("more than 20 million parameters: minutes on a CPU")
    training = Training(lr=0.01, batch_size=8, max_epochs=12, patience=12)
    history = train(copy.deepcopy(network), data, training, seed=0)
    assert min(row["train_loss"] for row in history) < history[0]["train_loss"]


def test_it_trains_on_small_images_or_says_that_it_takes_none(case):
    name, data, network = case
    if networks.parameter_count(network) > 20_000_000 or len(data.input_shape) != 3:
        pytest.skip("minutes on a CPU, or no images")
    data = small_data("image", data.task, side=16)
    network = networks.build(name, data, seed=0)
    settings = Training(lr=0.01, batch_size=8, max_epochs=2, patience=2, resolutions=[0.5, 1.0])
    if name.startswith("dnn"):
        with pytest.raises(ValueError, match="does not accept images of 8×8"):
            train(network, data, settings, seed=0)
        return
    assert len(train(network, data, settings, seed=0)) == 2
    assert network.eval()(data.inputs["test"]).isfinite().all()
