import copy
import math

import pytest
import safetensors.torch
import torch
from torch import nn

from edgepress import methods
from edgepress.codebooks import uniform
from edgepress.encodings import Dense, Quantized
from edgepress.methods import Method
from edgepress.networks import inference_state
from edgepress.packing import Compressed, PackedFileError
from edgepress.sweep import Bench, Trained, float32_file, generator_for

SPLITS = ["val", "test"]
CPU = torch.device("cpu")


@pytest.fixture
def trained(classes):
    torch.manual_seed(1)
    network = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    return Trained("tiny", 7, network, classes)


@pytest.fixture
def bench(trained):
    return Bench(trained, SPLITS, CPU)


def outcome(state, data, split):
    """Loss and accuracy by plain arithmetic."""
    hidden = (data.inputs[split] @ state["0.weight"].T + state["0.bias"]).clamp(min=0)
    outputs = (hidden @ state["2.weight"].T + state["2.bias"]).double()
    targets = data.targets[split]
    loss = (outputs.exp().sum(dim=1).log() - outputs[range(len(targets)), targets]).mean()
    return float(loss), float((outputs.argmax(dim=1) == targets).double().mean())


def test_rows_are_levels_draws_and_splits(bench):
    results = list(bench.sweep("stochastic_uniform", ["w4", "w2"], draws=3))
    assert [result.level for result in results] == ["w4", "w2"]
    for result, bits in zip(results, (4, 2), strict=True):
        assert [(row["draw"], row["split"]) for row in result.rows] == [(d, s) for d in range(3) for s in SPLITS]
        for row in result.rows:
            assert (row["dataset"], row["network"], row["seed"], row["status"]) == ("toy_classes", "tiny", 7, "ok")
            assert (row["method"], row["family"]) == ("stochastic_uniform", "stochastic")
            assert (row["level"], row["bits"]) == (result.level, bits)
            assert row["act_bits"] is None and row["sparsity_target"] is None


def test_rows_say_the_steps_of_a_chain_and_how_many_examples_they_are_of(bench, trained):
    (result,) = bench.sweep("mine", ["w4s50"], 1, ["nearest_uniform", "magnitude"])
    assert {row["steps"] for row in result.rows} == {"nearest_uniform+magnitude"}
    for row in [*result.rows, *bench.baseline()]:
        assert row["examples"] == len(trained.data.targets[row["split"]])
    (plain,) = bench.sweep("magnitude", ["s50"], 1)
    assert {row["steps"] for row in plain.rows} == {"magnitude"}


def test_draws_of_a_method_without_chance_are_one(bench):
    for method, level in (("nearest_normal", "w3"), ("magnitude", "s50")):
        (result,) = bench.sweep(method, [level], draws=5)
        assert [(row["draw"], row["split"]) for row in result.rows] == [(0, "val"), (0, "test")]


@pytest.mark.parametrize(
    "method, level", [("nearest_uniform", "w2"), ("stochastic_normal", "w3"), ("magnitude", "s50"), ("random", "s25")]
)
def test_what_is_reported_is_what_the_file_holds(bench, trained, method, level):
    (result,) = bench.sweep(method, [level], draws=2)
    state = Compressed.from_bytes(result.packed).state_dict()
    for row in result.rows[:2]:  # those of the first draw, whose file is kept
        loss, accuracy = outcome(state, trained.data, row["split"])
        assert (row["loss"], row["accuracy"]) == (pytest.approx(loss, abs=1e-6), accuracy)
        assert row["bytes"] == len(result.packed)
        (payload,) = safetensors.torch.load(result.packed).values()
        assert row["tensor_bytes"] == payload.numel() and row["add_bits"] is None
        assert row["bits_per_weight"] == pytest.approx(8 * len(result.packed) / 43)  # 20 + 5 + 15 + 3 parameters
        assert row["compression_ratio"] == pytest.approx(len(float32_file(trained.network)) / len(result.packed))


def test_costs_of_quantization_by_hand(bench):
    (result,) = bench.sweep("nearest_uniform", ["w3"], draws=1)
    assert {(row["macs"], row["bops"]) for row in result.rows} == {(35, 35 * 3 * 32)}


def test_costs_of_pruning_by_hand(bench):
    (result,) = bench.sweep("magnitude", ["s50"], draws=1)
    for row in result.rows:
        assert row["sparsity"] == pytest.approx(10 / 35)  # half of 20; the 15 of the output layer stay
        assert row["sparsity_target"] == 0.5 and row["bits"] is None
        assert (row["macs"], row["bops"]) == (35, 35 * 32 * 32)


def test_full_precision_by_hand(bench, trained):
    rows = bench.baseline()
    assert [row["split"] for row in rows] == SPLITS
    for row in rows:
        loss, accuracy = outcome(inference_state(trained.network), trained.data, row["split"])
        assert (row["loss"], row["accuracy"]) == (pytest.approx(loss, abs=1e-6), accuracy)
        assert (row["method"], row["family"], row["level"], row["bits"], row["draw"]) == ("fp32", "fp32", "w32", 32, 0)
        assert (row["bytes"], row["compression_ratio"], row["sparsity"]) == (len(float32_file(trained.network)), 1, 0)
        assert row["tensor_bytes"] == 4 * 43
        assert (row["macs"], row["bops"], row["status"]) == (35, 35 * 32 * 32, "ok")


def test_draws_differ_and_come_again(bench, trained):
    def losses(levels, draws):
        return [[row["loss"] for row in result.rows] for result in bench.sweep("stochastic_uniform", levels, draws)]

    both = losses(["w4", "w2"], 4)
    assert len(set(both[1][::2])) == 4
    bench.baseline()
    assert losses(["w2"], 4) == [both[1]]  # whatever ran before
    assert losses(["w2"], 2) == [both[1][:4]]  # and however many draws follow


