import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from edgepress import networks
from edgepress.folding import fold_batch_norm
from edgepress.networks import inference_state
from edgepress.widths import Side, channel_groups, narrowed, with_state


def sides(group, tensors=("weight",)):
    return {(side.tensor, side.dim, side.repeat) for side in group.sides if side.tensor.rpartition(".")[2] in tensors}


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.depthwise, self.second = nn.Conv2d(6, 12, 3, padding=1, groups=6), nn.Conv2d(12, 6, 1)
        self.head = nn.Linear(6 * 4, 3)

    def forward(self, x):
        x = torch.relu(self.norm(self.first(x)))
        x = x + self.second(self.depthwise(x))
        return self.head(nn.functional.max_pool2d(x, 2).flatten(1))


@pytest.fixture
def residual():
    torch.manual_seed(0)
    network = Residual()
    network(torch.randn(20, 2, 4, 4))  # so that the norm has statistics of its own
    return network.eval()


def test_what_is_added_flattened_or_depthwise_goes_together(residual):
    (group,) = channel_groups(residual, (2, 4, 4))
    assert group.channels == 6
    assert sides(group) == {
        ("first.weight", 0, 1),
        ("norm.weight", 0, 1),
        ("depthwise.weight", 0, 2),
        ("second.weight", 1, 2),
        ("second.weight", 0, 1),
        ("head.weight", 1, 4),
    }
    assert Side("norm.running_var", 0, 1) in group.sides and Side("depthwise.bias", 0, 2) in group.sides


def silenced(network, groups, gone):
    """The network in which what reads a channel that is gone does not listen to it: full tensors, zero weights."""
    state = inference_state(network)
    for group, channels in zip(groups, gone, strict=True):
        for side in group.sides:
            if side.dim == 1:
                entries = (channels[:, None] * side.repeat + torch.arange(side.repeat)).reshape(-1)
                state[side.tensor].index_fill_(1, entries, 0.0)
    return network


