#!/usr/bin/env bash
# torchao 0.18.0: IntxWeightOnlyConfig, with its defaults, on a ternary layer (−s, 0, s).
#
# Expected: "symmetric" int2 represents −1, 0 and 1 times its scale, so ternary weights are exact at 2 bits and above.
# Seen: the scale is 2 s / (2ᵇ − 1), so s lies halfway between two codes, and the upper one is clipped on the positive
# side. At 2 bits all weights return as 2/3 of their value if s is 0.05, and as −1.333 and 0.667 if s is 1: which one
# is float32 rounding. At 3 bits −1.143 and 0.857, at 4 −1.067 and 0.933. At 1 bit, which is accepted, all weights
# become 0. MappingType.ASYMMETRIC shares this. SYMMETRIC_NO_CLIPPING_ERR is exact from 2 bits.
# Why it matters: a network that was trained to be ternary, or on a symmetric grid, loses a third of each layer's gain
# at "2 bits"; use SYMMETRIC_NO_CLIPPING_ERR, which also keeps symmetric 4-bit grids.
#
#     int1 SYMMETRIC, s = 0.05: [0.0]
#     int1 SYMMETRIC, s = 1.0: [0.0]
#     int2 SYMMETRIC, s = 0.05: [-0.667, 0.0, 0.667]
#     int2 SYMMETRIC, s = 1.0: [-1.333, 0.0, 0.667]
#     int3 SYMMETRIC, s = 0.05: [-1.143, 0.0, 0.857]
#     int4 SYMMETRIC, s = 0.05: [-1.067, 0.0, 0.933]
#     int2 ASYMMETRIC, s = 0.05: [-0.667, 0.0, 0.667]
#     int2 SYMMETRIC_NO_CLIPPING_ERR, s = 0.05: [-1.0, 0.0, 1.0]
#     int4 SYMMETRIC_NO_CLIPPING_ERR, s = 0.05: [-1.0, 0.0, 1.0]
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet torchao==0.18.0 torch==2.13.0 numpy==2.4.6

venv/bin/python - <<'PYTHON'
import logging
import sys
import warnings

logging.disable()
warnings.simplefilter("ignore")
import torch
from torchao.quantization import IntxWeightOnlyConfig, quantize_
from torchao.quantization.granularity import PerAxis
from torchao.quantization.quant_primitives import MappingType


def show(what, seen, recorded):
    print(f"{what}: {seen}")
    if seen != recorded:
        sys.exit(f"not as recorded: {recorded}")


ternary = torch.tensor([-1.0, 0.0, 1.0, 1.0]).repeat(8, 16)


def levels(bits, kind, s):
    """The distinct weights after quantization, in units of s."""
    network = torch.nn.Sequential(torch.nn.Linear(64, 8, bias=False))
    network[0].weight.data = ternary * s
    dtype = getattr(torch, f"int{bits}")
    quantize_(network, IntxWeightOnlyConfig(dtype, granularity=PerAxis(0), mapping_type=MappingType[kind]))
    return sorted({round(value, 3) + 0.0 for value in (network[0].weight.dequantize() / s).flatten().tolist()})


for bits, kind, s, recorded in (
    (1, "SYMMETRIC", 0.05, [0.0]),
    (1, "SYMMETRIC", 1.0, [0.0]),
    (2, "SYMMETRIC", 0.05, [-0.667, 0.0, 0.667]),
    (2, "SYMMETRIC", 1.0, [-1.333, 0.0, 0.667]),
    (3, "SYMMETRIC", 0.05, [-1.143, 0.0, 0.857]),
    (4, "SYMMETRIC", 0.05, [-1.067, 0.0, 0.933]),
    (2, "ASYMMETRIC", 0.05, [-0.667, 0.0, 0.667]),
    (2, "SYMMETRIC_NO_CLIPPING_ERR", 0.05, [-1.0, 0.0, 1.0]),
    (4, "SYMMETRIC_NO_CLIPPING_ERR", 0.05, [-1.0, 0.0, 1.0]),
):
    show(f"int{bits} {kind}, s = {s}", levels(bits, kind, s), recorded)
PYTHON
