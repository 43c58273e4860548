#!/usr/bin/env bash
# onnx 1.23.0: `helper.make_tensor` wraps values that do not fit INT4.
#
# Expected: a code outside −8..7 raises, or is clipped as QuantizeLinear clips it; a code that is not an integer raises.
# Seen: 9 is stored as −7 and −9 as 7 (modulo 16), −1 as UINT4 becomes 15, 2 as INT2 becomes −2; 1.7 and −1.7 are truncated to
# 1 and −1, where quantization would round to 2 and −2. No error and no warning. For INT8 the same call with 300 raises.
# Why it matters: a clip that is off by one code (a grid from −7 to 8) turns the largest weights of a layer
# into large weights of the other sign, and the file is valid. Check the range of codes before you write them.
#
#     INT4 of 9, -9, 7: [-7, 7, 7]
#     INT4 of 8, -8: [-8, -8]
#     UINT4 of -1, 17, 7: [15, 1, 7]
#     INT2 of 2, -3, 1: [-2, 1, 1]
#     INT4 of 1.7, -1.7, 2.5: [1, -1, 2]
#     INT8 of 300: OverflowError
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet onnx==1.23.0 numpy==2.4.6

venv/bin/python - <<'PYTHON'
import sys

from onnx import TensorProto, helper, numpy_helper


def show(what, seen, recorded):
    print(f"{what}: {seen}")
    if seen != recorded:
        sys.exit(f"not as recorded: {recorded}")


def stored(kind, values):
    tensor = helper.make_tensor("weight", kind, [len(values)], values)
    return numpy_helper.to_array(tensor).astype(int).tolist()


show("INT4 of 9, -9, 7", stored(TensorProto.INT4, [9, -9, 7]), [-7, 7, 7])
show("INT4 of 8, -8", stored(TensorProto.INT4, [8, -8]), [-8, -8])
show("UINT4 of -1, 17, 7", stored(TensorProto.UINT4, [-1, 17, 7]), [15, 1, 7])
show("INT2 of 2, -3, 1", stored(TensorProto.INT2, [2, -3, 1]), [-2, 1, 1])
show("INT4 of 1.7, -1.7, 2.5", stored(TensorProto.INT4, [1.7, -1.7, 2.5]), [1, -1, 2])
try:
    seen = stored(TensorProto.INT8, [300])
except Exception as error:
    seen = type(error).__name__
show("INT8 of 300", seen, "OverflowError")
PYTHON
