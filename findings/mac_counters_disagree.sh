#!/usr/bin/env bash
# thop 0.1.1, torchinfo 1.8.0, ptflops 0.7.5, fvcore 0.1.5, torch 2.13.0 (FlopCounterMode): multiply-accumulates (MACs)
# of layers that each of them accepts without a warning or error.
#
# Expected: up to a convention (bias, BatchNorm, multiplications or FLOPs) counters agree on a single layer.
# Seen, as a ratio to the MACs that the layer computes:
# - torchinfo counts a Linear on (rows, 10, features) once, not ten times. thop and torchinfo count a transposed
#   convolution of stride 2 at 4.25 times, since they multiply its kernel by the positions of the output.
# - A convolution by torch.nn.functional, or a product of matrices, is 0 for thop, torchinfo and ptflops.
# - Attention in eval mode is 0 for all but ptflops, in torch's own counter too: PyTorch calls one fused operation, which
#   the counters do not know. In training mode torch's counter and fvcore count it. An LSTM is 0 in torch's and fvcore's.
# Why it matters: papers compare MACs and BOPs "as counted by" one of these; a network with attention, or with a
# decoder, can be off by any factor. Look at the counts layer by layer, or have the counter refuse what it does not know.
#
#     layer                      thop  torchinfo  ptflops  fvcore  torch
#     Linear, 2-d                1.00       1.00     1.00    1.00   1.00
#     Linear, 3-d                1.00       0.10     1.00    1.00   1.00
#     ConvTranspose2d            4.25       4.25     1.00    1.00   1.00
#     functional conv2d          0.00       0.00     0.00    1.00   1.00
#     x @ kernel                 0.00       0.00     0.00    1.00   1.00
#     attention, eval            0.00       0.00     1.04    0.00   0.00
#     LSTM                       1.08       1.04     1.09    0.00   0.00
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet wheel setuptools==80.9.0 torch==2.13.0 numpy==2.4.6
venv/bin/pip install --quiet thop==0.1.1.post2209072238 torchinfo==1.8.0 ptflops==0.7.5 fvcore==0.1.5.post20221221

venv/bin/python - <<'PYTHON'
import contextlib
import copy
import io
import logging
import sys
import warnings

logging.disable()
warnings.simplefilter("ignore")
import thop
import torch
import torch.nn.functional as F
import torchinfo
from fvcore.nn import FlopCountAnalysis
from ptflops import get_model_complexity_info
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(8, 8, 3, 3))

    def forward(self, x):
        return F.conv2d(x, self.kernel, padding=1)


class Product(nn.Module):
    def __init__(self):
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(64, 32))

    def forward(self, x):
        return x @ self.kernel


class First(nn.Module):
    """A layer that returns a tuple, and of that the first."""

    def __init__(self, layer, arguments):
        super().__init__()
        self.layer, self.arguments = layer, arguments

    def forward(self, x):
        return self.layer(*[x] * self.arguments)[0]


def with_thop(network, shape):
    return thop.profile(network, (torch.randn(shape),), verbose=False)[0]


def with_torchinfo(network, shape):
    return torchinfo.summary(network, shape, verbose=0).total_mult_adds


def with_ptflops(network, shape):
    return get_model_complexity_info(network, shape[1:], as_strings=False, print_per_layer_stat=False)[0]


def with_fvcore(network, shape):
    return FlopCountAnalysis(network, torch.randn(shape)).unsupported_ops_warnings(False).total()


def with_torch(network, shape):
    with FlopCounterMode(display=False) as counter:
        network(torch.randn(shape))
    return counter.get_total_flops() / 2


image, rows = (1, 8, 16, 16), (1, 10, 32)
attention = 4 * 10 * 32 * 32 + 2 * 10 * 10 * 32  # four projections; scores, and their product with the values
cases = {
    "Linear, 2-d": (nn.Linear(64, 32, bias=False), (1, 64), 64 * 32, "1.00 1.00 1.00 1.00 1.00"),
    "Linear, 3-d": (nn.Linear(64, 32, bias=False), (1, 10, 64), 10 * 64 * 32, "1.00 0.10 1.00 1.00 1.00"),
    "ConvTranspose2d": (
        nn.ConvTranspose2d(8, 8, 3, stride=2, bias=False), image, 8 * 8 * 9 * 256, "4.25 4.25 1.00 1.00 1.00",
    ),
    "functional conv2d": (Functional(), image, 8 * 8 * 9 * 256, "0.00 0.00 0.00 1.00 1.00"),
    "x @ kernel": (Product(), (1, 64), 64 * 32, "0.00 0.00 0.00 1.00 1.00"),
    "attention, eval": (
        First(nn.MultiheadAttention(32, 4, batch_first=True), 3), rows, attention, "0.00 0.00 1.04 0.00 0.00",
    ),
    "LSTM": (First(nn.LSTM(32, 16, batch_first=True), 1), rows, 10 * 4 * 16 * (32 + 16), "1.08 1.04 1.09 0.00 0.00"),
}
counters = (with_thop, with_torchinfo, with_ptflops, with_fvcore, with_torch)
print(f"{'layer':20}", *[counter.__name__[5:] for counter in counters])
for layer, (network, shape, macs, recorded) in cases.items():
    counts = []
    for counter in counters:
        with torch.no_grad(), contextlib.redirect_stdout(io.StringIO()):
            counts.append(counter(copy.deepcopy(network).eval(), shape))
    seen = " ".join(f"{count / macs:.2f}" for count in counts)
    print(f"{layer:20}", seen)
    if seen != recorded:
        sys.exit(f"not as recorded: {recorded}")
PYTHON
