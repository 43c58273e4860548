import pytest
import torch
from torch import nn

from edgepress.encodings import PerChannel, Quantized
from edgepress.levels import Level
from edgepress.methods import compress, create
from edgepress.methods.input_hessians import LowRank, dense, input_hessian
from edgepress.methods.reconstruction import ROUNDERS, adaround, adaround_gradient, gptq, nearest
from edgepress.packing import Compressed
from edgepress.sweep import generator_for


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def correlated(inputs, groups=1, seed=1):
    """H of correlated inputs, for which such methods help most."""
    basis = random(groups, inputs, inputs, seed=seed) * torch.logspace(0, -2, inputs)
    return basis @ basis.transpose(1, 2) + 0.01 * torch.eye(inputs)


def error(levels, position, hessian):
    delta = levels - position
    return float(((delta @ hessian) * delta).sum())


def test_two_weights_by_hand():
    # Inputs that are always equal: rounding 0.4 down leaves 0.4 to the other weight, 0.3 + 0.4 goes up.
    hessian = torch.tensor([[[1.0, 0.999], [0.999, 1.0]]])
    position = torch.tensor([[[0.4, 0.3]]])
    assert nearest(position, hessian, -8, 7).tolist() == [[[0, 0]]]
    assert gptq(position, hessian, -8, 7).sum() == 1
    assert adaround(position, hessian, -8, 7).sum() == 1


@pytest.mark.parametrize("rounder", [gptq, adaround])
@pytest.mark.parametrize("groups, inputs", [(1, 40), (3, 9), (1, 200)])
def test_the_output_is_nearer_than_after_rounding_to_the_nearest(rounder, groups, inputs):
    hessian, position = correlated(inputs, groups), 2 * random(groups, 5, inputs)
    levels = rounder(position, hessian, -8, 7)
    assert error(levels, position, hessian) < 0.7 * error(nearest(position, hessian, -8, 7), position, hessian)
    assert torch.equal(levels, levels.round()) and float(levels.min()) >= -8 and float(levels.max()) <= 7


@pytest.mark.parametrize("inputs", [5, 150])
def test_gptq_is_its_sequential_definition(inputs):
    """Weight by weight, each time solving for what the rest should do: no Cholesky factor, no blocks."""
    hessian, position = correlated(inputs).double(), 2 * random(1, 2, inputs).double()
    order = hessian[0].diagonal().argsort(descending=True)
    left, free = position[0].clone(), order.tolist()
    expected = torch.empty_like(left)
    while free:
        j = free[0]
        expected[:, j] = left[:, j].round().clamp(-8, 7)
        inverse = torch.linalg.inv(hessian[0][free][:, free])
        left[:, free] -= ((left[:, j] - expected[:, j]) / inverse[0, 0])[:, None] * inverse[0]
        free = free[1:]
    assert torch.equal(gptq(position, hessian, -8, 7)[0], expected)


@pytest.mark.parametrize("rounder", ROUNDERS.values(), ids=ROUNDERS)
def test_inputs_that_have_nothing_to_do_with_each_other_round_to_the_nearest(rounder):
    position = 2 * random(1, 4, 6)
    hessian = torch.diag_embed(torch.linspace(1, 2, 6))[None]
    assert torch.equal(rounder(position, hessian, -8, 7), nearest(position, hessian, -8, 7))


def test_the_error_that_h_predicts_is_that_of_the_layer():
    for layer, shape in (
        (nn.Conv2d(4, 6, 3, stride=2, padding=1, bias=False), (5, 4, 7, 7)),
        (nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False), (5, 4, 6, 6)),
        (nn.Conv2d(2, 4, (2, 3), dilation=2, padding="same", bias=False), (5, 2, 6, 6)),
        (nn.Linear(7, 3, bias=False), (11, 7)),
    ):
        inputs = random(*shape)
        groups = getattr(layer, "groups", 1)
        delta = layer.weight.detach().reshape(groups, len(layer.weight) // groups, -1)
        outputs = layer(inputs).detach()
        channels = outputs.T if outputs.dim() == 2 else outputs.transpose(0, 1).flatten(1)
        predicted = ((delta @ input_hessian(layer, inputs)) * delta).sum(dim=2).reshape(-1)
        measured = channels.square().mean(dim=1)
        assert bool((predicted >= measured * 0.999).all())  # damping adds to it
        torch.testing.assert_close(predicted, measured, rtol=0.1, atol=0.02)


@pytest.fixture
def network():
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 30), nn.ReLU(), nn.Linear(30, 30), nn.ReLU(), nn.Linear(30, 3)).eval()


def off(stored, network, data):
    inputs = data.inputs["test"]
    return float((stored.rebuild(network)(inputs) - network(inputs)).detach().square().mean())


@pytest.mark.parametrize("method", ["gptq", "adaround"])
def test_outputs_of_the_network_are_nearer_too(method, network, classes):
    level = Level(bits=3)
    plain, better = (
        create(name).compress(network, classes, level, generator_for(0)) for name in ("bias_corrected", method)
    )
    assert off(better, network, classes) < 0.8 * off(plain, network, classes)


def test_biases_make_up_for_the_mean_error(network, classes):
    stored = create("bias_corrected").compress(network, classes, Level(bits=2), generator_for(0))
    inputs = classes.inputs["train"]
    means = [n(inputs).detach().mean(dim=0) for n in (network, stored.rebuild(network))]
    torch.testing.assert_close(*means, rtol=0, atol=1e-5)


