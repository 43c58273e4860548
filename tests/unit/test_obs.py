import pytest
import torch
from torch import nn
from torch.nn import functional as F

from edgepress import methods, networks
from edgepress.datasets import Prepared
from edgepress.levels import Level
from edgepress.methods.n_of_m import keep_two_of_four
from edgepress.methods.obs import hessian, im2col, inverse_factor, prune_rows, relative_costs, rows_of
from edgepress.methods.pruning import keep_largest

LAYERS = {
    "linear": (nn.Linear(6, 4), (5, 6)),
    "linear of three sides": (nn.Linear(6, 4), (5, 3, 6)),
    "conv1d": (nn.Conv1d(3, 4, 3, padding=1), (5, 3, 9)),
    "stride": (nn.Conv2d(3, 4, 3, stride=2, padding=1), (5, 3, 7, 8)),
    "dilation": (nn.Conv2d(2, 4, (3, 2), dilation=2, padding=(2, 0)), (5, 2, 9, 8)),
    "groups": (nn.Conv2d(4, 6, 3, groups=2), (5, 4, 6, 6)),
    "depthwise": (nn.Conv2d(4, 8, 3, padding="same", groups=4), (5, 4, 6, 6)),
    "reflect": (nn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect"), (5, 2, 6, 6)),
    "conv3d": (nn.Conv3d(2, 3, 2), (5, 2, 4, 4, 3)),
}
each_layer = pytest.mark.parametrize("layer, shape", LAYERS.values(), ids=LAYERS)


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@each_layer
def test_im2col_times_the_rows_is_the_output(layer, shape):
    outputs = im2col(layer, randn(*shape)) @ rows_of(layer).mT  # (groups, places, rows)
    expected = layer(randn(*shape)) - layer.bias.reshape(-1, *[1] * (len(shape) - 2) if "Conv" in str(layer) else ())
    expected = expected.flatten(0, -2).T if isinstance(layer, nn.Linear) else expected.transpose(0, 1).flatten(1)
    torch.testing.assert_close(outputs.mT.flatten(0, 1), expected, rtol=1e-4, atol=1e-5)


def test_im2col_is_that_of_torch():
    layer, inputs = LAYERS["stride"][0], randn(2, 3, 7, 8)
    expected = F.unfold(inputs, 3, padding=1, stride=2).transpose(1, 2).flatten(0, 1)
    assert torch.equal(im2col(layer, inputs)[0], expected)


def test_the_hessian_does_not_depend_on_batches():
    layer, inputs = nn.Linear(3, 2), randn(70, 3)
    torch.testing.assert_close(hessian(layer, inputs)[0], inputs.double().T @ inputs.double(), rtol=1e-5, atol=1e-5)


def test_one_weight_by_hand():
    # H = [[2, 1], [1, 2]]: without w_0, the best w_1 is w_1 + w_0 · H_01 / H_11.
    left, mask = prune_rows(
        torch.tensor([[[1.0, 3.0]]]),
        torch.tensor([[[2.0, 1.0], [1.0, 2.0]]]).double(),
        2,
        lambda costs: torch.tensor([[[False, True]]]),
    )
    # The damping adds 1 % of the mean of the diagonal.
    assert left.tolist() == [[[0.0, pytest.approx(3 + 1 / 2.02)]]] and mask.tolist() == [[[False, True]]]


def test_costs_are_what_the_surgeon_loses():
    # One row, the first weight removed alone: w² / [H⁻¹]_00.
    seen = []
    damped = torch.tensor([[2.02, 1.0], [1.0, 2.02]]).double()

    def choose(costs):
        seen.append(costs)
        return torch.ones_like(costs, dtype=torch.bool)

    prune_rows(torch.tensor([[[1.0, 3.0]]]), torch.tensor([[[2.0, 1.0], [1.0, 2.0]]]).double(), 2, choose)
    # The second weight counts as if the first were decided, so nothing is left to make up for it: w² H_11.
    expected = [1 / torch.linalg.inv(damped)[0, 0].item(), 9 * 2.02]
    assert seen[0][0, 0].tolist() == pytest.approx(expected)


def test_the_rest_makes_up_for_what_went_as_least_squares_would():
    # The weights right of the last one removed are the least-squares ones, those left of it as they were.
    inputs, weights = randn(50, 6).double(), randn(1, 1, 6, seed=1)
    gram = (inputs.T @ inputs)[None]
    gone = torch.tensor([True, True, False, False, False, False])
    left, _ = prune_rows(weights, gram, 6, lambda costs: ~gone.expand_as(costs))
    damped = gram[0] + 0.01 * gram[0].diagonal().mean() * torch.eye(6)
    change = torch.linalg.solve(damped[2:, 2:], damped[2:, :2] @ weights[0, 0, :2].double())
    torch.testing.assert_close(left[0, 0, 2:].double(), weights[0, 0, 2:].double() + change, rtol=1e-5, atol=1e-6)


def test_blocks_change_nothing_but_when_masks_are_chosen():
    weights, gram = randn(2, 3, 12), torch.stack([(x := randn(40, 12, seed=s).double()).T @ x for s in (1, 2)])
    mask = randn(2, 3, 12, seed=3) > 0

    def keeping(block):
        parts = iter(mask.split(block, dim=2))
        return prune_rows(weights, gram, block, lambda costs: next(parts))[0]

    torch.testing.assert_close(keeping(12), keeping(4))
    torch.testing.assert_close(keeping(12), keeping(1))


def test_inputs_that_are_always_0_are_no_obstacle():
    assert inverse_factor(torch.zeros(1, 3, 3).double()).isfinite().all()
    left, _ = prune_rows(randn(1, 2, 4), torch.diag(torch.tensor([1.0, 0, 0, 2])).double()[None], 4, keep_two_of_four)
    assert left.isfinite().all() and (left != 0).sum() == 4


@pytest.mark.parametrize("sparsity", [0.3, 0.5, 0.8])
@pytest.mark.parametrize(
    "build, shape",
    [
        (lambda: nn.Linear(64, 20), (64,)),
        (lambda: nn.Conv2d(8, 12, 3, padding=1), (8, 10, 10)),
        (lambda: nn.Conv2d(8, 12, 3, stride=2, groups=2), (8, 10, 10)),
        (lambda: nn.Conv2d(16, 16, 3, padding=1, groups=16), (16, 10, 10)),
    ],
    ids=["linear", "convolution", "groups", "depthwise"],
)
def test_the_output_of_a_layer_changes_less_than_by_magnitude(build, shape, sparsity):
    torch.manual_seed(3)
    layer = build()
    inputs = randn(200, *shape, seed=2).cumsum(dim=-1)  # neighbours are alike, as in images
    weights = layer.weight.detach()
    by_size = weights * keep_largest(weights.abs(), sparsity)
    data = Prepared("inputs", "classification", 2, {"train": inputs}, {"train": torch.zeros(200)})
    network = nn.Sequential(layer, nn.Flatten(), nn.LazyLinear(2))
    network(inputs)
    stored = methods.create("obs").compress(network, data, Level(sparsity=sparsity), torch.Generator())
    ours = stored.tensors["0.weight"].decode()
    assert int((ours == 0).sum()) == int((by_size == 0).sum()) == round(sparsity * weights.numel())

    def error(instead):
        with torch.no_grad():
            return float((torch.func.functional_call(layer, {"weight": instead}, inputs) - layer(inputs)).norm())

    assert error(ours) < error(by_size)


def test_a_layer_is_calibrated_on_what_the_pruned_ones_before_it_give():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 2))
    data = Prepared("inputs", "classification", 2, {"train": randn(64, 8)}, {"train": torch.zeros(64)})
    state = methods.create("obs").compress(network, data, Level(sparsity=0.5), torch.Generator()).state_dict()
    network[0].weight.data, network[0].bias.data = state["0.weight"], state["0.bias"]
    second, _ = prune_rows(
        rows_of(network[1]), hessian(network[1], network[0](randn(64, 8)).detach()), 128, lambda c: keep_largest(c, 0.5)
    )
    torch.testing.assert_close(state["1.weight"], second[0])


