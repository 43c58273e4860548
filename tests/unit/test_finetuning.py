import copy

import pytest
import torch
from torch import nn

from edgepress import methods
from edgepress.evaluation import evaluate
from edgepress.levels import Level
from edgepress.networks import compressible
from edgepress.training import Training, train

TRAINING = Training(lr=0.02, batch_size=16, max_epochs=8, patience=8)
PAIRS = {
    "magnitude_finetuned": "magnitude_global",
    "obs_finetuned": "obs_global",
    "magnitude_2_4_finetuned": "magnitude_2_4",
    "channels_l1_finetuned": "channels_l1",
}
each_pair = pytest.mark.parametrize("name, pruning", PAIRS.items(), ids=PAIRS)


@pytest.fixture
def network(classes):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))
    train(network, classes, Training(lr=0.02, batch_size=16, max_epochs=20, patience=20), seed=0)
    return network


def compressed(name, network, data):
    generator = torch.Generator().manual_seed(1)
    return methods.create(name, TRAINING).compress(network, data, Level(sparsity=0.5), generator)


@each_pair
def test_what_is_gone_stays_gone_and_the_rest_is_trained(name, pruning, network, classes):
    pruned, tuned = (compressed(which, network, classes).state_dict() for which in (pruning, name))
    for weight in compressible(network):
        assert tuned[weight].shape == pruned[weight].shape
        assert bool((tuned[weight][pruned[weight] == 0] == 0).all())
    assert not torch.equal(tuned["2.weight"], pruned["2.weight"])
    assert not torch.equal(tuned["0.bias"], pruned["0.bias"])


@each_pair
def test_it_is_better_on_val_than_before(name, pruning, network, classes):
    losses = [
        evaluate(compressed(which, network, classes).rebuild(network), classes, "val")["loss"]
        for which in (pruning, name)
    ]
    assert losses[1] < losses[0]


@each_pair
def test_levels_are_skipped_for_the_same_reason(name, pruning, network, classes):
    for sparsity in (0.5, 0.6, 0.99):
        reasons = [
            methods.create(n, TRAINING).skip(network, classes, Level(sparsity=sparsity)) for n in (name, pruning)
        ]
        assert reasons[0] == reasons[1]


def test_where_no_epoch_is_better_the_pruned_network_is_kept(network, classes):
    diverging = methods.create("magnitude_finetuned", Training(lr=1.0, batch_size=16, max_epochs=1, patience=1))
    before = copy.deepcopy(network.state_dict())
    stored = diverging.compress(network, classes, Level(sparsity=0.5), torch.Generator().manual_seed(1))
    pruned = compressed("magnitude_global", network, classes)
    assert stored.to_bytes() == pruned.to_bytes()
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
