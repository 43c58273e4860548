#!/usr/bin/env bash
# torch 2.13.0 against ONNX Runtime 1.32.0: the code of a value that lies halfway between two codes.
#
# Expected: both round half to even, so fake quantization in torch and QuantizeLinear give equal codes for equal scales.
# Seen: torch multiplies by the reciprocal of the scale, ONNX Runtime (and the ONNX specification) divides by the scale.
# Of 762 float32 values at and next to halfway, at a scale of 0.1, 32 get a different code; at 0.3, 62. All three torch
# functions (`fake_quantize_per_tensor_affine`, `quantize_per_tensor`, and the operator that PT2E graphs hold) agree
# with each other; ONNX Runtime agrees with numpy's rint(x / scale) in every value.
# Why it matters: halfway values are common where inputs are themselves on a grid (pixels, averages of 2 × 2 codes). A check
# of an exported network code by code shows differences of 1 that are not export bugs; divide when you simulate.
#
#     scale 0.1: of 762 values torch differs from ONNX Runtime in 32, 32, 32; numpy in 0
#     scale 0.05: of 762 values torch differs from ONNX Runtime in 32, 32, 32; numpy in 0
#     scale 0.3: of 762 values torch differs from ONNX Runtime in 62, 62, 62; numpy in 0
#     largest difference in codes: 1
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet torch==2.13.0 onnx==1.23.0 onnxruntime==1.32.0 numpy==2.4.6

venv/bin/python - <<'PYTHON'
import sys
import warnings

import numpy as np
import onnxruntime
import torch
import torch.ao.quantization.fx._decomposed  # registers the operator of PT2E graphs
from onnx import TensorProto, helper, numpy_helper

warnings.simplefilter("ignore")


def show(what, seen, recorded):
    print(f"{what}: {seen}")
    if seen != recorded:
        sys.exit(f"not as recorded: {recorded}")


def runtime(x, scale):
    graph = helper.make_graph(
        [helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["codes"])],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("codes", TensorProto.INT8, x.shape)],
        [numpy_helper.from_array(scale, "scale"), numpy_helper.from_array(np.int8(0), "zero")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0].astype(int)


largest = 0
for decimal, recorded in ((0.1, 32), (0.05, 32), (0.3, 62)):
    scale = np.float32(decimal)
    halfway = ((np.arange(-127, 127) + 0.5) * scale).astype(np.float32)
    x = np.concatenate([halfway, np.nextafter(halfway, np.float32(1e9)), np.nextafter(halfway, np.float32(-1e9))])
    tensor, step = torch.tensor(x), float(scale)
    codes = [
        torch.round(torch.fake_quantize_per_tensor_affine(tensor, step, 0, -128, 127) / step),
        torch.quantize_per_tensor(tensor, step, 0, torch.qint8).int_repr(),
        torch.ops.quantized_decomposed.quantize_per_tensor(tensor, step, 0, -128, 127, torch.int8),
    ]
    truth = runtime(x, scale)
    differ = [int((kind.int().numpy() != truth).sum()) for kind in codes]
    largest = max(largest, *(int(abs(kind.int().numpy() - truth).max()) for kind in codes))
    by_numpy = int((np.clip(np.rint(x / scale), -128, 127) != truth).sum())
    show(
        f"scale {decimal}",
        f"of {len(x)} values torch differs from ONNX Runtime in {', '.join(map(str, differ))}; numpy in {by_numpy}",
        f"of 762 values torch differs from ONNX Runtime in {recorded}, {recorded}, {recorded}; numpy in 0",
    )
show("largest difference in codes", largest, 1)
PYTHON
