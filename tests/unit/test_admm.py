import pytest
import torch
from torch import nn

from edgepress import methods
from edgepress.evaluation import evaluate
from edgepress.levels import Level
from edgepress.methods.admm import _Alternating, projected
from edgepress.networks import compressible
from edgepress.training import Training, train

WEIGHTS = torch.tensor([[0.1, -0.2, 1.0, 0.52], [-1.0, 0.05, 0.3, -0.6]])


def test_the_projection_by_hand():
    # Half goes; what is left lies between −1 and 1, where 2 bits are the levels −1, −1/3, 1/3, 1.
    values = projected(WEIGHTS, 0.5, "uniform", 2).decode()
    assert values.tolist() == [[0, 0, 1, pytest.approx(1 / 3)], [-1, 0, 0, pytest.approx(-1 / 3)]]


def test_no_tensor_under_the_mask_is_nearer():
    codes = projected(WEIGHTS, 0.5, "uniform", 3)
    levels = codes.kept.codebook.levels
    kept = WEIGHTS[codes.mask]
    assert torch.equal(codes.kept.decode(), levels[(kept[:, None] - levels).abs().argmin(dim=1)].float())


def test_a_layer_of_which_nothing_is_left():
    assert projected(WEIGHTS, 0.99, "uniform", 2).decode().tolist() == [[0] * 4] * 2


def constraint(rho=0.5):
    return _Alternating(WEIGHTS, 0.5, "uniform", 2, rho)


def test_the_pull_is_the_gradient_of_the_penalty():
    alternating = constraint()
    alternating.dual += 0.25
    weights, plain = (WEIGHTS.clone().requires_grad_() for _ in range(2))
    alternating.train()(weights).pow(3).sum().backward()
    penalty = 0.5 / 2 * (plain - alternating.target + alternating.dual).square().sum()
    (plain.pow(3).sum() + penalty).backward()
    torch.testing.assert_close(weights.grad, plain.grad)


def test_z_and_u_follow_each_epoch_by_hand():
    alternating = constraint()
    trained = WEIGHTS + 0.1
    alternating.train()(WEIGHTS.clone().requires_grad_())
    shown = alternating.eval()(trained)
    target = projected(trained, 0.5, "uniform", 2).decode()  # U was 0
    torch.testing.assert_close(alternating.target, target)
    torch.testing.assert_close(alternating.dual, trained - target)
    assert torch.equal(shown, target)
    alternating(trained)  # a further batch of the same evaluation
    torch.testing.assert_close(alternating.dual, trained - target)
    alternating.train()(trained)
    alternating.eval()(trained)
    again = projected(trained + trained - target, 0.5, "uniform", 2).decode()
    torch.testing.assert_close(alternating.target, again)
    torch.testing.assert_close(alternating.dual, 2 * trained - target - again)


@pytest.fixture
def network(classes):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 3))
    train(network, classes, Training(lr=0.02, batch_size=16, max_epochs=20, patience=20), seed=0)
    return network


def test_bits_and_shares_are_kept_and_quality_gained(network, classes):
    level = Level(bits=2, sparsity=0.5)
    admm = methods.create("admm", Training(lr=0.01, batch_size=16, max_epochs=12, patience=12))
    stored = admm.compress(network, classes, level, torch.Generator().manual_seed(1))
    for name in compressible(network)[:-1]:
        assert int(stored.tensors[name].mask.sum()) == stored.tensors[name].mask.numel() / 2
        assert stored.tensors[name].kept.bits == 2
    assert bool(stored.tensors["4.weight"].mask.all()) and stored.tensors["4.weight"].bits == 2
    chain = [methods.create("magnitude"), methods.create("nearest_uniform")]
    closed = methods.compress(chain, network, classes, level, torch.Generator())
    losses = [evaluate(one.rebuild(network), classes, "val")["loss"] for one in (stored, closed)]
    assert losses[0] < losses[1]


def test_it_comes_first_in_a_chain(network, classes):
    chain = [methods.create("magnitude"), methods.create("admm", Training(0.01, 16, 1, 1))]
    with pytest.raises(ValueError, match="before others"):
        methods.compress(chain, network, classes, Level(bits=2, sparsity=0.5), torch.Generator())
