import pytest
import torch
from torch import nn

from edgepress import codebooks, methods, registry
from edgepress.encodings import Dense, Quantized
from edgepress.levels import Level
from edgepress.methods.rounding import nearest, stochastic
from edgepress.networks import inference_state

ROUNDING = [name for name, entry in registry.methods().items() if entry.module == "edgepress.methods.rounding"]


@pytest.fixture
def network():
    torch.manual_seed(3)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))
    network(torch.randn(8, 1, 4, 4))  # gives the norm a mean and a variance of its own
    return network


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def compress(name, network, bits, seed=0):
    return methods.create(name).compress(network, None, Level(bits=bits), generator(seed))


def test_every_combination_of_rounding_and_codebook_is_a_method():
    fits = ("uniform", "uniform_iqr", "histogram", "normal")
    assert set(ROUNDING) >= {"midrise", *(f"nearest_{fit}" for fit in fits), *(f"stochastic_{fit}" for fit in fits)}
    for name in ROUNDING:
        entry = registry.methods()[name]
        assert name in (f"{entry.rounding}_{entry.codebook}", "midrise")


@pytest.mark.parametrize("name", ROUNDING)
@pytest.mark.parametrize("bits", [1, 4, 11])
def test_weights_are_rounded_to_their_own_codebook_and_the_rest_stays(name, bits, network):
    before = {key: value.clone() for key, value in inference_state(network).items()}
    compressed = compress(name, network, bits)
    rebuilt = compressed.state_dict()
    assert list(rebuilt) == list(before)
    for key, original in before.items():
        stored = compressed.tensors[key]
        if key in ("0.weight", "4.weight"):
            codebook = getattr(codebooks, registry.methods()[name].codebook)(original, bits)
            assert isinstance(stored, Quantized) and stored.bits <= bits
            assert rebuilt[key].shape == original.shape
            assert set(rebuilt[key].unique().tolist()) <= set(codebook.levels.tolist())
            if registry.methods()[name].rounding == "nearest":
                assert torch.equal(rebuilt[key], codebook.decode(codebook.encode(original)))
        else:
            assert isinstance(stored, Dense)
            assert torch.equal(rebuilt[key], original)
        assert torch.equal(inference_state(network)[key], original)


def test_nearest_uniform_by_hand():
    layer = nn.Sequential(nn.Linear(4, 1))
    layer[0].weight.data = torch.tensor([[-1.0, -0.4, 0.3, 2.0]])  # levels −1, 0, 1, 2
    assert compress("nearest_uniform", layer, 2).state_dict()["0.weight"].tolist() == [[-1.0, 0.0, 0.0, 2.0]]


@pytest.mark.parametrize("name", ROUNDING)
def test_the_generator_decides_stochastic_rounding_and_nothing_else(name, network):
    first, again, other = (compress(name, network, 3, seed).to_bytes() for seed in (1, 1, 2))
    assert first == again
    entry = registry.methods()[name]
    assert (first != other) == entry.stochastic == (entry.rounding == "stochastic")


def test_stochastic_draws_anew_for_each_tensor():
    twins = nn.Sequential(nn.Linear(40, 40), nn.Linear(40, 40))
    twins[1].weight.data = twins[0].weight.data.clone()
    state = compress("stochastic_uniform", twins, 3).state_dict()
    assert not torch.equal(state["0.weight"], state["1.weight"])


def test_the_global_random_state_is_left_alone(network):
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    compress("stochastic_normal", network, 4)
    assert torch.equal(torch.rand(3), expected)


def test_the_quantizers_work_on_plain_tensors():
    weights = torch.tensor([[0.0, 0.9], [2.0, 3.0]])
    codebook = codebooks.uniform(weights, bits=2)
    assert codebook.decode(nearest(codebook, weights)).tolist() == [[0.0, 1.0], [2.0, 3.0]]
    drawn = torch.stack([stochastic(codebook, weights, generator(seed)) for seed in range(200)])
    assert set(drawn[:, 0, 1].tolist()) == {0, 1} and drawn[:, 0, 1].double().mean() == pytest.approx(0.9, abs=0.1)
    assert drawn[:, 0, 0].unique().tolist() == [0] and drawn[:, 1, 0].unique().tolist() == [2]
