"""What Vela makes of a file: bytes follow the number of values of a layer, and a Vela that dies costs one row."""

import subprocess

import numpy as np
import pytest

from edgepress.targets.tflite import vela, writer
from edgepress.targets.tflite.lowering import Held, Operator, Weights

needs_vela = pytest.mark.skipif(
    vela.importlib.util.find_spec(vela.PACKAGE) is None, reason=f"Vela is missing: {vela.INSTALL}"
)
SHAPE = (32, 3, 3, 32)
WEIGHTS = np.random.default_rng(0).standard_normal(SHAPE)


def one_layer(codes):
    source, output = Held("x", (18, 18, 32), 0.1, -128), Held("y", (16, 16, 32), 0.1, -128)
    scales = np.linspace(0.01, 0.02, 32).astype(np.float32)
    weights = Weights(codes.astype(np.int8), scales, np.arange(32, dtype=np.int32))
    return writer.written([Operator("conv", (source,), output, weights, ceiling=float("inf"))])


def of_values(count):
    """A layer of ``count`` values, each as often as the others."""
    values = np.linspace(-127, 127, count).round()
    edges = np.quantile(WEIGHTS, np.arange(1, count) / count)
    return one_layer(values[np.digitize(WEIGHTS, edges)])


@needs_vela
@pytest.mark.parametrize("npu", vela.NPUS)
def test_bytes_follow_the_number_of_values_not_their_size(npu):
    rows = {count: vela.modelled(of_values(count), npu) for count in (4, 16, 32, 40, 200)}
    assert {row["status"] for row in rows.values()} == {"ok"}
    bits = {count: row["stream_bits_per_weight"] for count, row in rows.items()}
    assert bits[4] < bits[16] < bits[32] < bits[40] <= bits[200], "more values take more bits"
    assert bits[16] < 5 and bits[200] > 7
    assert rows[4]["stream_bytes"] == round(bits[4] * np.prod(SHAPE) / 8, 0) and rows[4]["cycles"] < rows[200]["cycles"]
    assert (rows[4]["npu_operators"], rows[4]["cpu_operators"], rows[4]["source"]) == (1, 0, "modelled")
    assert rows[4] == vela.modelled(of_values(4), npu), "the same row every time"


@needs_vela
def test_few_bit_integers_are_smaller_where_small_ones_are_frequent():
    small = vela.modelled(one_layer(np.clip(np.round(WEIGHTS / 0.5), -7, 7)), "u55-128")
    even = vela.modelled(of_values(15), "u55-128")
    assert small["stream_bytes"] < 0.85 * even["stream_bytes"]


@needs_vela
def test_a_file_that_vela_does_not_read_is_a_row_with_the_reason():
    row = vela.modelled(b"no TensorFlow Lite file", "u65-512")
    assert row["status"] == "failed" and "exit code" in row["reason"] and "\n" not in row["reason"]
    assert "cycles" not in row and row["npu"] == "u65-512"


def test_a_vela_that_hangs_or_is_missing_is_a_row(monkeypatch):
    monkeypatch.setattr(vela.importlib.util, "find_spec", lambda name: None)
    row = vela.modelled(b"", "u55-128")
    assert row["status"] == "skipped" and row["reason"].endswith(vela.INSTALL)
    monkeypatch.setattr(vela.importlib.util, "find_spec", lambda name: object())

    def hangs(*_, timeout, **__):
        raise subprocess.TimeoutExpired("vela", timeout)

    monkeypatch.setattr(vela.subprocess, "run", hangs)
    row = vela.modelled(b"", "u55-128", seconds=3)
    assert (row["status"], row["reason"]) == ("failed", "Vela was stopped after 3 s")


def test_rows_have_the_columns_that_are_documented(monkeypatch):
    summary = {"total_npu_encoded_weights": "100", "total_original_weights": "400", "cycles_total": "7"}
    printed = "x\nCPU operators = 1 (10.0%)\nNPU operators = 9 (90.0%)\n"
    measured = vela._measured({**summary, "sram_memory_used": "1.5"}, printed)
    assert measured == {
        "stream_bytes": 100, "stream_bits_per_weight": 2.0, "cycles": 7, "sram_bytes": 1536,
        "npu_operators": 9, "cpu_operators": 1,
    }  # fmt: skip
    monkeypatch.setattr(vela, "_compiled", lambda *_: ({**summary, "sram_memory_used": "1"}, printed))
    monkeypatch.setattr(vela.importlib.util, "find_spec", lambda name: object())
    assert vela.modelled(b"", "u85-256").keys() | {"reason"} == vela.COLUMNS.keys()
