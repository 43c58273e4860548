"""Networks of users: return values and precision."""

import copy
from collections import namedtuple

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from edgepress import networks, registry
from edgepress.datasets import SPLITS, Prepared
from edgepress.evaluation import evaluate, predict, score
from edgepress.graph import trace
from edgepress.networks import inference_state
from edgepress.outputs import NetworkError, with_plain_outputs
from edgepress.packing import Compressed
from edgepress.sweep import Bench, Trained
from edgepress.training import Training, train

QUICK = Training(lr=0.02, batch_size=32, max_epochs=15, patience=15)
Named = namedtuple("Named", "logits features")


class Returning(nn.Module):
    """Returns ``how(outputs, features)`` of a small network; in training ``in_training`` of them."""

    def __init__(self, how, outputs=3, in_training=None):
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(4, 12), nn.BatchNorm1d(12), nn.Linear(12, outputs)
        self.how, self.in_training = how, in_training

    def forward(self, x):
        features = self.norm(self.first(x)).relu()
        how = self.in_training if self.training and self.in_training else self.how
        return how(self.last(features), features)


PLAIN = {
    "plain": lambda y, f: y,
    "tuple": lambda y, f: (y, f),
    "second of a tuple": lambda y, f: (f, y),
    "list": lambda y, f: [y],
    "named tuple": lambda y, f: Named(y, f),
    "dict": lambda y, f: {"logits": y, "features": f},
    "dict of one": lambda y, f: {"scores": y},
    "two that fit, one named": lambda y, f: {"aux": y, "out": y},
    "maps": lambda y, f: y.reshape(-1, 3, 1, 1),
    "with None": lambda y, f: (y, None),
}


@pytest.fixture
def pairs(classes):
    """Two classes, the second of the three against the others."""
    targets = {split: (labels == 1).long() for split, labels in classes.targets.items()}
    return Prepared("pairs", "classification", 2, classes.inputs, targets)


def made(how, data, **args):
    torch.manual_seed(0)
    return with_plain_outputs(Returning(how, **args), "theirs", data)


def trained_and_swept(network, data):
    """What a network predicts when it is trained, and the rows of its quality, compressed in several ways."""
    train(network, data, QUICK, seed=0)
    predicted = predict(network, data.inputs["test"])
    bench = Bench(Trained("theirs", 0, network, data), ("test",), torch.device("cpu"), QUICK)
    rows = bench.baseline()
    for method, level in (("gptq", "w4"), ("bias_corrected", "w4"), ("activations_mse", "a4"), ("lsq", "w4")):
        (result,) = bench.sweep(method, [level], draws=1)
        rows += result.rows
    return predicted, rows


def test_what_is_plain_is_taken_everywhere(classes):
    plain = made(PLAIN["plain"], classes)
    predicted, rows = trained_and_swept(plain, classes)
    assert type(plain) is Returning and {row["status"] for row in rows} == {"ok"}
    for name, how in PLAIN.items():
        other = made(how, classes)
        assert list(other.state_dict()) == list(plain.state_dict()), name
        found, found_rows = trained_and_swept(other, classes)
        assert torch.equal(found, predicted) and found_rows == rows, name
        assert other.eval()(classes.inputs["test"][:1]).shape == (1, 3), name


def test_another_in_training_is_taken_too(classes):
    network = made(PLAIN["plain"], classes, in_training=lambda y, f: {"features": f, "aux": 0 * y, "out": y})
    expected = made(PLAIN["plain"], classes)
    for each in (network, expected):
        train(each, classes, QUICK, seed=0)
    assert evaluate(network, classes, "test") == evaluate(expected, classes, "test")


def test_to_look_at_what_it_returns_leaves_a_network_as_it_was(classes):
    torch.manual_seed(0)
    network = Returning(PLAIN["tuple"])
    network.norm.eval()
    before, drawn = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    with_plain_outputs(network, "theirs", classes)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert torch.equal(drawn, torch.get_rng_state()) and network.training and not network.norm.training


def test_the_graph_has_one_output_and_one_input(classes):
    traced = trace(made(PLAIN["dict"], classes))
    assert [node.op for node in traced.graph.nodes].count("placeholder") == 1
    assert traced(classes.inputs["test"]).shape == (90, 3)


