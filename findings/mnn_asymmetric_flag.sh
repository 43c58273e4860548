#!/usr/bin/env bash
# MNN 3.6.1: the converter's switch `--weightQuantAsymmetric`, and zeros of a pruned layer at 4 bits.
#
# Expected: a bare `--weightQuantAsymmetric` turns asymmetric quantization on; without it, it is off, and zeros stay
# zeros.
# Seen: asymmetric is the default, and the bare switch turns it OFF, as does `--weightQuantAsymmetric 1` with a space;
# only `--weightQuantAsymmetric=1` means on. The grid of most channels then has no entry for 0: of the 3,253 zeros of a
# layer of 4,096 weights 57 stay zeros, while the symmetric grid keeps all of them.
# Why it matters: pruning is undone, and the small errors of many zeros add up. Use `=0` for pruned, ternary and symmetric
# weights, and always write `=0` or `=1`.
# (The extension module is called in place of the command `mnnconvert`, which installs another package when it starts.)
#
#     no option: 57 of 3253 zeros stay
#     --weightQuantAsymmetric: 3253 of 3253 zeros stay
#     --weightQuantAsymmetric 1: 3253 of 3253 zeros stay
#     --weightQuantAsymmetric=1: 57 of 3253 zeros stay
#     --weightQuantAsymmetric=0: 3253 of 3253 zeros stay
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet MNN==3.6.1 onnx==1.23.0 numpy==2.4.6

venv/bin/python - <<'PYTHON'
import subprocess
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def show(what, seen, recorded):
    print(f"{what}: {seen}")
    if seen != recorded:
        sys.exit(f"not as recorded: {recorded}")


random = np.random.default_rng(0)
weight = (random.standard_normal((64, 64, 1, 1)) * (random.random((64, 64, 1, 1)) < 0.2)).astype(np.float32)
shape = (1, 64, 8, 8)
graph = helper.make_graph(
    [helper.make_node("Conv", ["x", "weight"], ["y"])],
    "graph",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
    [numpy_helper.from_array(weight, "weight")],
)
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), "network.onnx")

CONVERT = "import _tools, sys; _tools.mnnconvert(sys.argv[1:])"
# Each of the 64 places of the image has one input channel, so the outputs are the weights.
RUN = """
import MNN.expr as F, MNN.nn as nn, numpy as np
network = nn.load_module_from_file("network.mnn", ["x"], ["y"])
x = F.const(np.eye(64, dtype=np.float32).ravel().tolist(), [1, 64, 8, 8], F.data_format.NCHW, F.dtype.float)
y = F.convert(network.forward([x])[0], F.NCHW)
np.save("weights.npy", np.array(y.read()).reshape(64, 64))
"""


def zeros(*options):
    files = ["--modelFile", "network.onnx", "--MNNModel", "network.mnn", "--bizCode", "none"]
    convert = [sys.executable, "-c", CONVERT, "mnnconvert", "-f", "ONNX", *files, "--weightQuantBits", "4", *options]
    subprocess.run(convert, check=True, capture_output=True)
    subprocess.run([sys.executable, "-c", RUN], check=True, capture_output=True)
    kept = abs(np.load("weights.npy")) < 1e-4
    return f"{int((kept & (weight.reshape(64, 64) == 0)).sum())} of {int((weight == 0).sum())} zeros stay"


for options, recorded in {
    (): "57 of 3253 zeros stay",
    ("--weightQuantAsymmetric",): "3253 of 3253 zeros stay",
    ("--weightQuantAsymmetric", "1"): "3253 of 3253 zeros stay",
    ("--weightQuantAsymmetric=1",): "57 of 3253 zeros stay",
    ("--weightQuantAsymmetric=0",): "3253 of 3253 zeros stay",
}.items():
    show(" ".join(options) or "no option", zeros(*options), recorded)
PYTHON
