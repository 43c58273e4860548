"""What every registered target promises, on small networks at 8 bits and in full precision."""

import copy

import pytest
import torch

from edgepress import methods, networks, registry, targets
from edgepress.folding import fold_batch_norm
from edgepress.levels import Level
from edgepress.networks import inference_state
from edgepress.packing import Compressed
from edgepress.sweep import generator_for
from edgepress.targets import NotServedError, Target

from .conftest import small_data

CHAINS = {
    "w32": (),
    "w8a8": ("nearest_symmetric_channel", "activations_mse"),
    "w4a8": ("nearest_symmetric_channel", "activations_mse"),
    "w2": ("nearest_uniform",),
}
NETWORKS = {"dnn_simple": "table", "resnet8": "image"}
_SHARE_OF_RANGE = 0.05  # of an output: a code of difference at one activation goes on through all that follow


def _small(name):
    data = small_data(NETWORKS[name], "classification", side=16)
    return fold_batch_norm(networks.build(name, data, seed=0).eval(), data.input_shape), data


def _stored(network, data, level):
    if not CHAINS[level]:
        return methods.in_full_precision(network)
    chain = [methods.create(step) for step in CHAINS[level]]
    generator = generator_for("targets", level)
    packed = methods.compress(chain, network, data.only("train", "val"), Level.parse(level), generator).to_bytes()
    return Compressed.from_bytes(packed)


@pytest.fixture(scope="module", params=sorted(registry.targets()))
def target(request):
    entry = registry.targets()[request.param]
    if entry.missing:
        pytest.skip(entry.why_missing)
    return targets.create(request.param)


@pytest.fixture(scope="module", params=[(name, level) for name in NETWORKS for level in CHAINS], ids="-".join)
def given(request):
    name, level = request.param
    network, data = _small(name)
    return network, _stored(network, data, level), data.inputs["test"]


def test_it_computes_what_its_reference_does_or_says_why_not(target, given):
    network, stored, inputs = given
    before, packed = copy.deepcopy(inference_state(network)), stored.to_bytes()
    reason = target.computes(network, stored)
    if reason is not None:
        assert reason and "\n" not in reason
        for refused in (lambda: target.export(network, stored, inputs), lambda: target.reference(network, stored)):
            with pytest.raises(NotServedError) as error:
                refused()
            assert str(error.value) == reason
        return
    files = target.export(network, stored, inputs)
    with torch.no_grad():
        found, expected = (run(inputs).double() for run in (target.load(files), target.reference(network, stored)))
    assert found.shape == expected.shape == (len(inputs), 3)
    assert float((found - expected).abs().max()) <= _SHARE_OF_RANGE * float(expected.max() - expected.min())
    size = target.size(files)
    assert all(files.values()) and 0 < size.tensors <= size.whole
    assert all(torch.equal(tensor, before[name]) for name, tensor in inference_state(network).items())
    assert stored.to_bytes() == packed


def test_it_computes_something_and_the_same_files_every_time(target):
    assert isinstance(target, Target)
    network, data = _small("dnn_simple")
    stored = {level: _stored(network, data, level) for level in CHAINS}
    level = next(level for level in CHAINS if target.computes(network, stored[level]) is None)
    first, second = (target.export(network, stored[level], data.inputs["test"]) for _ in range(2))
    assert first == second
