"""The contract of every registered method, on a network of Linear layers and one of convolutions.

None of it depends on sizes: networks are narrow, and searches are cut short.
"""

import inspect
from dataclasses import dataclass, field, is_dataclass
from itertools import permutations, product

import pytest
import torch
from torch import Tensor, nn

from edgepress import codebooks, methods, networks, registry
from edgepress.config import RunConfig
from edgepress.datasets import Prepared
from edgepress.encodings import PerChannel
from edgepress.levels import Level
from edgepress.methods import Method, layer_values, reconstruction
from edgepress.methods.equalization import EqualizedActivations
from edgepress.methods.layer_values import LayerValues
from edgepress.methods.mixed import MixedPrecision
from edgepress.methods.obs import OptimalBrainSurgeon
from edgepress.methods.reconstruction import Reconstruction
from edgepress.networks.cnn import CNN
from edgepress.packing import Compressed
from edgepress.sweep import generator_for
from edgepress.training import Training

from .conftest import small_data

SETTINGS = RunConfig(bits=[16, 10, 8, 5, 4, 3, 2, 1], retraining_bits=[16, 4, 2], retraining_sparsity=[0.0, 0.5, 0.9])
LEVELS = {
    name: [Level.parse(level) for level in SETTINGS.levels(name)]
    for name, entry in sorted(registry.methods().items())
    if entry.sweeps or entry.level  # the others are steps of chains, tried after a method that has levels
}
MAKE_UP = (
    EqualizedActivations,
    Reconstruction,
    MixedPrecision,
    OptimalBrainSurgeon,
    LayerValues,
)  # by biases, for what rounding or pruning does, or scale
BRIEFLY = Training(lr=0.01, batch_size=12, max_epochs=1, patience=1)
DATA = small_data("image", "classification")
NETWORKS = ("dnn_complex", "cnn")


class Watched(dict):
    """Splits, and whether one was looked at."""

    seen = False

    def __getitem__(self, split):
        self.seen = True
        return super().__getitem__(split)

    def values(self):
        self.seen = True
        return super().values()


@dataclass
class Case:
    """A method on a network, what it applies to, and what it made of it: once, for all tests of the case."""

    name: str
    network_name: str
    method: Method
    network: nn.Module
    data: Prepared
    levels: list[Level]
    made: dict[Level, Compressed] = field(default_factory=dict)
    rebuilt: dict[Level, dict[str, Tensor]] = field(default_factory=dict)
    seen: dict[Level, tuple[bool, bool]] = field(default_factory=dict)

    def compress_anew(self, level: Level, draw: int = 0) -> Compressed:
        data = Prepared(self.data.name, self.data.task, self.data.outputs, Watched(self.data.inputs),
                        Watched(self.data.targets))  # fmt: skip
        made = self.method.compress(self.network, data, level, generator_for(self.name, level, draw))
        self.seen[level] = data.inputs.seen, data.targets.seen
        return made

    def compress(self, level: Level) -> Compressed:
        if level not in self.made:
            torch.manual_seed(1)
            self.made[level] = self.compress_anew(level)
        return self.made[level]

    def values(self, level: Level) -> dict[str, Tensor]:
        """The tensors that the compressed network stands for, which tests only read."""
        if level not in self.rebuilt:
            self.rebuilt[level] = self.compress(level).state_dict()
        return self.rebuilt[level]

    @property
    def entry(self) -> registry.MethodEntry:
        return registry.methods()[self.name]

    @property
    def narrows(self) -> bool:
        """Whether the method takes out channels, so that tensors get smaller."""
        return self.name.startswith("channels_")


@pytest.fixture(scope="module", autouse=True)
def short_searches():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reconstruction, "_STEPS", 20)
        patch.setattr(codebooks, "_STEP_CANDIDATES", 10)
        yield


def build(name: str) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return CNN(DATA.input_shape, 3, DATA.task, width=4) if name == "cnn" else networks.build(name, DATA)


@pytest.fixture(params=product(LEVELS, NETWORKS), ids="-".join, scope="module")
def case(request):
    name, network_name = request.param
    network, method = build(network_name), methods.create(name, BRIEFLY)
    levels = [level for level in LEVELS[name] if method.skip(network, DATA, level) is None]
    return Case(name, network_name, method, network, DATA.only("train", "val"), levels)


def test_declares_what_it_is():
    for name, entry in registry.methods().items():
        assert entry.about and entry.family, name
        method = methods.create(name, BRIEFLY)
        assert is_dataclass(method) and method.__dataclass_params__.frozen
        assert inspect.getdoc(method)


def test_applies_to_some_level(case):
    assert case.levels, "skip() gives a reason at every level from 1 to 16 bits, or from 0 to .99 sparsity"


def test_rebuilds_every_tensor_of_the_network(case):
    state = networks.inference_state(case.network)
    for level in case.levels:
        rebuilt = case.values(level)
        assert rebuilt.keys() == state.keys()
        for tensor in state:
            if case.narrows:
                assert rebuilt[tensor].dim() == state[tensor].dim()
                assert all(0 < new <= old for new, old in zip(rebuilt[tensor].shape, state[tensor].shape, strict=True))
            else:
                assert rebuilt[tensor].shape == state[tensor].shape
        assert all(tensor.isfinite().all() for tensor in rebuilt.values())


