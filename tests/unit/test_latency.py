import collections
import importlib.util

import pytest
import torch
from torch import nn

from edgepress import registry
from edgepress.activations import ActivationGrid
from edgepress.evaluation import predict
from edgepress.levels import Level
from edgepress.targets import latency
from edgepress.targets import onnx as export
from edgepress.targets import onnx_runtime as runtime
from edgepress.targets.integer import IntegerNetwork, NoIntegerFormError

from .eight_bit import NAMES, compressed, trained
from .odd_graphs import IN_INTEGERS, OUT_OF_REACH, own, own_trained

KERNELS = {  # of the runtime, where nothing is left in float but what goes in and comes out
    "resnet8": {"QLinearConv": 9, "QLinearAdd": 3, "QLinearGlobalAveragePool": 1, "QGemm": 1},
    "ds_cnn": {"QLinearConv": 9, "QLinearGlobalAveragePool": 1, "QGemm": 1},
    "cnn": {"QLinearConv": 6, "NhwcMaxPool": 3, "QGemm": 2},
    "dnn_complex": {"QGemm": 5},
}
ENTRY = registry.targets()["onnx"]
needs_runtime = pytest.mark.skipif(bool(ENTRY.missing), reason=ENTRY.why_missing)


@pytest.fixture(scope="module", params=NAMES)
def deployed(request):
    network, stored, inputs = compressed(request.param)
    model = export.to_onnx(export.in_integers(network, stored), tuple(inputs.shape[1:]))
    return request.param, model, network, stored, inputs


@needs_runtime
@pytest.mark.parametrize("mode", runtime.MODES)
def test_the_runtime_computes_in_integers(deployed, mode, tmp_path):
    import onnx

    name, model, *_ = deployed
    runtime.session(model, mode, optimized=tmp_path / "optimized.onnx")
    nodes = collections.Counter(node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node)
    assert {kind: nodes.pop(kind, 0) for kind in KERNELS[name]} == KERNELS[name]
    assert nodes.keys() <= {"QuantizeLinear", "Reshape", "Transpose"} and nodes["QuantizeLinear"] == 1
    layers = sum(count for kind, count in KERNELS[name].items() if kind in ("QLinearConv", "QGemm"))
    assert runtime.layers(model, mode) == (layers, 0)


@needs_runtime
def test_every_activation_is_that_of_exact_integers_or_a_step_beside(deployed):
    _, model, network, stored, inputs = deployed
    theirs, _ = runtime.codes(model, runtime.EXACT, inputs)
    theirs = dict(zip(stored.activations, theirs, strict=True))
    ours = IntegerNetwork(network, stored).codes(inputs, theirs)
    for point, codes in ours.items():
        apart = (codes - theirs[point]).abs()
        assert int(apart.max()) <= 1 and float((apart > 0).double().mean()) < 1e-3, point


@needs_runtime
def test_outputs_are_those_of_exact_integers(deployed):
    _, model, network, stored, inputs = deployed
    integers = IntegerNetwork(network, stored)
    found = runtime.outputs(runtime.session(model, runtime.EXACT), inputs)
    expected = predict(integers, inputs)
    assert float((found - expected).abs().max()) <= 0.01 * float(expected.max() - expected.min())
    theirs, outputs = runtime.codes(model, runtime.EXACT, inputs)
    from_theirs = integers(inputs, dict(zip(stored.activations, theirs, strict=True)))
    assert float((outputs - from_theirs).abs().max()) <= 1e-5 * float(expected.max() - expected.min())


@needs_runtime
def test_float32_arithmetic_on_the_codes_of_a_file_gives_the_same(deployed):
    _, model, *_, inputs = deployed
    codes, outputs = runtime.code_difference(model, runtime.EXACT, inputs)
    assert codes <= 1 and outputs <= 1e-5