@pytest.mark.parametrize("method, encoding", [("gptq", PerChannel), ("gptq_tensor", Quantized)])
def test_a_step_a_channel_or_a_tensor(method, encoding, network, classes):
    stored = create(method).compress(network, classes, Level(bits=4), generator_for(0))
    assert isinstance(stored.tensors["2.weight"], encoding)


def test_it_reconstructs_on_quantized_activations(network, classes):
    steps = [create("activations_mse"), create("gptq")]
    stored = compress(steps, network, classes, Level(bits=4, act_bits=4), generator_for(0))
    assert stored.activations and Compressed.from_bytes(stored.to_bytes()).activations == stored.activations


def test_after_another_quantizer_it_has_nothing_to_round(network, classes):
    with pytest.raises(ValueError, match="before others"):
        compress([create("midrise"), create("gptq")], network, classes, Level(bits=4), generator_for(0))


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x):
        return self.layer(x) if x.sum() > 0 else x


def test_it_says_what_it_does_not_apply_to(network, classes):
    gptq_method = create("gptq")
    assert "1 bit" in gptq_method.skip(network, classes, Level(bits=1))
    assert "0.weight" in gptq_method.skip(nn.Sequential(nn.Conv1d(1, 1, 1)), classes, Level(bits=4))
    assert "no fixed graph" in gptq_method.skip(Branching(), classes, Level(bits=4))
    assert gptq_method.skip(network, classes, Level(bits=4)) is None


@pytest.mark.parametrize("inputs", [9, 200])
def test_adaround_leaves_no_channel_worse_than_rounding_to_the_nearest(inputs):
    hessian, position = correlated(inputs), 2 * random(1, 30, inputs)
    errors = [
        (((levels - position) @ hessian) * (levels - position)).sum(dim=2)
        for levels in (adaround(position, hessian, -8, 7), nearest(position, hessian, -8, 7))
    ]
    assert bool((errors[0] <= errors[1]).all())


def test_compact_rounds_parameters_and_leaves_what_is_none(classes):
    network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    network.register_buffer("index", torch.arange(400))
    stored = create("gptq_compact").compress(network, classes, Level(bits=4), generator_for(0)).state_dict()
    assert stored["index"].tolist() == list(range(400)) and stored["0.bias"].unique().numel() <= 256


def test_the_gradient_of_adaround_is_that_of_automatic_differentiation():
    hessian, position = correlated(9, groups=2), 4 * random(2, 5, 9)
    floor, unit = position.floor(), 1 + random(2, 5, seed=2).square()
    low = floor.clamp(-4, 3)  # some weights have no choice
    choice = (floor + 1).clamp(-4, 3) - low
    v = (3 * random(2, 5, 9, seed=3)).requires_grad_()  # some h are 0 or 1
    for beta in (None, 20.0, 2.0):
        share = (v.sigmoid() * 1.2 - 0.1).clamp(0, 1)
        delta = (floor + share).clamp(-4, 3) - position
        loss = (((delta @ hessian) * delta).sum(dim=2) / unit).sum()
        if beta is not None:
            loss = loss + 20 / 9 * (1 - (2 * share - 1).abs() ** beta).sum()
        (expected,) = torch.autograd.grad(loss, v)
        measured = adaround_gradient(v.detach(), low - position, choice, hessian, unit, beta)
        assert bool((expected == 0).any()) and bool((choice == 0).any())
        torch.testing.assert_close(measured, expected)


@pytest.mark.parametrize("groups, inputs", [(1, 150), (3, 9)])
def test_after_adaround_no_single_decision_lowers_the_error(groups, inputs):
    hessian, position = correlated(inputs, groups), 2 * random(groups, 5, inputs)
    levels = adaround(position, hessian, -8, 7)
    low = position.floor().clamp(-8, 7)
    choice = (position.floor() + 1).clamp(-8, 7) - low
    delta, change = levels - position, 2 * low + choice - 2 * levels
    diagonal = hessian.diagonal(dim1=1, dim2=2)[:, None]
    now = ((delta @ hessian) * delta).sum(dim=2, keepdim=True)
    assert bool((2 * change * (delta @ hessian) + change.square() * diagonal >= -1e-3 * now).all())
    assert bool(((levels == low) | (levels == low + choice)).all())


@pytest.mark.parametrize("groups, inputs, columns", [(1, 300, 20), (3, 40, 7), (1, 128, 3), (2, 257, 64)])
def test_h_by_its_columns_is_h(groups, inputs, columns):
    by_columns = LowRank(random(groups, inputs, columns).relu().double(), torch.full((groups,), 0.02).double())
    matrix, position = dense(by_columns), 2 * random(groups, 5, inputs, seed=4).double()
    torch.testing.assert_close(position @ by_columns, position @ matrix)
    torch.testing.assert_close(by_columns.diagonal(), matrix.diagonal(dim1=1, dim2=2))
    assert torch.equal(gptq(position, by_columns, -8, 7), gptq(position, matrix, -8, 7))
    nearest_error = error(nearest(position, matrix, -8, 7), position, matrix)
    assert error(adaround(position, by_columns, -8, 7), position, matrix) < 0.7 * nearest_error


def test_a_layer_with_few_examples_gives_h_by_its_columns():
    for layer, shape in ((nn.Linear(80, 3), (20, 80)), (nn.Conv2d(8, 4, 3, groups=2), (1, 8, 5, 5))):
        few = input_hessian(layer, random(*shape))
        assert isinstance(few, LowRank)
        many = input_hessian(layer, random(*shape).repeat(9, *[1] * (len(shape) - 1)))  # of the same mean
        assert isinstance(many, torch.Tensor)
        torch.testing.assert_close(dense(few), many)