def test_the_mean_of_each_output_stays_what_it_was(image_data):
    network = networks.build("cnn", image_data, seed=0).eval()
    stored = methods.create("obs").compress(network, image_data, Level(sparsity=0.7), torch.Generator())
    before, after = (run(network.features[0], image_data), run(stored.rebuild(network).features[0], image_data))
    assert not torch.allclose(before, after, atol=1e-2)
    torch.testing.assert_close(before.mean(dim=(0, 2, 3)), after.mean(dim=(0, 2, 3)), atol=1e-5, rtol=1e-5)


def run(layer, data):
    return layer(data.inputs["train"]).detach()


def test_relative_costs_by_hand():
    weights, gram = torch.tensor([[[1.0, 3.0]]]), torch.tensor([[[2.0, 1.0], [1.0, 2.0]]]).double()
    power = 2 * 1 + 2 * 3 + 2 * 9  # wᵀHw
    damped = torch.linalg.inv(gram[0] + 0.02 * torch.eye(2)).diagonal()
    expected = [1 / damped[0].item() / power, 9 / damped[1].item() / power]
    assert relative_costs(weights, gram)[0, 0].tolist() == pytest.approx(expected)
    assert relative_costs(10 * weights, 7 * gram)[0, 0].tolist() == pytest.approx(expected)


def test_globally_a_layer_of_which_little_matters_gives_more():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 2))
    network[0].weight.data[4:] *= 1e-3  # of these outputs little reaches the second layer
    data = Prepared("inputs", "classification", 2, {"train": randn(64, 8)}, {"train": torch.zeros(64)})
    stored = methods.create("obs_global").compress(network, data, Level(sparsity=0.5), torch.Generator())
    first, second = (int((stored.state_dict()[name] == 0).sum()) for name in ("0.weight", "1.weight"))
    assert first + second == 64 and first > second
    assert bool((stored.state_dict()["0.weight"][4:] == 0).all())


@pytest.mark.parametrize("name", ["obs", "obs_global"])
def test_a_network_of_one_layer_has_nothing_to_prune(name):
    network = nn.Sequential(nn.Linear(4, 2))
    data = Prepared("inputs", "classification", 2, {"train": randn(9, 4)}, {"train": torch.zeros(9)})
    stored = methods.create(name).compress(network, data, Level(sparsity=0.9), torch.Generator())
    assert torch.equal(stored.state_dict()["0.weight"], network[0].weight)


def test_it_comes_first_in_a_chain():
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    data = Prepared("inputs", "classification", 2, {"train": randn(9, 4)}, {"train": torch.zeros(9)})
    chain = [methods.create("nearest_uniform"), methods.create("obs")]
    with pytest.raises(ValueError, match="before others"):
        methods.compress(chain, network, data, Level(bits=4, sparsity=0.5), torch.Generator())
    stored = methods.compress(chain[::-1], network, data, Level(bits=2, sparsity=0.5), torch.Generator())
    assert stored.tensors["0.weight"].kept.bits == 2 and int((stored.state_dict()["0.weight"] != 0).sum()) == 8


def test_weights_whose_inputs_are_always_0_cost_nothing():
    assert relative_costs(randn(1, 3, 4), torch.zeros(1, 4, 4).double()).tolist() == torch.zeros(1, 3, 4).tolist()
