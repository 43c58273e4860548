#!/usr/bin/env bash
# gguf 0.19.0: a ternary layer (−s, 0, s) in Q4_0, which has 16 values.
#
# Expected: three values fit into sixteen, so Q4_0 is exact and a 2-bit format is not.
# Seen: in each block of 32 weights the extreme that comes *first* is exact, and the one of the other sign is 12.5 % too
# small, since the scale is −1/8 of the first extreme and codes go from −8 to 7. So +s and −s differ, and which is larger
# depends on the order of the weights in each block. TQ2_0, at 2.06 bits, is exact. For weights on
# a 2-bit grid −2..1 the opposite holds: Q4_0 is exact, and TQ2_0 turns −1 into 0 or −2 and 1 into 0 or 2. MXFP4
# shrinks ternary weights by 6 %, both signs alike (its scales are powers of 2; s is 0.05).
# Why it matters: choose the format of a ternary or few-bit network by the values that its layers take, not by its bits.
#
#     Q4_0, first extreme +1: [-0.875, 0.0, 1.0]
#     Q4_0, first extreme -1: [-1.0, 0.0, 0.875]
#     TQ2_0: [-1.0, 0.0, 1.0] at 2.0625 bits
#     grid -2..1: Q4_0 [-2.0, -1.0, 0.0, 1.0], TQ2_0 [-2.0, 0.0, 2.0]
#     MXFP4 of -0.05, 0, 0.05 in units of 0.05: [-0.938, 0.0, 0.938]
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet gguf==0.19.0 numpy==2.4.6

venv/bin/python - <<'PYTHON'
import sys

import numpy as np
from gguf import GGMLQuantizationType as Format
from gguf.quants import dequantize, quantize


def show(what, seen, recorded):
    print(f"{what}: {seen}")
    if seen != recorded:
        sys.exit(f"not as recorded: {recorded}")


def levels(weights, kind):
    packed = quantize(weights.astype(np.float32), kind)
    # Adding 0 turns -0 into 0.
    return sorted({float(value) + 0.0 for value in dequantize(packed, kind).ravel()}), packed.nbytes * 8 / weights.size


block = np.array([0, 1, -1, 0] * 8)
show("Q4_0, first extreme +1", levels(block, Format.Q4_0)[0], [-0.875, 0.0, 1.0])
show("Q4_0, first extreme -1", levels(-block, Format.Q4_0)[0], [-1.0, 0.0, 0.875])
seen, bits = levels(np.tile(block, 8), Format.TQ2_0)
show("TQ2_0", f"{seen} at {bits} bits", "[-1.0, 0.0, 1.0] at 2.0625 bits")
grid = np.array([-2, -1, 0, 1] * 64)
show(
    "grid -2..1",
    f"Q4_0 {levels(grid, Format.Q4_0)[0]}, TQ2_0 {levels(grid, Format.TQ2_0)[0]}",
    "Q4_0 [-2.0, -1.0, 0.0, 1.0], TQ2_0 [-2.0, 0.0, 2.0]",
)
small = [round(value / 0.05, 3) for value in levels(block * 0.05, Format.MXFP4)[0]]
show("MXFP4 of -0.05, 0, 0.05 in units of 0.05", small, [-0.938, 0.0, 0.938])
PYTHON