def test_the_network_that_it_stands_for_maps_the_same_inputs_to_as_many_outputs(case):
    for level in case.levels:
        assert case.compress(level).rebuild(case.network).eval()(case.data.inputs["val"]).shape == (24, 3)


def test_looks_at_examples_where_it_says_so_and_never_at_labels(case):
    for level in [] if case.entry.retrains else case.levels[:1]:
        case.compress(level)
        assert case.seen[level] == (case.entry.examples, False)


def test_leaves_the_network_as_it_was(case):
    before = networks.inference_state(build(case.network_name))
    for level in case.levels:
        case.compress(level)
    after = networks.inference_state(case.network)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_leaves_biases_and_norms_as_they_are(case):
    makes_up = case.entry.retrains or isinstance(case.method, MAKE_UP)  # for what rounding does, or trains along
    state = networks.inference_state(case.network)
    for level in [] if makes_up else case.levels:
        rebuilt = case.values(level)
        for tensor in state.keys() - set(networks.compressible(case.network)):
            if case.narrows:  # what is left of them is some of what was there, in order
                kept = torch.isin(state[tensor], rebuilt[tensor])
                assert torch.equal(rebuilt[tensor], state[tensor][kept][: len(rebuilt[tensor])]), tensor
            else:
                assert torch.equal(rebuilt[tensor], state[tensor]), tensor


def test_unpacks_to_the_same_bits_and_logits(case):
    for level in case.levels:
        compressed = case.compress(level)
        unpacked = Compressed.from_bytes(compressed.to_bytes())
        packed_state, state = unpacked.state_dict(), case.values(level)
        assert all(torch.equal(packed_state[name].view(torch.int32), state[name].view(torch.int32)) for name in state)
        inputs = case.data.inputs["val"]
        assert torch.equal(*(stored.rebuild(case.network).eval()(inputs) for stored in (compressed, unpacked)))


def test_keeps_to_its_level(case):
    weights = networks.compressible(case.network)
    for level in case.levels:
        compressed = case.compress(level)
        values = case.values(level)
        if case.entry.family == "multipoint":
            stored = [compressed.tensors[weight] for weight in weights]
            assert all(tensor.codes.unique().numel() < 2**level.bits for tensor in stored)
            assert all(tensor.bits >= level.bits for tensor in stored)
        elif case.name == "entropy_step":
            assert all(layer_values.entropy(values[weight]) <= level.bits for weight in weights)
        elif case.name == "layer_kmeans":
            codes = [compressed.tensors[weight].coded.codes for weight in weights]
            assert all(tensor.unique().numel() <= 2**level.bits for tensor in codes)
        elif case.name == "dithered_uniform":
            codes = [compressed.tensors[weight].rounded.codes for weight in weights]
            assert all(tensor.unique().numel() <= 2**level.bits for tensor in codes)
        elif case.name == "mixed":
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
            assert_pruned(case, values, level.sparsity)
        if level.bits is not None and level.sparsity is not None:
            kept = [values[weight][values[weight] != 0] for weight in weights]
            assert all(tensor.unique().numel() <= 2**level.bits for tensor in kept)


def assert_pruned(case, values, sparsity):
    weights = networks.compressible(case.network)[:-1]
    total = sum(case.network.get_parameter(weight).numel() for weight in weights)
    zeros = sum(int((values[weight] == 0).sum()) for weight in weights)
    if case.narrows:  # the same share of channels everywhere: in steps of up to a channel a layer
        removed = total - sum(values[weight].numel() for weight in weights)
        assert zeros == 0 and abs(removed - sparsity * total) < 0.05 * total
    elif "_2_4" in case.name:
        for weight in weights:
            rows = values[weight].flatten(1)
            if rows.shape[1] % 4 == 0:
                assert bool(((rows == 0).unflatten(1, (-1, 4)).sum(dim=2) == 2).all())
            else:
                assert bool((rows != 0).all())
    else:
        assert abs(zeros - sparsity * total) <= len(weights)


def bits_an_entry(level) -> float:
    """The bits of kept codes, and of the mask if codes are pruned."""
    codes = (level.bits or 32) * (1 - (level.sparsity or 0))
    return codes + 1 if level.bits and level.sparsity else codes


def test_fewer_bits_or_weights_are_fewer_bytes(case):
    sizes = {level: len(case.compress(level).to_bytes()) for level in case.levels if level.act_bits is None}
    if case.name != "multipoint":  # which makes up for fewer bits by more points
        for one, other in permutations(sizes, 2):
            assert sizes[one] <= sizes[other] or bits_an_entry(one) >= bits_an_entry(other), (one, other)
    if len(sizes) > 1:
        assert sizes[min(sizes, key=bits_an_entry)] < sizes[max(sizes, key=bits_an_entry)] / 2


def test_the_generator_alone_decides_the_result(case):
    level = case.levels[-1]
    first = case.compress(level).to_bytes()
    torch.manual_seed(2)
    assert case.compress_anew(level).to_bytes() == first
    if not case.entry.retrains:  # which keep to where they started, where no epoch is better
        assert (case.compress_anew(level, draw=1).to_bytes() != first) == case.entry.stochastic
