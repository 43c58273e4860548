"""What every registered method promises, on a network of Linear layers and one of convolutions."""

import copy
import inspect
from dataclasses import is_dataclass

import pytest
import torch

from edgepress import methods, networks, registry
from edgepress.config import RunConfig
from edgepress.encodings import PerChannel
from edgepress.levels import Level
from edgepress.methods.mixed import MixedPrecision
from edgepress.methods.reconstruction import Reconstruction
from edgepress.packing import Compressed
from edgepress.sweep import generator_for
from edgepress.training import Training

from .conftest import small_data

SETTINGS = RunConfig(bits=[16, 10, 8, 5, 4, 3, 2, 1], retraining_bits=[16, 4, 2])
LEVELS = {name: [Level.parse(level) for level in SETTINGS.levels(name)] for name in sorted(registry.methods())}
BRIEFLY = Training(lr=0.01, batch_size=12, max_epochs=1, patience=1)
CASES = [(method, network) for method in LEVELS for network in ("dnn_complex", "cnn")]


@pytest.fixture(params=CASES, ids="-".join)
def case(request):
    name, network_name = request.param
    data = small_data("image", "classification")
    network = networks.build(network_name, data, seed=0)
    method = methods.create(name, BRIEFLY)
    levels = [level for level in LEVELS[name] if method.skip(network, data, level) is None]
    return name, method, network, data.only("train", "val"), levels


def compress(case, level, draw=0) -> Compressed:
    name, method, network, data, _ = case
    return method.compress(network, data, level, generator_for(name, level, draw))


def test_declares_what_it_is():
    for name, entry in registry.methods().items():
        assert entry.about and entry.family, name
        method = methods.create(name, BRIEFLY)
        assert is_dataclass(method) and method.__dataclass_params__.frozen
        assert inspect.getdoc(method)


def test_applies_to_some_level(case):
    assert case[-1], "skip() gives a reason at every level from 1 to 16 bits, or from 0 to .99 sparsity"


def test_rebuilds_every_tensor_of_the_network(case):
    _, _, network, _, levels = case
    state = networks.inference_state(network)
    for level in levels:
        rebuilt = compress(case, level).state_dict()
        assert rebuilt.keys() == state.keys()
        assert all(rebuilt[name].shape == state[name].shape for name in state)
        assert all(tensor.isfinite().all() for tensor in rebuilt.values())


def test_leaves_the_network_as_it_was(case):
    _, _, network, _, levels = case
    before = copy.deepcopy(networks.inference_state(network))
    for level in levels:
        compress(case, level)
    after = networks.inference_state(network)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_leaves_biases_and_norms_as_they_are(case):
    name, method, network, _, levels = case
    if registry.methods()[name].retrains or isinstance(method, Reconstruction | MixedPrecision):
        levels = []  # they train along, or make up for what rounding does
    state = networks.inference_state(network)
    for level in levels:
        rebuilt = compress(case, level).state_dict()
        for name in state.keys() - set(networks.compressible(network)):
            assert torch.equal(rebuilt[name], state[name]), name


def test_unpacks_to_the_same_bits_and_logits(case):
    _, _, network, data, levels = case
    for level in levels:
        compressed = compress(case, level)
        unpacked = Compressed.from_bytes(compressed.to_bytes())
        packed_state, state = unpacked.state_dict(), compressed.state_dict()
        assert all(torch.equal(packed_state[name].view(torch.int32), state[name].view(torch.int32)) for name in state)
        assert torch.equal(*(stored.rebuild(network).eval()(data.inputs["val"]) for stored in (compressed, unpacked)))


def test_keeps_to_its_level(case):
    name, _, network, _, levels = case
    weights = networks.compressible(network)
    for level in levels:
        compressed = compress(case, level)
        values = compressed.state_dict()
        if registry.methods()[name].family == "multipoint":
            stored = [compressed.tensors[weight] for weight in weights]
            assert all(tensor.codes.unique().numel() < 2**level.bits for tensor in stored)
            assert all(tensor.bits >= level.bits for tensor in stored)
        elif name == "dithered_uniform":
            codes = [compressed.tensors[weight].rounded.codes for weight in weights]
            assert all(tensor.unique().numel() <= 2**level.bits for tensor in codes)
        elif name == "mixed":
            bits = sum(compressed.tensors[weight].bits * values[weight].numel() for weight in weights)
            assert bits <= level.bits * sum(values[weight].numel() for weight in weights)
        elif isinstance(compressed.tensors[weights[0]], PerChannel):
            channels = [channel for weight in weights for channel in values[weight]]
            assert all(channel.unique().numel() <= 2**level.bits for channel in channels)
        elif level.bits is not None and level.sparsity is None:
            assert all(values[weight].unique().numel() <= 2**level.bits for weight in weights)
        if level.act_bits is not None:
            grids = list(compressed.activations.values())
            assert [grid.bits for grid in grids[1:]] == [level.act_bits] * (len(grids) - 1) and len(grids) > 1
        if level.sparsity is not None:
            pruned = [values[weight] for weight in weights[:-1]]
            zeros = sum(int((tensor == 0).sum()) for tensor in pruned)
            assert abs(zeros - level.sparsity * sum(tensor.numel() for tensor in pruned)) <= len(pruned)


def test_fewer_bits_or_weights_are_fewer_bytes(case):
    name, *_, levels = case
    by_cost = sorted(
        (level for level in levels if level.act_bits is None),
        key=lambda level: (-(level.bits or 0), level.sparsity or 0),
    )
    sizes = [len(compress(case, level).to_bytes()) for level in by_cost]
    if name != "multipoint":  # which makes up for fewer bits by more points
        assert sizes == sorted(sizes, reverse=True)
    assert len(sizes) < 2 or sizes[-1] < sizes[0] / 2


def test_the_generator_alone_decides_the_result(case):
    name, *_, levels = case
    level = levels[-1]
    torch.manual_seed(1)
    first = compress(case, level).to_bytes()
    torch.manual_seed(2)
    assert compress(case, level).to_bytes() == first
    if not registry.methods()[name].retrains:  # which keep to where they started, where no epoch is better
        assert (compress(case, level, draw=1).to_bytes() != first) == registry.methods()[name].stochastic
