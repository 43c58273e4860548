import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from edgepress import methods
from edgepress.levels import Level
from edgepress.methods.pruning import keep_largest
from edgepress.networks import inference_state

NAMES = ["magnitude", "magnitude_global", "random"]
each_method = pytest.mark.parametrize("name", NAMES)
PRUNED, OUTPUT = ["0.weight", "4.weight"], "6.weight"


@pytest.fixture
def network():
    torch.manual_seed(4)
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 10), nn.ReLU(), nn.Linear(10, 3)
    )
    network(torch.randn(8, 1, 4, 4))
    return network


def pruned(name, network, sparsity, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return methods.create(name).compress(network, None, Level(sparsity=sparsity), generator).state_dict()


def zeros(tensor):
    return int((tensor == 0).sum())


def test_keep_largest_by_hand():
    assert keep_largest(torch.tensor([0.3, 0.1, 0.4, 0.2]), 0.5).tolist() == [True, False, True, False]
    assert keep_largest(torch.tensor([[5, 1], [3, 2]]), 0.25).tolist() == [[True, False], [True, True]]


def test_among_equal_scores_the_first_go():
    assert keep_largest(torch.tensor([2.0, 1.0, 1.0, 1.0]), 0.5).tolist() == [True, False, False, True]
    assert keep_largest(torch.ones(5), 0.4).tolist() == [False, False, True, True, True]


def test_keep_largest_is_what_a_stable_sort_keeps():
    generator = torch.Generator().manual_seed(0)
    for scores in (torch.randn(500, generator=generator), torch.randint(4, (500,), generator=generator) - 1.0):
        scores[::7] *= -0.0  # equal to 0.0
        for sparsity in (0.0, 0.001, 0.3, 0.5, 0.999, 1.0):
            expected = torch.ones(500, dtype=torch.bool)
            expected[scores.argsort(stable=True)[: round(sparsity * 500)]] = False
            assert torch.equal(keep_largest(scores, sparsity), expected)


@given(st.lists(st.integers(-3, 3), max_size=60), st.floats(0, 1))
def test_keep_largest_removes_the_exact_count_and_only_the_smallest(values, sparsity):
    scores = torch.tensor(values, dtype=torch.float32)
    mask = keep_largest(scores, sparsity)
    removed = len(values) - int(mask.sum())
    assert removed == round(sparsity * len(values)) and abs(removed - sparsity * len(values)) <= 0.5
    if 0 < removed < len(values):
        assert scores[~mask].max() <= scores[mask].min()


@each_method
@pytest.mark.parametrize("sparsity", [0.25, 0.5, 0.9, 0.99])
def test_only_hidden_weights_are_removed(name, sparsity, network):
    before = {key: value.clone() for key, value in inference_state(network).items()}
    after = pruned(name, network, sparsity)
    assert list(after) == list(before)
    for key, original in before.items():
        assert torch.equal(inference_state(network)[key], original)
        if key in PRUNED:
            kept = after[key] != 0
            assert torch.equal(after[key][kept], original[kept])
        else:
            assert torch.equal(after[key], original)
    assert zeros(after["0.weight"]) + zeros(after["4.weight"]) == pytest.approx(sparsity * 196, abs=1)


@pytest.mark.parametrize("name", ["magnitude", "random"])
@pytest.mark.parametrize("sparsity, counts", [(0.25, [9, 40]), (0.5, [18, 80]), (0.99, [36, 158])])
def test_the_count_is_exact_in_each_layer(name, sparsity, counts, network):
    after = pruned(name, network, sparsity)
    assert [zeros(after[key]) for key in PRUNED] == counts


@each_method
def test_sparsity_zero_keeps_everything(name, network):
    after = pruned(name, network, 0.0)
    assert all(torch.equal(after[key], value) for key, value in inference_state(network).items())


@each_method
def test_sparsity_one_leaves_the_output_layer(name, network):
    after = pruned(name, network, 1.0)
    assert [zeros(after[key]) for key in PRUNED] == [36, 160] and zeros(after[OUTPUT]) == 0


def test_magnitude_takes_the_smallest_of_each_layer(network):
    after = pruned("magnitude", network, 0.5)
    for key in PRUNED:
        original = inference_state(network)[key]
        gone = after[key] == 0
        assert original[gone].abs().max() <= original[~gone].abs().min()


def test_global_compares_layers(network):
    network[4].weight.data += 100
    after = pruned("magnitude_global", network, 36 / 196)
    assert zeros(after["0.weight"]) == 36 and zeros(after["4.weight"]) == 0


def test_ties_are_broken_by_place():
    layers = nn.Sequential(nn.Linear(4, 1), nn.Linear(4, 1), nn.Linear(1, 1))
    for layer in layers:
        layer.weight.data.fill_(0.5)
    assert pruned("magnitude", layers, 0.5)["1.weight"].tolist() == [[0, 0, 0.5, 0.5]]
    both = pruned("magnitude_global", layers, 0.625)
    assert both["0.weight"].tolist() == [[0, 0, 0, 0]] and both["1.weight"].tolist() == [[0, 0.5, 0.5, 0.5]]


def test_random_is_not_magnitude_and_follows_its_seed(network):
    first, again, other = (pruned("random", network, 0.5, seed)["4.weight"] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, pruned("magnitude", network, 0.5)["4.weight"])


def test_random_removes_every_weight_equally_often():
    layers = nn.Sequential(nn.Linear(5, 2), nn.Linear(2, 1))
    layers[0].weight.data = torch.arange(1.0, 11).reshape(2, 5)
    gone = sum((pruned("random", layers, 0.3, seed)["0.weight"] == 0).double() for seed in range(1000))
    assert gone.sum() == 3000
    assert (gone - 300).abs().max() < 5 * (1000 * 0.3 * 0.7) ** 0.5


@each_method
def test_a_network_of_one_layer_has_nothing_to_prune(name):
    layer = nn.Sequential(nn.Linear(3, 2))
    assert torch.equal(pruned(name, layer, 0.9)["0.weight"], layer[0].weight)


@each_method
def test_pruned_files_shrink(name, network):
    generator = torch.Generator().manual_seed(0)
    sizes = [
        len(methods.create(name).compress(network, None, Level(sparsity=share), generator).to_bytes())
        for share in (0.0, 0.5, 0.9)
    ]
    assert sizes[0] > sizes[1] + 300 > sizes[2] + 500
