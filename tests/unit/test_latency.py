import collections
from importlib.util import find_spec

import pytest
import torch

from edgepress.costs import export, latency
from edgepress.evaluation import predict
from edgepress.integer import IntegerNetwork, NoIntegerFormError
from edgepress.levels import Level

from .eight_bit import NAMES, compressed, trained

KERNELS = {  # of the runtime, where nothing is left in float but what goes in and comes out
    "resnet8": {"QLinearConv": 9, "QLinearAdd": 3, "QLinearGlobalAveragePool": 1, "QGemm": 1},
    "ds_cnn": {"QLinearConv": 9, "QLinearGlobalAveragePool": 1, "QGemm": 1},
    "cnn": {"QLinearConv": 6, "NhwcMaxPool": 3, "QGemm": 2},
    "dnn_complex": {"QGemm": 5},
}
MISSING = [package for package in latency.PACKAGES if find_spec(package) is None]
needs_runtime = pytest.mark.skipif(bool(MISSING), reason=f"{', '.join(MISSING)} missing: {latency.INSTALL}")


@pytest.fixture(scope="module", params=NAMES)
def deployed(request):
    network, stored, inputs = compressed(request.param)
    model = export.to_onnx(export.in_integers(network, stored), tuple(inputs.shape[1:]))
    return request.param, model, network, stored, inputs


@needs_runtime
def test_the_runtime_computes_in_integers(deployed, tmp_path):
    import onnx

    name, model, *_ = deployed
    latency.session(model, str(tmp_path / "optimized.onnx"))
    nodes = collections.Counter(node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node)
    assert {kind: nodes.pop(kind, 0) for kind in KERNELS[name]} == KERNELS[name]
    assert nodes.keys() <= {"QuantizeLinear", "Reshape", "Transpose"} and nodes["QuantizeLinear"] == 1


@needs_runtime
def test_every_activation_is_that_of_exact_integers_or_a_step_beside(deployed):
    _, model, network, stored, inputs = deployed
    theirs = latency.codes(model, list(stored.activations), inputs)
    ours = IntegerNetwork(network, stored).codes(inputs, theirs)
    for point, codes in ours.items():
        apart = (codes - theirs[point]).abs()
        assert int(apart.max()) <= 1 and float((apart > 0).double().mean()) < 1e-3, point


@needs_runtime
def test_outputs_are_those_of_exact_integers(deployed):
    _, model, network, stored, inputs = deployed
    found = latency.outputs(latency.session(model), inputs)
    expected = predict(IntegerNetwork(network, stored), inputs)
    assert float((found - expected).abs().max()) <= 0.01 * float(expected.max() - expected.min())


@needs_runtime
def test_rows_say_what_was_measured_and_what_no_kernel_computes():
    rows = latency.measure(trained("dnn_complex"), ["w32", "w8a8", "w4a8"], batches=(1, 80))
    assert [(row["level"], row["batch"]) for row in rows] == [(w, b) for w in ("w32", "w8a8", "w4a8") for b in (1, 80)]
    measured, unavailable = rows[:4], rows[4:]
    for row in measured:
        assert (row["status"], row["source"], row["threads"]) == ("ok", "measured", 1)
        assert 0 < row["q1_ms"] <= row["median_ms"] <= row["q3_ms"] and row["repeats"] >= 10
    assert {row["max_code_difference"] for row in measured if row["level"] == "w8a8"} <= {0, 1}
    assert all(row["status"] == "unavailable" and "4-bit" in row["reason"] for row in unavailable)
    assert not any("median_ms" in row for row in unavailable)
    assert {name for row in rows for name in row} <= latency.COLUMNS.keys()


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
    monkeypatch.setattr(latency, "find_spec", lambda name: None)
    rows = latency.measure(trained("dnn_complex"), ["w32", "w4"], batches=(1,))
    assert [row["status"] for row in rows] == ["skipped", "unavailable"]
    assert latency.INSTALL in rows[0]["reason"]


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