def test_the_network_is_left_as_it_was(bench, trained):
    before = copy.deepcopy(trained.network.state_dict())
    for method, level in (("nearest_uniform", "w1"), ("random", "s99")):
        list(bench.sweep(method, [level], draws=2))
    assert all(torch.equal(before[name], value) for name, value in trained.network.state_dict().items())


class Spy(Method):
    def __init__(self):
        self.seen = []

    def skip(self, network, data, level):
        self.seen.append(sorted(data.inputs) + sorted(data.targets))
        return "too few bits for this network" if level.bits == 1 else None

    def apply(self, stored, network, data, level, generator):
        self.seen.append(sorted(data.inputs) + sorted(data.targets))
        return stored


def test_a_method_never_sees_the_test_split(bench, monkeypatch):
    spy = Spy()
    monkeypatch.setattr(methods, "create", lambda name, *settings: spy)
    list(bench.sweep("stochastic_uniform", ["w4", "w1"], draws=2))
    assert spy.seen == [["train", "val", "train", "val"]] * 4  # two questions, two draws


def test_a_level_that_does_not_apply_is_a_row_with_its_reason(bench, monkeypatch):
    monkeypatch.setattr(methods, "create", lambda name, *settings: Spy())
    fine, skipped = bench.sweep("nearest_uniform", ["w4", "w1"], draws=2)
    assert {row["status"] for row in fine.rows} == {"ok"}
    assert [(row["split"], row["status"], row["reason"]) for row in skipped.rows] == [
        (split, "skipped", "too few bits for this network") for split in SPLITS
    ]
    assert "loss" not in skipped.rows[0] and "bytes" not in skipped.rows[0]
    with pytest.raises(PackedFileError, match="too few bits for this network"):
        Compressed.from_bytes(skipped.packed)


class Broken(Spy):
    def apply(self, stored, network, data, level, generator):
        return Compressed({name: Dense(value * math.nan) for name, value in stored.state_dict().items()})


def test_a_network_that_answers_nan_is_a_failed_row_and_not_the_end(bench, monkeypatch):
    monkeypatch.setattr(methods, "create", lambda name, *settings: Broken())
    (result,) = bench.sweep("nearest_uniform", ["w4"], draws=1)
    for row in result.rows:
        assert row["status"] == "failed" and "not finite" in row["reason"]
        assert "loss" not in row and row["bytes"] == len(result.packed)
    assert [row["status"] for row in bench.baseline()] == ["ok", "ok"]


class Mixed(Spy):
    def apply(self, stored, network, data, level, generator):
        codebook = uniform(network[0].weight, 2)
        return Compressed({**stored.tensors, "0.weight": Quantized(codebook.encode(network[0].weight), codebook)})


def test_bits_are_counted_layer_by_layer(bench, monkeypatch):
    monkeypatch.setattr(methods, "create", lambda name, *settings: Mixed())
    (result,) = bench.sweep("nearest_uniform", ["w2"], draws=1)
    assert result.rows[0]["bops"] == 20 * 2 * 32 + 15 * 32 * 32


def test_only_the_splits_asked_for_are_measured(trained):
    bench = Bench(trained, ["val"], CPU)
    assert [row["split"] for row in bench.baseline()] == ["val"]
    assert sorted(bench.data.inputs) == ["val"]


def test_generators_have_a_stream_for_each_key():
    def first(*key):
        return int(torch.randint(2**60, (1,), generator=generator_for(*key)))

    keys = [("digits", "cnn", 0, "random", level, draw) for level in ("s50", "s90") for draw in range(20)]
    assert len({first(*key) for key in keys}) == len(keys)
    assert first(*keys[0]) == first(*keys[0])
    assert first("digits", "cnn", 0, "random", "s50", 0) == first("digits", "cnn", "0", "random", "s50", "0")


RAISED = {
    torch.linalg.LinAlgError("singular\n\nWhile executing %x"): "LinAlgError: singular",  # no ArithmeticError
    RuntimeError("shapes differ\nat line 3"): "RuntimeError: shapes differ at line 3",
    KeyError("0.weight"): "KeyError: '0.weight'",
    FloatingPointError("diverged"): "diverged",
    AssertionError(): "AssertionError",
}


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("where", ["skip", "apply"])
def test_an_error_is_the_failure_of_its_level_alone(bench, monkeypatch, error, where):
    class Raising(Spy):
        def skip(self, network, data, level):
            return self.raised(level) if where == "skip" else None

        def apply(self, stored, network, data, level, generator):
            return self.raised(level) if where == "apply" else stored

        def raised(self, level):
            if level.bits == 3:
                raise error
            return None

    class Fine(Raising):
        def apply(self, stored, network, data, level, generator):
            super().apply(stored, network, data, level, generator)
            return stored

    monkeypatch.setattr(methods, "create", lambda name, *settings: Fine())
    results = list(bench.sweep("nearest_uniform", ["w2", "w3", "w4"], draws=1))
    assert [result.rows[0]["status"] for result in results] == ["ok", "failed", "ok"]
    reason = results[1].rows[0]["reason"]
    assert "\n" not in reason and reason.endswith(RAISED[error])


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt, torch.OutOfMemoryError, OSError, SystemExit])
def test_what_is_no_fault_of_a_level_ends_the_job(bench, monkeypatch, error):
    class Raising(Spy):
        def apply(self, stored, network, data, level, generator):
            raise error

    monkeypatch.setattr(methods, "create", lambda name, *settings: Raising())
    with pytest.raises(error):
        list(bench.sweep("nearest_uniform", ["w2"], draws=1))