@needs_runtime
def test_weights_that_are_used_twice_or_equal_load_in_both_modes():
    network, stored, inputs = own(Twice())
    stored = stored.with_activations(dict.fromkeys(stored.activations, ActivationGrid(8, 0.02, 0)))
    model = export.to_onnx(export.in_integers(network, stored), tuple(inputs.shape[1:]))
    for mode in runtime.MODES:
        assert runtime.layers(model, mode) == (5, 0)
    codes, outputs = runtime.code_difference(model, runtime.EXACT, inputs)
    assert codes <= 1 and outputs <= 1e-5


@needs_runtime
def test_a_file_whose_weights_share_zero_points_is_separated(monkeypatch):
    """As other libraries write theirs; if the runtime loads such a file some day, nothing need be separated."""
    network, stored, inputs = compressed("ds_cnn")
    with monkeypatch.context() as patched:
        patched.setattr(export, "_separate", lambda graph: None)
        shared = export.to_onnx(export.in_integers(network, stored), tuple(inputs.shape[1:]))
    with pytest.raises(Exception, match="Attempt to replace the existing tensor"):
        runtime.session(shared, runtime.EXACT)
    model = export.separated(shared)
    assert runtime.code_difference(model, runtime.EXACT, inputs)[0] <= 1
    ours, theirs = (runtime.outputs(runtime.session(file, runtime.DEFAULT), inputs) for file in (model, shared))
    assert torch.equal(ours, theirs)


class Twice(nn.Module):
    """A convolution that is used twice, and two layers of the same weights."""

    def __init__(self):
        super().__init__()
        self.conv, self.first, self.second, self.last = (
            nn.Conv2d(2, 2, 3, padding=1), nn.Linear(12, 12), nn.Linear(12, 12), nn.Linear(12, 3)
        )  # fmt: skip
        self.second.load_state_dict(self.first.state_dict())

    def forward(self, x):
        x = torch.relu(self.conv(torch.relu(self.conv(x)))).mean(-1).flatten(1)
        return self.last(torch.relu(self.second(torch.relu(self.first(x)))))


@needs_runtime
def test_a_mode_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="'fast' is no mode; there are default, exact"):
        runtime.session(b"", "fast")


@needs_runtime
def test_rows_say_what_was_measured_and_what_no_kernel_computes():
    rows = latency.measure(trained("dnn_complex"), ["w32", "w8a8", "w4a8"], batches=(1, 80))
    assert [(row["level"], row.get("mode"), row["batch"]) for row in rows] == [
        (level, mode, batch)
        for level, mode in (("w32", None), ("w8a8", "default"), ("w8a8", "exact"), ("w4a8", None))
        for batch in (1, 80)
    ]
    measured, unavailable = rows[:6], rows[6:]
    for row in measured:
        assert (row["status"], row["source"], row["threads"]) == ("ok", "measured", 1)
        assert 0 < row["q1_ms"] <= row["median_ms"] <= row["q3_ms"] and row["repeats"] >= 10
        layers = (0, 5) if row["level"] == "w32" else (5, 0)
        assert (row["integer_layers"], row["float_layers"]) == layers
    for row in measured[4:]:
        assert row["products"] == "exact" and row["max_code_difference"] <= 1
        assert row["instructions"] == runtime.instruction_set() and "reason" not in row
    assert all(row["status"] == "unavailable" and "4-bit" in row["reason"] for row in unavailable)
    assert not any("median_ms" in row for row in unavailable)
    assert {name for row in rows for name in row} <= latency.COLUMNS.keys()


