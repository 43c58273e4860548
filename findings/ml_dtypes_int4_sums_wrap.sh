#!/usr/bin/env bash
# ml_dtypes 0.6.0 (the int4 and int2 arrays that onnx hands out): statistics are computed in 4 bits.
#
# Expected: `codes.sum()` and `codes.mean()` promote to wide integers and to floats, as numpy does for int8.
# Seen: the sum of sixteen ones is 0 and is an int4; their mean is 0, too. The standard deviation of −8, 7, −8, 0 is 1
# (6.3 in truth). A product of two vectors is an int8, and wraps. Each code takes a byte in memory.
# Why it matters: the mean error of a layer, the fraction of zeros (`(codes == 0).mean()` is right, `codes.mean()` is not),
# column sums for zero points: all results are plausible, small and wrong. Convert to int32 first.
#
#     int8: sum 16 int64, mean 1.0 float64
#     int4: sum 0 int4, mean 0 int4
#     int4 as int32: sum 16 int64, mean 1.0 float64
#     standard deviation of -8, 7, -8, 0: 1 in int4, 6.26 in int32
#     product of sixteen sevens with themselves: 16 int8, 784 int32
#     bytes of sixteen codes: 16
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet ml_dtypes==0.6.0 numpy==2.4.6

venv/bin/python - <<'PYTHON'
import sys

import ml_dtypes
import numpy as np


def show(what, seen, recorded):
    print(f"{what}: {seen}")
    if seen != recorded:
        sys.exit(f"not as recorded: {recorded}")


def sums(codes):
    total, mean = codes.sum(), codes.mean()
    return f"sum {total} {total.dtype}, mean {mean} {mean.dtype}"


ones = np.ones(16, ml_dtypes.int4)
show("int8", sums(ones.astype(np.int8)), "sum 16 int64, mean 1.0 float64")
show("int4", sums(ones), "sum 0 int4, mean 0 int4")
show("int4 as int32", sums(ones.astype(np.int32)), "sum 16 int64, mean 1.0 float64")
codes = np.array([-8, 7, -8, 0], ml_dtypes.int4)
spread = f"{codes.std()} in int4, {codes.astype(np.int32).std():.2f} in int32"
show("standard deviation of -8, 7, -8, 0", spread, "1 in int4, 6.26 in int32")
sevens = np.full(16, 7, ml_dtypes.int4)
wide = sevens.astype(np.int32)
show(
    "product of sixteen sevens with themselves",
    f"{sevens @ sevens} {(sevens @ sevens).dtype}, {wide @ wide} int32",
    "16 int8, 784 int32",
)
show("bytes of sixteen codes", ones.nbytes, 16)
PYTHON
