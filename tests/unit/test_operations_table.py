"""Each operation does what the table says of it, and every part of edgepress takes it or says why not."""

import pytest
import torch
from torch import nn

from edgepress.datasets import SPLITS, Prepared
from edgepress.graph import activation_points, trace
from edgepress.levels import Level
from edgepress.logs import one_line
from edgepress.methods.equalization import equalized
from edgepress.networks import inference_state
from edgepress.operations import OPERATIONS, Property, properties
from edgepress.sweep import Trained
from edgepress.targets import NotServedError, latency
from edgepress.targets.integer import IntegerNetwork
from edgepress.widths import channel_groups, with_state

WORDS = {  # a word in the name of an operation, and what it is called with besides values
    **{
        "Adaptive": (2,),
        "adaptive": (2,),
        "nflatten": (1, (2, 2)),
        "flatten": (1,),
        "max_pool": (2,),
        "avg_pool": (2,),
    },
    **{"MaxPool": (2,), "AvgPool": (2,), "permute": (0, 2, 1), "transpose": (1, 2), "unsqueeze": (1,), "mean": (-1,)},
    **{"reshape": (-1, 4), "view": (-1, 4), "getitem": ((slice(None), slice(0, 2)),), "dropout": (0.5, False)},
}
UNARY = [kind for kind in OPERATIONS if Property.COMBINES not in properties(kind)]


def name_of(kind):
    return kind if isinstance(kind, str) else kind.__name__


def dimensions(kind):
    """How many dimensions of places an operation works on."""
    return next((int(digit) for digit in "123" if name_of(kind).endswith(f"{digit}d")), 1)


def arguments(kind):
    found = next((given for word, given in WORDS.items() if word in name_of(kind)), ())
    return (found,) if kind in (torch.permute, torch.reshape) else found


class Calls(nn.Module):
    """Computes what the operation ``kind`` does, in evaluation."""

    def __init__(self, kind):
        super().__init__()
        self.kind, self.given = kind, arguments(kind)
        if isinstance(kind, type):
            self.module = kind(*self.given).eval()

    def forward(self, x):
        if isinstance(self.kind, type):
            return self.module(x)
        if isinstance(self.kind, str):
            return getattr(x, self.kind)(*self.given)
        return self.kind(x, *self.given)


def values(kind):
    return torch.randn(6, 4, *[4] * dimensions(kind), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", UNARY, ids=name_of)
def test_an_operation_does_what_the_table_says(kind):
    what, compute, x = properties(kind), Calls(kind), values(kind)
    y = compute(x)
    assert (Property.PASSES in what) == (y.shape == x.shape and torch.equal(y.to(x.dtype), x)) or kind in (
        *("reshape", "view", torch.reshape, "squeeze", torch.squeeze),  # which may change nothing
    )
    if Property.SELECTS in what:
        assert bool(torch.isin(y.to(x.dtype), x).all())
    else:
        assert not bool(torch.isin(y, torch.cat([x.flatten(), torch.zeros(1)])).all()) or Property.RECTIFIES in what
    assert (Property.RECTIFIES in what) == bool((y >= 0).all() and torch.isin(x[(x > 0) & (x < 6)], y).all())
    twice = torch.allclose(compute(8 * x).double(), 8 * y.double(), rtol=1e-5, atol=1e-6)
    assert Property.SELECTS in what or (Property.HOMOGENEOUS in what) == twice
    if Property.CHANNELWISE in what:
        other = compute(x.index_fill(1, torch.tensor([1]), 7.0))
        rest = torch.tensor([0, 2, 3])
        assert y.shape[:2] == x.shape[:2] and torch.equal(y[:, rest], other[:, rest]) and not torch.equal(y, other)


@pytest.mark.parametrize("kind", [kind for kind in OPERATIONS if kind not in UNARY], ids=name_of)
def test_what_combines_two_does_so_at_each_place(kind):
    one, other = torch.randn(2, 2, 3, generator=torch.Generator().manual_seed(1))
    call = kind if not isinstance(kind, str) else getattr(torch.Tensor, kind)
    found = call(one.clone(), other)
    assert found.shape == one.shape
    assert (Property.ADDS in properties(kind)) == torch.equal(found, one + other)
    assert torch.equal(found[0, 0], call(one[0, 0].clone(), other[0, 0]))


class Between(nn.Module):
    """A convolution and a Linear layer, and the operation ``kind`` between them."""

    def __init__(self, kind):
        super().__init__()
        torch.manual_seed(2)
        convolution = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dimensions(kind) - 1]
        self.first, self.between, self.head = convolution(2, 4, 3, padding=1), Calls(kind), nn.LazyLinear(3)

    def forward(self, x):
        computed = self.between(self.first(x))
        if self.between.kind == "double":
            computed = computed.float()
        return self.head(computed.reshape(x.shape[0], -1))


@pytest.mark.parametrize("kind", UNARY, ids=name_of)
def test_every_part_takes_an_operation_or_says_why_not(kind):
    generator = torch.Generator().manual_seed(7)
    inputs = torch.randn(40, 2, *[4] * dimensions(kind), generator=generator)
    targets = dict.fromkeys(SPLITS, torch.arange(40) % 3)
    data = Prepared("small", "classification", 3, dict.fromkeys(SPLITS, inputs), targets)
    network = Between(kind).eval()
    expected = network(inputs).detach()  # which tells the head how much it reads
    assert len(activation_points(trace(network), inputs[:1])) >= 2
    (group, *_) = channel_groups(network, data.input_shape) or [None]
    assert group is None or group.channels == 4
    scaled = with_state(network, {**inference_state(network), **equalized(network, inputs)})
    torch.testing.assert_close(scaled(inputs), expected, rtol=1e-4, atol=1e-4)
    given = Trained("small", 0, network, data)
    stored = latency.compressed(given, network, Level(bits=8, act_bits=8))
    try:
        found = IntegerNetwork(network, stored)(inputs)
    except NotServedError as error:
        assert one_line(error).endswith("is not computed in integers here")
        what = properties(kind)
        assert Property.SELECTS not in what and Property.RECTIFIES | Property.HOMOGENEOUS not in what
    else:
        assert float((found - expected).abs().max()) < 0.05 * float(expected.max() - expected.min())