@needs_runtime
@pytest.mark.parametrize(
    "wrong, statuses", [(["default"], ["ok", "ok"]), (["exact"], ["ok", "failed"]), (runtime.MODES, ["failed"] * 2)]
)
@pytest.mark.parametrize("where", ["codes", "outputs"])
def test_inexact_products_are_a_finding_in_the_default_mode_and_a_failure_in_the_exact_one(
    monkeypatch, wrong, statuses, where
):
    """All is computed in the exact mode, and spoilt here, so that this holds on CPUs that saturate as well."""
    honest, session = runtime.codes, runtime.session
    monkeypatch.setattr(runtime, "session", lambda model, mode, **options: session(model, "exact", **options))

    def codes(model, mode, inputs):
        found, outputs = honest(model, mode, inputs)
        if mode in wrong:
            found[-1][0] += 9 if where == "codes" else 0
            outputs[0] += 9 if where == "outputs" else 0
        return found, outputs

    monkeypatch.setattr(runtime, "codes", codes)
    rows = latency.measure(trained("dnn_complex"), ["w8a8"], batches=(1,))
    assert [row["status"] for row in rows] == statuses
    for row in rows:
        inexact = row["mode"] in wrong
        assert row["products"] == ("inexact" if inexact else "exact")
        assert (row["max_code_difference"] > 1) == (inexact and where == "codes")
        assert ("median_ms" in row) == (row["status"] == "ok")
        told = "saturate" if row["status"] == "ok" else "exact arithmetic"
        assert told in row["reason"] if inexact else "reason" not in row


@needs_runtime
def test_a_file_that_computes_something_else_is_not_timed(monkeypatch):
    honest = export.to_onnx
    monkeypatch.setattr(
        export, "to_onnx", lambda network, shape: honest(torch.nn.Sequential(network, torch.nn.ReLU()), shape)
    )
    (row,) = latency.measure(trained("dnn_complex"), ["w32"], batches=(1,))
    assert row["status"] == "failed" and "differ" in row["reason"]
    assert "median_ms" not in row and "source" not in row


def test_without_the_packages_rows_say_how_to_install_them(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    rows = latency.measure(trained("dnn_complex"), ["w32", "w4"], batches=(1,))
    assert [row["status"] for row in rows] == ["skipped", "unavailable"]
    assert ENTRY.install in rows[0]["reason"]


@pytest.mark.parametrize(
    "level, word",
    [("w32", None), ("w8a8", None), ("w8", "float32"), ("w4a8", "4-bit"), ("a8", "32-bit"), ("w8a8s50", "zeros")],
)
def test_levels_without_a_kernel(level, word):
    reason = latency.without_kernel(Level.parse(level))
    assert (reason is None) if word is None else word in reason


def test_activations_of_other_than_8_bits_have_no_kernel():
    network, stored, _ = compressed("dnn_complex")
    coarse = {name: type(grid)(4, grid.step, 0) for name, grid in stored.activations.items()}
    with pytest.raises(NoIntegerFormError, match="activations of 4 bits"):
        export.in_integers(network, stored.with_activations(coarse))


@needs_runtime
@pytest.mark.parametrize("name", IN_INTEGERS)
def test_means_and_reshapes_of_any_spelling_are_computed_in_integers(name):
    network, stored, inputs = own(IN_INTEGERS[name]())
    model = export.to_onnx(export.in_integers(network, stored), tuple(inputs.shape[1:]))
    theirs, outputs = runtime.codes(model, runtime.EXACT, inputs)
    integers, theirs = IntegerNetwork(network, stored), dict(zip(stored.activations, theirs, strict=True))
    for point, codes in integers.codes(inputs, theirs).items():
        assert int((codes - theirs[point]).abs().max()) <= 1, point
    torch.testing.assert_close(integers(inputs, theirs), outputs, rtol=0, atol=1e-5)
    assert runtime.layers(model, runtime.EXACT)[1] == 0


@needs_runtime
@pytest.mark.parametrize("name", OUT_OF_REACH)
def test_what_cannot_be_computed_is_unavailable_for_a_reason_of_one_line(name):
    module, words, floats = OUT_OF_REACH[name]
    rows = latency.measure(own_trained(module()), ["w32", "w8a8"], batches=(1,))
    assert [(row["level"], row["status"]) for row in rows] == [("w32", floats), ("w8a8", "unavailable")]
    for row in rows:
        if row["status"] == "unavailable":
            assert "\n" not in row["reason"] and "While executing" not in row["reason"] and len(row["reason"]) < 300
    assert words in rows[1]["reason"]
