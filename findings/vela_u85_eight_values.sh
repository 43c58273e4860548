#!/usr/bin/env bash
# Vela 5.2.0: the stream of a convolution whose weights have few values, each as often as the others, on Ethos-U55 and U85.
#
# Expected: the compiler codes weights without loss by how often each value occurs, so 4 values take some 2 bits, 8 some 3
# and 16 some 4, on every Ethos-U, as one encoder in one package writes all of these streams.
# Seen: on the U55 it is 2.01, 3.00 and 4.01 bits a weight; on the U85 2.84, 3.95 and 4.78, almost a bit more. 6 values
# take 3.08 bits there, 8 almost 4.
# Why it matters: 3 bits that use all of their 8 levels alike gain a U85 little. Use fewer levels, or levels of which
# small ones are frequent.
#
#     4 values: 2.01 bits a weight on ethos-u55-128, 2.84 on ethos-u85-256
#     6 values: 2.67 bits a weight on ethos-u55-128, 3.08 on ethos-u85-256
#     8 values: 3.00 bits a weight on ethos-u55-128, 3.95 on ethos-u85-256
#     16 values: 4.01 bits a weight on ethos-u55-128, 4.78 on ethos-u85-256
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet ethos-u-vela==5.2.0 ai-edge-litert==2.3.0 flatbuffers==25.12.19 numpy==2.4.6

venv/bin/python - <<'PYTHON'
import csv
import subprocess
import sys
from pathlib import Path

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

RECORDED = {4: ("2.01", "2.84"), 6: ("2.67", "3.08"), 8: ("3.00", "3.95"), 16: ("4.01", "4.78")}
NPUS = {"ethos-u55-128": "Ethos_U55_High_End_Embedded", "ethos-u85-256": "Ethos_U85_SYS_Flash_High"}
CHANNELS = 64


def tensor(name, kind, shape, scale, zero_point=0, buffer=0):
    one = schema.TensorT()
    one.name, one.type, one.shape, one.buffer = name, kind, np.array(shape, np.int32), buffer
    one.quantization = schema.QuantizationParametersT()
    one.quantization.scale = np.array([scale], np.float32)
    one.quantization.zeroPoint = np.array([zero_point], np.int64)
    return one


def file(weights):
    """A file of one 3x3 convolution."""
    buffers = [schema.BufferT() for _ in range(3)]
    for buffer, data in zip(buffers[1:], (weights, np.zeros(CHANNELS, np.int32))):
        buffer.data = np.frombuffer(data.tobytes(), np.uint8)
    types = schema.TensorType
    graph = schema.SubGraphT()
    graph.tensors = [
        tensor("x", types.INT8, (1, 16, 16, CHANNELS), 0.1, -128),
        tensor("weight", types.INT8, weights.shape, 0.01, buffer=1),
        tensor("bias", types.INT32, (CHANNELS,), 0.001, buffer=2),
        tensor("y", types.INT8, (1, 14, 14, CHANNELS), 0.1, -128),
    ]
    operator = schema.OperatorT()
    operator.inputs, operator.outputs = np.array([0, 1, 2], np.int32), np.array([3], np.int32)
    operator.builtinOptionsType = schema.BuiltinOptions.Conv2DOptions
    operator.builtinOptions = schema.Conv2DOptionsT(padding=schema.Padding.VALID, strideW=1, strideH=1)
    graph.operators, graph.inputs, graph.outputs = [operator], np.array([0], np.int32), np.array([3], np.int32)
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CONV_2D
    code.version = 3
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [code], [graph], buffers
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def bits(weights, npu):
    """Bits a weight of the stream that Vela writes."""
    Path("network.tflite").write_bytes(file(weights))
    settings = ["--config", "Arm/vela.ini", "--system-config", NPUS[npu], "--memory-mode", "Shared_Sram"]
    command = [sys.executable, "-m", "ethosu.vela", "network.tflite", "--accelerator-config", npu, *settings]
    subprocess.run([*command, "--optimise", "Performance", "--output-dir", npu], check=True, capture_output=True)
    (summary,) = Path(npu).glob("*_summary_*.csv")
    row = next(csv.DictReader(summary.open()))
    return f"{8 * int(row['total_npu_encoded_weights']) / weights.size:.2f}"


noise = np.random.default_rng(0).standard_normal((CHANNELS, 3, 3, CHANNELS))
differs = False
for count, recorded in RECORDED.items():
    values = np.linspace(-127, 127, count).round().astype(np.int8)
    weights = values[np.digitize(noise, np.quantile(noise, np.arange(1, count) / count))]
    seen = tuple(bits(weights, npu) for npu in NPUS)
    print(f"{count} values: {seen[0]} bits a weight on {list(NPUS)[0]}, {seen[1]} on {list(NPUS)[1]}")
    differs |= seen != recorded
if differs:
    sys.exit(f"not as recorded: {RECORDED}")
PYTHON