# what is returned, with outputs for three classes unless it says otherwise: what the sentence says
REFUSED = {
    "two that fit": (
        lambda y, f: (y, 2 * y),
        3,
        r"returns a tuple of 3 outputs, 3 outputs per example, of which 2 fit",
    ),
    "none that fits": (lambda y, f: {"features": f}, 3, r"a dict of 12 outputs per example, of which 0 fit"),
    "fewer": (lambda y, f: y, 2, r"gives 2 outputs per example, and 'toy_classes' has 3 classes"),
    "more": (lambda y, f: y, 10, r"gives 10 outputs per example, and 'toy_classes' has 3 classes; .* with 3 outputs"),
    "one": (lambda y, f: y, 1, r"gives 1 output per example"),
    "a map": (lambda y, f: y[:, :, None, None].expand(-1, -1, 2, 2), 3, r"gives 3×2×2 outputs per example"),
    "classes": (lambda y, f: y.argmax(1), 3, r"gives 1 output per example"),
    "text": (lambda y, f: "none", 3, r"returns a str, and"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_plain_is_told_in_one_sentence(classes, name):
    how, outputs, said = REFUSED[name]
    with pytest.raises(NetworkError, match=said) as caught:
        made(how, classes, outputs=outputs)
    assert "\n" not in str(caught.value) and "let it return one tensor" in str(caught.value)


def test_inputs_that_a_network_does_not_take_are_told(classes):
    data = Prepared("wide", "classification", 3, {s: torch.zeros(5, 7) for s in SPLITS}, classes.targets)
    with pytest.raises(NetworkError, match="'theirs' does not accept the examples of 'wide', whose shape is 7: "):
        made(PLAIN["plain"], data)


@pytest.mark.parametrize("how", [lambda y, f: y, lambda y, f: y[:, 0], lambda y, f: y.squeeze(), lambda y, f: (y, f)])
def test_a_regression_has_one_output(amounts, how):
    amounts = Prepared("a", "regression", 1, {s: F.pad(x, (0, 1)) for s, x in amounts.inputs.items()}, amounts.targets)
    network = made(how, amounts, outputs=1)
    train(network, amounts, QUICK, seed=0)
    assert evaluate(network, amounts, "test")["r2"] > 0.8
    assert network.eval()(amounts.inputs["test"][:1]).shape == (1, 1)
    with pytest.raises(
        NetworkError, match=r"gives 3 outputs per example, and 'a' has one target; .* with 1 output per"
    ):
        made(PLAIN["plain"], amounts, outputs=3)


def test_three_outputs_for_one_target_have_no_score():
    with pytest.raises(ValueError, match="gives 3 outputs per example for one target"):
        score(torch.zeros(5, 3, dtype=torch.float64), torch.arange(5.0))


@pytest.mark.parametrize("how", [lambda y, f: y, lambda y, f: y[:, 0], lambda y, f: y.squeeze(), lambda y, f: (y, f)])
def test_one_logit_for_two_classes(pairs, how):
    network = made(how, pairs, outputs=1)
    train(network, pairs, QUICK, seed=0)
    logits, targets = predict(network, pairs.inputs["test"])[:, 0], pairs.targets["test"]
    found = evaluate(network, pairs, "test")
    assert found["loss"] == pytest.approx(float(F.binary_cross_entropy_with_logits(logits, targets.double())))
    assert found["accuracy"] == float(((logits > 0) == targets.bool()).double().mean()) > 0.8
    bench = Bench(Trained("theirs", 0, network, pairs), ("test",), torch.device("cpu"), QUICK)
    for method, level in (("nearest_uniform", "w8"), ("gptq", "w8"), ("activations_mse", "a8"), ("lsq", "w8")):
        (result,) = bench.sweep(method, [level], draws=1)
        assert result.rows[0]["accuracy"] == pytest.approx(found["accuracy"], abs=0.05), method


@pytest.mark.parametrize("sigmoid", [torch.sigmoid, lambda y: y.tanh() / 2 + 0.5, lambda y: 1 / (1 + (-y).exp())])
def test_a_probability_is_no_logit(pairs, sigmoid):
    with pytest.raises(NetworkError, match="gives one probability for the two classes of 'pairs'; let it return the l"):
        made(lambda y, f: sigmoid(y), pairs, outputs=1)


def test_of_probabilities_of_classes_it_is_said_that_logits_are_wanted(classes, capsys):
    for how, said in ((lambda y, f: y.softmax(1), 1), (lambda y, f: y.log_softmax(1), 0), (PLAIN["plain"], 0)):
        made(how, classes)
        assert capsys.readouterr().out.count("remove the softmax at its end") == said


class Double(nn.Module):
    """In double precision, as its forward says, too."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(4, 12), nn.BatchNorm1d(12), nn.Linear(12, 3)
        self.double()

    def forward(self, x):
        return self.last(self.norm(self.first(x.double())).relu())


class Single(Double):
    def __init__(self):
        super().__init__()
        self.float()

    def forward(self, x):
        return self.last(self.norm(self.first(x)).relu())


class Half(Single):
    def __init__(self):
        super().__init__()
        self.half()


@pytest.mark.parametrize("kind", [Double, Half])
def test_other_precision_is_taken_as_float32(classes, monkeypatch, capsys, kind):
    rows = []
    for builder in (Single, kind):
        entry = registry.NetworkEntry("theirs", __name__, builder.__name__, "", inputs=["table"])
        monkeypatch.setattr(registry, "networks", lambda entry=entry: {"theirs": entry})
        network = networks.build("theirs", classes, seed=0)
        assert {tensor.dtype for tensor in inference_state(network).values()} == {torch.float32}
        train(network, classes, QUICK, seed=0)
        bench = Bench(Trained("theirs", 0, network, classes), ("test",), torch.device("cpu"), QUICK)
        rows.append(bench.baseline())
        for method, level in (("gptq", "w4"), ("activations_mse", "a8"), ("lsq", "w4"), ("magnitude", "s50")):
            (result,) = bench.sweep(method, [level], draws=1)
            rows[-1] += result.rows
            assert result.rows[0]["status"] == "ok", result.rows
            if not result.rows[0].get("reason"):
                assert Compressed.from_bytes(result.packed).tensors.keys() <= inference_state(network).keys()
    assert "tensors are not float32, first.weight is torch." in capsys.readouterr().out
    for expected, found in zip(*rows, strict=True):
        assert found["bytes"] == expected["bytes"] and found["accuracy"] == pytest.approx(
            expected["accuracy"], abs=0.07
        )
