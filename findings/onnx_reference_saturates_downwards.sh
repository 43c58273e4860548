#!/usr/bin/env bash
# onnx 1.23.0's ReferenceEvaluator against ONNX Runtime 1.32.0, on x86-64: QuantizeLinear of large positive values.
#
# Expected: QuantizeLinear saturates, as its specification says, so a value above the range gives the highest code. The
# reference evaluator is the specification in Python.
# Seen: from 2³¹ scales upwards the reference gives the *lowest* code: 3e9 with scale 1 becomes −128 as INT8 and 0 as
# UINT8 (numpy casts to int32 before it clips). ONNX Runtime gives 127 and 255. Up to 2³¹ the two agree.
# Why it matters: a small scale (1e-8 for a dead channel) or an infinite activation reaches 2³¹ scales; a check
# against the reference evaluator then shows an error of the full range although the runtime is right.
#
#     INT8 of 100, 2e9, 3e9, inf, -inf: reference [100, 127, -128, -128, -128], runtime [100, 127, 127, 127, -128]
#     UINT8 of 100, 2e9, 3e9, inf, -inf: reference [100, 255, 0, 0, 0], runtime [100, 255, 255, 255, 0]
#     INT8 of 30.0 at a scale of 1e-8: reference -128, runtime 127
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet onnx==1.23.0 onnxruntime==1.32.0 numpy==2.4.6

venv/bin/python - <<'PYTHON'
import sys
import warnings

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

warnings.simplefilter("ignore")  # numpy warns of the cast


def show(what, seen, recorded):
    print(f"{what}: {seen}")
    if seen != recorded:
        sys.exit(f"not as recorded: {recorded}")


def both(kind, values, scale):
    x = np.array(values, np.float32)
    graph = helper.make_graph(
        [helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["codes"])],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("codes", kind, x.shape)],
        [numpy_helper.from_array(np.float32(scale), "scale"), helper.make_tensor("zero", kind, [], [0])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    reference = ReferenceEvaluator(model).run(None, {"x": x})[0].tolist()
    return reference, session.run(None, {"x": x})[0].tolist()


large = [100, 2e9, 3e9, float("inf"), float("-inf")]
for name, recorded in {
    "INT8": ([100, 127, -128, -128, -128], [100, 127, 127, 127, -128]),
    "UINT8": ([100, 255, 0, 0, 0], [100, 255, 255, 255, 0]),
}.items():
    reference, runtime = both(getattr(TensorProto, name), large, 1.0)
    show(
        f"{name} of 100, 2e9, 3e9, inf, -inf",
        f"reference {reference}, runtime {runtime}",
        f"reference {recorded[0]}, runtime {recorded[1]}",
    )
(reference,), (runtime,) = both(TensorProto.INT8, [30.0], 1e-8)
show("INT8 of 30.0 at a scale of 1e-8", f"reference {reference}, runtime {runtime}", "reference -128, runtime 127")
PYTHON
