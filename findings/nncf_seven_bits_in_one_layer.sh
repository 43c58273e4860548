#!/usr/bin/env bash
# nncf 3.4.0 with OpenVINO 2026.4.1: which weights `nncf.quantize` keeps to 7 bits so that int8 products do not
# saturate.
#
# Expected: weights are halved to −64..64 for CPUs without VNNI, where pairs of products are added in 16 bits, and use
# all of int8 where the target does not saturate: a GPU, an NPU, or a CPU with VNNI (CPU_SPR).
# Seen: for every target the *first convolution alone* gets −63..64 (here −63..63), and all others −127..127. A first
# dense layer gets all 8 bits. So an NPU loses a bit in its first layer, and a CPU without VNNI is protected in that
# layer alone.
# Why it matters: quantization hurts the first layer most. Set `overflow_fix`
# (AdvancedQuantizationParameters): DISABLE for devices that do not saturate, ENABLE for all layers on CPUs that do.
#
#     ANY: largest codes 63, 127, 127, 127
#     CPU: largest codes 63, 127, 127, 127
#     CPU_SPR: largest codes 63, 127, 127, 127
#     NPU: largest codes 63, 127, 127, 127
#     NPU, disable: largest codes 127, 127, 127, 127
#     CPU, enable: largest codes 63, 63, 64, 63
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet nncf==3.4.0 openvino==2026.4.1 numpy==2.4.6

venv/bin/python - <<'PYTHON'
import logging
import os
import sys

os.environ |= {"CI": "true", "NNCF_CI": "1"}  # no telemetry
import nncf
import numpy as np
import openvino
from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, OverflowFix
from openvino import opset13 as op

logging.disable()


def show(what, seen, recorded):
    print(f"\n{what}: {seen}")
    if seen != recorded:
        sys.exit(f"not as recorded: {recorded}")


def network():
    random = np.random.default_rng(0)

    def weight(*shape):
        return op.constant(random.standard_normal(shape).astype(np.float32))

    given = op.parameter([-1, 3, 8, 8], np.float32)
    y = given
    for inputs in (3, 16, 16):
        y = op.relu(op.convolution(y, weight(16, inputs, 3, 3), [1, 1], [1, 1], [1, 1], [1, 1]))
    y = op.reshape(y, op.constant(np.array([0, 1024], np.int64)), True)
    return openvino.Model([op.matmul(y, weight(10, 1024), False, True)], [given])


random = np.random.default_rng(1)
inputs = [random.standard_normal((1, 3, 8, 8)).astype(np.float32) for _ in range(20)]


def codes(target, fix=None):
    quantized = nncf.quantize(
        network(),
        nncf.Dataset(inputs),
        target_device=nncf.TargetDevice[target],
        subset_size=20,
        advanced_parameters=AdvancedQuantizationParameters(overflow_fix=fix),
    )
    openvino.save_model(quantized, "quantized.xml")  # weights become int8 here
    nodes = openvino.Core().read_model("quantized.xml").get_ordered_ops()
    weights = [node.data for node in nodes if node.get_type_name() == "Constant" and node.data.dtype == np.int8]
    return "largest codes " + ", ".join(str(int(abs(values.astype(int)).max())) for values in weights)


for target in ("ANY", "CPU", "CPU_SPR", "NPU"):
    show(target, codes(target), "largest codes 63, 127, 127, 127")
show("NPU, disable", codes("NPU", OverflowFix.DISABLE), "largest codes 127, 127, 127, 127")
show("CPU, enable", codes("CPU", OverflowFix.ENABLE), "largest codes 63, 63, 64, 63")
PYTHON
