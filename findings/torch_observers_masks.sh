#!/usr/bin/env bash
# torch 2.13.0: observers of torch.ao.quantization on masked scores (−inf, or −1e9, before a softmax).
#
# Expected: −inf is refused, or all observers ignore it.
# Seen: MinMaxObserver and MovingAverageMinMaxObserver return a scale of inf with zero point 0 and no error; quantized
# with it, *every* activation is NaN. HistogramObserver ignores −inf and gives the scale of the rest. A mask of −1e9
# decides the grid in all three, the histogram one included: a scale of 3.9 million, so all scores that are not masked
# get one code. NaN: a scale of NaN from the first two, an error from the third.
# Why it matters: attention with a mask calibrates without an error and computes nonsense. Check scales after
# calibration, and exclude masked values from it.
#
#     MinMaxObserver: -inf inf, -1e9 3921568.75, nan nan
#     MovingAverageMinMaxObserver: -inf inf, -1e9 3921568.75, nan nan
#     HistogramObserver: -inf 0.0233, -1e9 3921568.75, nan RuntimeError
#     quantized with a scale of inf: 1000 of 1000 values are NaN
#     quantized with the scale of -1e9: scores from -3 to 3 get 1 value
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet torch==2.13.0 numpy==2.4.6

venv/bin/python - <<'PYTHON'
import sys
import warnings

import torch
from torch.ao.quantization import HistogramObserver, MinMaxObserver, MovingAverageMinMaxObserver

warnings.simplefilter("ignore")


def show(what, seen, recorded):
    print(f"{what}: {seen}")
    if seen != recorded:
        sys.exit(f"not as recorded: {recorded}")


scores = torch.linspace(-3, 3, 1000)


def observed(kind, mask):
    masked = scores.clone()
    masked[:10] = mask
    observer = kind()
    observer(masked)
    scale, zero_point = observer.calculate_qparams()
    return scale.item(), zero_point.item()


def scale(kind, mask):
    try:
        return f"{round(observed(kind, mask)[0], 4)}"
    except RuntimeError as error:
        return type(error).__name__


for kind, recorded in {
    MinMaxObserver: "-inf inf, -1e9 3921568.75, nan nan",
    MovingAverageMinMaxObserver: "-inf inf, -1e9 3921568.75, nan nan",
    HistogramObserver: "-inf 0.0233, -1e9 3921568.75, nan RuntimeError",
}.items():
    masks = {"-inf": float("-inf"), "-1e9": -1e9, "nan": float("nan")}
    show(kind.__name__, ", ".join(f"{name} {scale(kind, mask)}" for name, mask in masks.items()), recorded)
broken = torch.fake_quantize_per_tensor_affine(scores, *observed(MinMaxObserver, float("-inf")), 0, 255)
show(
    "quantized with a scale of inf",
    f"{int(broken.isnan().sum())} of 1000 values are NaN",
    "1000 of 1000 values are NaN",
)
coarse = torch.fake_quantize_per_tensor_affine(scores, *observed(HistogramObserver, -1e9), 0, 255)
show(
    "quantized with the scale of -1e9",
    f"scores from -3 to 3 get {len(coarse.unique())} value",
    "scores from -3 to 3 get 1 value",
)
PYTHON
