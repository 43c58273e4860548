"""What is known of the operations of a network, whether written as a module, a function or a method.

Each part of edgepress asks this one table for the property that it needs. One that is not in it is treated with
caution everywhere: its values get a grid of their own, its channels keep their number, and integers do not compute it.
"""

from __future__ import annotations

import math
import operator
from enum import Flag, auto

import torch
from torch import nn
from torch.nn import functional as F


class Property(Flag):
    """What an operation does in evaluation; values have the shape (rows, channels, …)."""

    PASSES = auto()  # gives its input as it is
    SELECTS = auto()  # gives values of its input and computes no new ones
    RECTIFIES = auto()  # bounds its input from below by 0, and maybe from above
    CHANNELWISE = auto()  # computes each channel from the same channel alone, and keeps their order
    HOMOGENEOUS = auto()  # f(c·x) = c·f(x) for c > 0
    FLATTENS = auto()  # lays all places of a channel side by side
    AVERAGES = auto()  # means over dimensions that it is told
    COMBINES = auto()  # computes each value from those at the same place in two inputs
    ADDS = auto()


_P = Property
_TABLE: tuple[tuple[Property, tuple[object, ...]], ...] = (
    (
        _P.PASSES | _P.SELECTS | _P.CHANNELWISE | _P.HOMOGENEOUS,
        (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d,
         F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, "contiguous", "float", "double"),
    ),
    (
        _P.SELECTS | _P.CHANNELWISE | _P.HOMOGENEOUS,
        (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d,
         nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d,
         F.max_pool1d, F.max_pool2d, F.max_pool3d, torch.max_pool1d, torch.max_pool2d, torch.max_pool3d,
         F.adaptive_max_pool1d, F.adaptive_max_pool2d, F.adaptive_max_pool3d),
    ),
    (_P.SELECTS | _P.FLATTENS | _P.HOMOGENEOUS, (nn.Flatten, torch.flatten, "flatten")),
    (
        _P.SELECTS,  # which may move channels
        (nn.Unflatten, torch.unflatten, torch.reshape, torch.permute, torch.transpose, torch.squeeze, torch.unsqueeze,
         "unflatten", "reshape", "view", "permute", "transpose", "squeeze", "unsqueeze", operator.getitem),
    ),
    (_P.RECTIFIES | _P.CHANNELWISE | _P.HOMOGENEOUS, (nn.ReLU, F.relu, torch.relu, "relu")),
    (_P.RECTIFIES | _P.CHANNELWISE, (nn.ReLU6, F.relu6)),
    (
        _P.CHANNELWISE | _P.HOMOGENEOUS,
        (nn.LeakyReLU, F.leaky_relu, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d,
         nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d,
         F.avg_pool1d, F.avg_pool2d, F.avg_pool3d, torch.adaptive_avg_pool1d,
         F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d),
    ),
    (
        _P.CHANNELWISE,
        (nn.ELU, nn.GELU, nn.SiLU, nn.Hardswish, nn.Hardsigmoid, nn.Sigmoid, nn.Tanh, F.elu, F.gelu, F.silu,
         F.hardswish, F.hardsigmoid, torch.sigmoid, torch.tanh, "sigmoid", "tanh"),
    ),
    (_P.AVERAGES | _P.HOMOGENEOUS, (torch.mean, "mean")),
    (_P.COMBINES | _P.ADDS, (operator.add, operator.iadd, torch.add, "add", "add_")),
    (_P.COMBINES, (operator.sub, operator.mul, operator.imul, torch.sub, torch.mul, "sub", "mul", "mul_")),
)  # fmt: skip
OPERATIONS: dict[object, Property] = {kind: properties for properties, kinds in _TABLE for kind in kinds}
SHAPES = (getattr, "size", "dim")  # operations that read the shape of their input, not its values


def properties(kind: object) -> Property:
    """The properties of a module's type, a function or the name of a method; none where it is not known."""
    return OPERATIONS.get(kind, Property(0))


def ceiling_of(kind: object) -> float:
    """The upper bound of an operation that rectifies; infinity where it has none, as ReLU."""
    return 6.0 if kind in (nn.ReLU6, F.relu6) else math.inf