@pytest.mark.parametrize("name", ["dnn_complex", "cnn", "resnet8", "ds_cnn", "resnet9"])
@pytest.mark.parametrize("folded", [True, False])
def test_the_narrow_network_computes_what_the_wide_one_does_without_those_channels(name, folded, image_data):
    network = networks.build(name, image_data, seed=1)
    with torch.no_grad():
        network.train()(image_data.inputs["train"])
    network = fold_batch_norm(network) if folded else network.eval()
    groups = channel_groups(network, image_data.input_shape)
    generator = torch.Generator().manual_seed(2)
    orders = [torch.randperm(group.channels, generator=generator) for group in groups]
    kept = [order[: max(1, len(order) // 3)].sort().values for order in orders]
    gone = [order[max(1, len(order) // 3) :] for order in orders]
    narrow = with_state(network, narrowed(inference_state(network), groups, kept))
    inputs, expected = image_data.inputs["val"], silenced(copy.deepcopy(network), groups, gone)
    torch.testing.assert_close(narrow(inputs), expected(inputs), rtol=1e-3, atol=1e-4)
    assert networks.parameter_count(narrow) < networks.parameter_count(network) / 2


class Odd(nn.Module):
    """Widths that something needs."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.first, self.second = nn.Conv2d(4, 8, 3, padding=1), nn.Conv2d(8, 4, 3, padding=1)
        self.grouped, self.head = nn.Conv2d(8, 8, 3, padding=1, groups=2), nn.Linear(4 * 16, 3)
        self.scale = nn.Parameter(torch.randn(1, 8, 1, 1))

    def forward(self, x):
        x = self.first(x)
        if self.kind == "grouped":
            x = self.grouped(x)
        if self.kind == "shuffled":
            x = x.view(-1, 2, 4, 4, 4).transpose(1, 2).reshape(-1, 8, 4, 4)
        if self.kind == "scaled":
            x = x * self.scale
        if self.kind == "concatenated":
            x = torch.cat([x[:, :4], x[:, 4:]], dim=1)
        return self.head(self.second(x).flatten(1))


@pytest.mark.parametrize("kind", ["grouped", "shuffled", "scaled", "concatenated"])
def test_what_is_not_understood_keeps_its_width(kind):
    (group,) = channel_groups(Odd(kind), (4, 4, 4))
    assert sides(group) == {("second.weight", 0, 1), ("head.weight", 1, 16)}


def test_features_in_the_last_of_three_sides_keep_their_width():
    network = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 6), nn.Flatten(), nn.Linear(36, 2))
    assert channel_groups(network, (6, 5)) == []


def test_a_layer_used_twice_reads_what_it_computes():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.again, self.head = nn.Linear(3, 6), nn.Linear(6, 6), nn.Linear(6, 2)

        def forward(self, x):
            return self.head(self.again(self.again(self.first(x))))

    (group,) = channel_groups(Twice(), (3,))
    assert sides(group) == {
        ("first.weight", 0, 1),
        ("again.weight", 0, 1),
        ("again.weight", 1, 1),
        ("head.weight", 1, 1),
    }


def test_the_network_is_left_as_it_was(residual):
    before = copy.deepcopy(residual.state_dict())
    groups = channel_groups(residual, (2, 4, 4))
    state = narrowed(inference_state(residual), groups, [torch.tensor([1, 4])])
    narrow = with_state(residual, state)
    assert (narrow.first.out_channels, narrow.norm.num_features, narrow.depthwise.groups) == (2, 2, 2)
    assert (narrow.second.in_channels, narrow.head.in_features) == (4, 8)
    assert all(torch.equal(before[name], tensor) for name, tensor in residual.state_dict().items())
    assert torch.equal(narrow.first.weight, residual.first.weight[[1, 4]])


@pytest.mark.parametrize("shape", [(6, 2, 3), (6, 2, 5, 5)])
def test_other_kernels_are_refused(residual, shape):
    state = inference_state(residual) | {"first.weight": torch.zeros(shape)}
    with pytest.raises(ValueError, match=r"first\.weight is"):
        with_state(residual, state)


def test_other_names_are_refused(residual):
    state = inference_state(residual)
    del state["norm.weight"]
    with pytest.raises(ValueError, match=r"norm\.weight"):
        with_state(residual, state)


class OneNorm(nn.Module):
    """One BatchNorm, under two names, behind two convolutions, and a mean over places before the head."""

    def __init__(self, pool):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.norm, self.head, self.pool = nn.BatchNorm2d(6), nn.Linear(6, 2), pool
        self.norms = nn.ModuleList([self.norm])

    def forward(self, x):
        x = torch.relu(self.norm(self.first(x)))
        return self.head(self.pool(self.norms[0](self.second(x))))


MEANS = [
    lambda x: x.mean((2, 3)),
    lambda x: torch.mean(x, dim=[-1, -2]),
    lambda x: x.mean(-1).mean(2),
    lambda x: x.mean(dim=(2, 3), keepdim=True).flatten(1),
]


@pytest.mark.parametrize("pool", MEANS)
def test_layers_before_one_norm_share_their_channels(pool):
    network = OneNorm(pool).eval()
    network.norm.running_mean.copy_(torch.arange(6.0))
    (group,) = channel_groups(network, (3, 4, 4))
    found = [(side.tensor, side.dim, side.repeat) for side in group.sides]
    assert sorted(found) == sorted([
        *((f"{name}.{key}", 0, 1) for name in ("first", "second", "norm") for key in ("weight", "bias")),
        *(("norm.running_mean", 0, 1), ("norm.running_var", 0, 1), ("second.weight", 1, 1), ("head.weight", 1, 1)),
    ])  # fmt: skip
    kept = torch.tensor([0, 2, 5])
    gone = [channel for channel in range(6) if channel not in kept]
    state = narrowed(inference_state(network), [group], [kept])
    state |= {name: state[name.replace("norms.0", "norm")] for name in state if name.startswith("norms")}
    with torch.no_grad():  # what a narrow network computes is what the whole one does where the others give 0
        network.norm.weight[gone] = 0
        network.norm.bias[gone] = 0
    x = torch.randn(2, 3, 4, 4)
    assert torch.allclose(with_state(network, state)(x), network(x), atol=1e-6)


@pytest.mark.parametrize(
    "sides_of", [lambda x: x.mean(1, keepdim=True), lambda x: x.mean((1, 2, 3)), lambda x: x.mean()]
)
def test_a_mean_over_channels_needs_all_of_them(sides_of):
    network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.Identity())
    network.forward = lambda x: network[1](sides_of(network[0](x)))
    assert channel_groups(network, (3, 4, 4)) == []


def test_tensors_that_are_used_in_another_way_keep_their_width():
    class There(nn.Module):
        """What the second layer reads is computed back by its own weight."""

        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(4, 6), nn.Linear(6, 5)

        def forward(self, x):
            return F.linear(self.second(torch.relu(self.first(x))), self.second.weight.t())

    assert channel_groups(There(), (4,)) == []
    tied = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    tied[2].weight = tied[0].weight
    assert channel_groups(tied, (4,)) == []
