#!/usr/bin/env bash
# onnxruntime 1.32.0, x86-64: `session.x64quantprecision = 1`, the mode in which int8 products do not saturate on CPUs
# without VNNI, and weights that share one zero point tensor.
#
# Expected: the mode changes which kernels compute, never whether a valid file loads.
# Seen: two convolutions whose DequantizeLinear nodes name the same int8 zero point (all zeros, as for all symmetric
# weights) load in the default mode and raise Fail in this mode: "Attempt to replace the existing tensor". With a copy of
# the zero point for each weight the same network loads in both. CPUs with VNNI behave the same.
# Why it matters: exporters and deduplication share equal initializers. A file that must run exactly on any PC needs a
# separate zero point tensor for every weight: one byte per channel.
#
#     shared, default: loads
#     shared, x64quantprecision 1: Fail
#     one each, default: loads
#     one each, x64quantprecision 1: loads
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet onnx==1.23.0 onnxruntime==1.32.0 numpy==2.4.6

venv/bin/python - <<'PYTHON'
import sys

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

onnxruntime.set_default_logger_severity(4)


def show(what, seen, recorded):
    print(f"{what}: {seen}")
    if seen != recorded:
        sys.exit(f"not as recorded: {recorded}")


def network(shared):
    random = np.random.default_rng(0)
    tensors = {"scale": np.float32(0.02), "zero": np.uint8(0)}
    nodes = []

    def on_grid(name):
        nodes.append(helper.make_node("QuantizeLinear", [name, "scale", "zero"], [f"{name}_codes"]))
        nodes.append(helper.make_node("DequantizeLinear", [f"{name}_codes", "scale", "zero"], [f"{name}_grid"]))
        return f"{name}_grid"

    y = on_grid("x")
    for layer in range(2):
        weight, scale, zero = f"w{layer}", f"w{layer}_scale", "w_zero" if shared else f"w{layer}_zero"
        tensors[weight] = random.integers(-127, 128, (8, 8, 3, 3)).astype(np.int8)
        tensors[scale] = np.full(8, 0.01, np.float32)
        tensors[zero] = np.zeros(8, np.int8)
        nodes.append(helper.make_node("DequantizeLinear", [weight, scale, zero], [f"{weight}_grid"], axis=0))
        nodes.append(helper.make_node("Conv", [y, f"{weight}_grid"], [f"y{layer}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"y{layer}"], [f"r{layer}"]))
        y = on_grid(f"r{layer}")
    x, out = (helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 8, 6, 6)) for name in ("x", y))
    stored = [numpy_helper.from_array(np.asarray(values), name) for name, values in tensors.items()]
    graph = helper.make_graph(nodes, "graph", [x], [out], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10).SerializeToString()


def loads(shared, exact):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if exact:
        options.add_session_config_entry("session.x64quantprecision", "1")
    try:
        onnxruntime.InferenceSession(network(shared), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        if "Attempt to replace the existing tensor" not in str(error):
            raise
        return type(error).__name__
    return "loads"


show("shared, default", loads(shared=True, exact=False), "loads")
show("shared, x64quantprecision 1", loads(shared=True, exact=True), "Fail")
show("one each, default", loads(shared=False, exact=False), "loads")
show("one each, x64quantprecision 1", loads(shared=False, exact=True), "loads")
PYTHON
