#!/usr/bin/env bash
# onnxruntime 1.32.0 with onnx 1.23.0: a graph whose output is INT4.
#
# Expected: `run` returns an array of ml_dtypes.int4, as onnx's helpers and its reference evaluator do, or of int8.
# Seen: the session loads, but `run` raises RuntimeError ("No corresponding Numpy type"). The same holds for UINT4 and
# INT2. The reference evaluator returns int4. INT8 works in both.
# Why it matters: the codes of a few-bit file cannot be read from the runtime and compared one by one;
# end the graph with a Cast to INT8, which gives −8, −1, 0, 7.
#
#     INT8: runtime [-10, -1, 0, 8], reference int8
#     INT4: runtime RuntimeError, reference int4
#     UINT4: runtime RuntimeError, reference uint4
#     INT2: runtime RuntimeError, reference int2
#     INT4, then Cast to INT8: [-8, -1, 0, 7]
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet onnx==1.23.0 onnxruntime==1.32.0 ml_dtypes==0.6.0 numpy==2.4.6

venv/bin/python - <<'PYTHON'
import sys

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator


def show(what, seen, recorded):
    print(f"{what}: {seen}")
    if seen != recorded:
        sys.exit(f"not as recorded: {recorded}")


x = np.array([-10, -1, 0, 8], np.float32)


def model(kind, cast=False):
    nodes = [helper.make_node("QuantizeLinear", ["x", "scale"], ["codes"], output_dtype=kind)]
    output = helper.make_tensor_value_info("codes", kind, [4])
    if cast:
        nodes.append(helper.make_node("Cast", ["codes"], ["wide"], to=TensorProto.INT8))
        output = helper.make_tensor_value_info("wide", TensorProto.INT8, [4])
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])
    graph = helper.make_graph(nodes, "graph", [given], [output], [numpy_helper.from_array(np.float32(1), "scale")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 25)], ir_version=11)


def runtime(network):
    session = onnxruntime.InferenceSession(network.SerializeToString(), providers=["CPUExecutionProvider"])
    try:
        return session.run(None, {"x": x})[0].tolist()
    except RuntimeError as error:
        return type(error).__name__


for name, recorded in {
    "INT8": "runtime [-10, -1, 0, 8], reference int8",
    "INT4": "runtime RuntimeError, reference int4",
    "UINT4": "runtime RuntimeError, reference uint4",
    "INT2": "runtime RuntimeError, reference int2",
}.items():
    network = model(getattr(TensorProto, name))
    (codes,) = ReferenceEvaluator(network).run(None, {"x": x})
    show(name, f"runtime {runtime(network)}, reference {codes.dtype}", recorded)
show("INT4, then Cast to INT8", runtime(model(TensorProto.INT4, cast=True)), [-8, -1, 0, 7])
PYTHON
