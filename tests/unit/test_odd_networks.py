"""Valid but unusual networks of users: each is measured, and every method applies or says why not."""

from functools import partial

import pytest
import torch
from torch import nn

from edgepress import networks, registry
from edgepress.evaluation import evaluate
from edgepress.packing import Compressed
from edgepress.sweep import Bench, Trained
from edgepress.training import Training

METHODS = {"nearest_uniform": "w4", "gptq": "w4", "multipoint": "w4", "activations_mse": "a8", "obs_global": "s50",
           "magnitude_global": "s50", "channels_l1": "s50", "activations_equalized": "a8", "mixed": "w4"}  # fmt: skip


class Tied(nn.Sequential):
    """Two layers with one weight."""

    def __init__(self):
        super().__init__(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.Linear(4, 3))
        self[2].weight = self[0].weight


class Keyword(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm, self.head = nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(input=torch.relu(self.norm(input=self.first(input=x))))


class Attention(nn.Module):
    """The Linear layer within torch's attention is never called: torch multiplies by its weight itself."""

    def __init__(self):
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(4, 2, batch_first=True), nn.Linear(4, 3)

    def forward(self, x):
        tokens = x[:, None]
        return self.head(self.attention(tokens, tokens, tokens)[0][:, 0])


class WithoutWeights(nn.Linear):
    """A layer of it has no weight, and is not used."""

    def __init__(self):
        super().__init__(4, 3)
        self.narrow = nn.Linear(4, 0)


class Branching(nn.Linear):
    """What it computes depends on its data."""

    def __init__(self):
        super().__init__(4, 3)

    def forward(self, x):
        return super().forward(x if x.sum() > 0 else -x)


class HeadFirst(nn.Module):
    """The layer that computes the outputs is the first that it was given."""

    def __init__(self):
        super().__init__()
        self.head, self.body = nn.Linear(8, 3), nn.Linear(4, 8)

    def forward(self, x):
        return self.head(torch.relu(self.body(x)))


class Tokens(nn.Module):
    """A BatchNorm over tokens, as many as a token has entries or not, behind a Linear layer that works on each."""

    def __init__(self, width):
        super().__init__()
        self.embed, self.norm, self.head = nn.Linear(1, width), nn.BatchNorm1d(4), nn.Linear(4 * width, 3)

    def forward(self, x):
        return self.head(self.norm(self.embed(x[:, :, None])).flatten(1))


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize(
    "build", [Tied, Keyword, Attention, WithoutWeights, Branching, HeadFirst, partial(Tokens, 5), partial(Tokens, 4)]
)
def test_every_method_applies_or_says_why(classes, build):
    torch.manual_seed(0)
    network = build().eval()
    bench = Bench(Trained("odd", 0, network, classes), ("val", "test"), torch.device("cpu"))
    assert {row["status"] for row in bench.baseline()} == {"ok"}
    for method, level in METHODS.items():
        (result,) = bench.sweep(method, [level], draws=1)
        assert {row["status"] for row in result.rows} <= {"ok", "skipped"}, method
        if result.rows[0]["status"] == "ok":  # folded, it has no norms
            assert Compressed.from_bytes(result.packed).tensors.keys() <= networks.inference_state(network).keys()


def test_layers_called_by_keyword_count_like_others(classes):
    torch.manual_seed(0)
    network = Keyword().eval()
    bench = Bench(Trained("odd", 0, network, classes), ("test",), torch.device("cpu"))
    assert isinstance(bench.shipped.norm, nn.Identity)
    assert bench.baseline()[0]["macs"] == 4 * 8 + 8 * 3


def test_a_network_without_a_layer_to_compress_is_refused(classes, monkeypatch):
    entry = registry.NetworkEntry("bare", "torch.nn", "Flatten", "", inputs=["table"])
    monkeypatch.setattr(registry, "networks", lambda: {"bare": entry})
    with pytest.raises(ValueError, match="'bare' has no Linear or Conv layer"):
        networks.build("bare", classes)


@pytest.mark.parametrize("method", ["gptq", "mixed", "lsq_activations"])
def test_a_layer_that_is_not_called_is_a_reason_and_not_left_in_float32(classes, method):
    torch.manual_seed(0)
    settings = Training(lr=0.01, batch_size=30, max_epochs=1, patience=1)
    bench = Bench(Trained("odd", 0, Attention().eval(), classes), ("test",), torch.device("cpu"), settings)
    (result,) = bench.sweep(method, ["w4a4" if method == "lsq_activations" else "w4"], draws=1)
    (row,) = result.rows
    assert row["status"] == "skipped" and "attention.out_proj.weight" in row["reason"], row


def test_the_output_layer_is_the_one_that_is_called_last(classes):
    torch.manual_seed(0)
    network = HeadFirst().eval()
    assert networks.output_weight(network) == "head.weight" and networks.hidden(network) == ["body.weight"]
    bench = Bench(Trained("odd", 0, network, classes), ("test",), torch.device("cpu"))
    for method in ("magnitude", "obs_global"):
        (result,) = bench.sweep(method, ["s50"], draws=1)
        values = Compressed.from_bytes(result.packed).state_dict()
        zeros = {name: int((tensor == 0).sum()) for name, tensor in values.items()}
        assert (zeros["head.weight"], zeros["body.weight"]) == (0, 16)


def test_a_norm_over_as_many_tokens_as_outputs_is_not_folded(classes):
    torch.manual_seed(0)
    network = Tokens(4)
    network(classes.inputs["train"])  # its norm has statistics then
    bench = Bench(Trained("odd", 0, network.eval(), classes), ("test",), torch.device("cpu"))
    assert isinstance(bench.shipped.norm, nn.BatchNorm1d)
    assert bench.baseline()[0]["loss"] == evaluate(network, classes, "test")["loss"]
