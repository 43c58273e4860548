"""What TensorFlow Lite Micro computes, exactly: its reference kernels for int8, in torch.

A sum is brought to the scale of the output in two steps that both round: the high half of twice its product with a
multiplier of 31 bits, ties up, and a shift to the right, ties away from zero. (Jacob et al. 2018, arXiv 1712.05877,
appendix B; ``tensorflow/lite/kernels/internal`` of TensorFlow Lite, with ``TFLITE_SINGLE_ROUNDING`` off.)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from edgepress.targets.tflite.lowering import HIGHEST, LOWEST, Held, Operator

_FRACTION_BITS = 31
_ADD_SHIFT = 20  # bits that a sum has below the codes
_LARGEST_SUM = (1 << 31) - 1


def run(operators: Sequence[Operator], codes: Tensor) -> Tensor:
    """The codes that the last operator gives, int64, of those of the input, shape (rows, …), channels last.

    Raises OverflowError where an accumulator leaves 32 bits.
    """
    values = {operators[0].inputs[0]: codes}
    for operator in operators:
        values[operator.output] = computed(operator, [values[source] for source in operator.inputs])
    return values[operators[-1].output]


def real_outputs(operators: Sequence[Operator], codes: Tensor) -> Tensor:
    """What the last operator's outputs stand for before they are rounded to codes, float64."""
    last = operators[-1]
    *before, _ = operators
    values = {operators[0].inputs[0]: codes}
    for operator in before:
        values[operator.output] = computed(operator, [values[source] for source in operator.inputs])
    read = [(values[source] - source.zero_point, source.scale) for source in last.inputs]
    if last.weights is not None:
        numbers, scale = read[0]
        return _sums(last, numbers).double() * (torch.from_numpy(last.weights.scales).double() * scale)
    total = sum((numbers.double() * scale for numbers, scale in read), start=torch.zeros((), dtype=torch.float64))
    return total.mean((1, 2)) if last.kind == "mean" else total


def computed(operator: Operator, read: Sequence[Tensor]) -> Tensor:
    """The codes that one operator gives, int64, of those that it reads."""
    codes, output = read[0], operator.output
    if operator.kind == "reshape":
        return codes.reshape(len(codes), *output.shape)
    if operator.kind == "pad":
        top, bottom, left, right = operator.padding
        return F.pad(codes, (0, 0, left, right, top, bottom), value=output.zero_point)
    if operator.kind == "max_pool":
        return _max_pool(operator, codes)
    numbers = [each - source.zero_point for each, source in zip(read, operator.inputs, strict=True)]
    if operator.kind == "add":
        rescaled = _added(numbers, operator.inputs, output)
    elif operator.kind == "mean":
        rescaled = _mean(numbers[0], operator.inputs[0], output)
    else:
        rescaled = _multiplied(_sums(operator, numbers[0]), *_multipliers(_ratios(operator)))
    return (rescaled + output.zero_point).clamp(*bounds(operator))


def bounds(operator: Operator) -> tuple[int, int]:
    """The lowest and the highest code that an operator gives."""
    if operator.ceiling is None:
        return LOWEST, HIGHEST
    output = operator.output
    highest = HIGHEST
    if operator.ceiling < math.inf:
        highest = min(
            HIGHEST,
            output.zero_point + math.floor(float(np.float32(operator.ceiling) / np.float32(output.scale)) + 0.5),
        )
    return max(LOWEST, output.zero_point), highest


def _sums(operator: Operator, numbers: Tensor) -> Tensor:
    """The accumulators of a convolution or a dense layer, int64."""
    assert operator.weights is not None
    weights, bias = torch.from_numpy(operator.weights.codes).double(), torch.from_numpy(operator.weights.bias).double()
    if operator.kind == "dense":
        sums = F.linear(numbers.double(), weights, bias)
    else:
        images = numbers.double().permute(0, 3, 1, 2)
        depthwise = operator.kind == "depthwise"
        weights = weights.permute(3, 0, 1, 2) if depthwise else weights.permute(0, 3, 1, 2)
        if operator.same:
            images = F.pad(images, _same_padding(operator, weights.shape[2:], images.shape[2:]))
        groups = images.shape[1] // weights.shape[1]
        sums = F.conv2d(images, weights, bias, operator.stride, 0, operator.dilation, groups).permute(0, 2, 3, 1)
    if float(sums.abs().max()) > _LARGEST_SUM:
        raise OverflowError(f"an accumulator of '{operator.output.name}' leaves 32 bits")
    return sums.to(torch.int64)


def _same_padding(operator: Operator, window: Iterable[int], sides: Iterable[int]) -> list[int]:
    """Left, right, top and bottom."""
    padding: list[int] = []
    for kernel, dilation, side, stride in zip(window, operator.dilation, sides, operator.stride, strict=True):
        total = max((-(-side // stride) - 1) * stride + dilation * (kernel - 1) + 1 - side, 0)
        padding = [total // 2, total - total // 2, *padding]
    return padding


def _max_pool(operator: Operator, codes: Tensor) -> Tensor:
    images = codes.double().permute(0, 3, 1, 2)
    if operator.same:
        images = F.pad(images, _same_padding(operator, operator.window, images.shape[2:]), value=LOWEST)
    return F.max_pool2d(images, operator.window, operator.stride).permute(0, 2, 3, 1).to(torch.int64)


def _added(numbers: Sequence[Tensor], inputs: Sequence[Held], output: Held) -> Tensor:
    """A sum on a common scale, twice the larger one, with 20 more bits; then that on the scale of the output."""
    scales = [np.float32(source.scale) for source in inputs]
    twice = 2.0 * float(max(scales))
    ratios = [float(scale) / twice for scale in scales]
    total = torch.zeros((), dtype=torch.int64)
    for each, ratio in zip(numbers, ratios, strict=True):
        total = total + _multiplied(each << _ADD_SHIFT, *_multipliers([ratio]))
    return _multiplied(total, *_multipliers([twice / ((1 << _ADD_SHIFT) * float(np.float32(output.scale)))]))


def _mean(numbers: Tensor, source: Held, output: Held) -> Tensor:
    """The sum on the scale of the output, the multiplier divided by the number of entries, rounded down."""
    entries = numbers.shape[1] * numbers.shape[2]
    multiplier, exponent = _multipliers([float(np.float32(source.scale)) / float(np.float32(output.scale))])
    shift = min(entries.bit_length() - 1, 32, _FRACTION_BITS + int(exponent))
    return _multiplied(numbers.sum((1, 2), keepdim=True), (multiplier << shift) // entries, exponent - shift)


def _ratios(operator: Operator) -> list[float]:
    """The scale of an operator's products to that of its output: of each channel, or one for all of a dense layer."""
    assert operator.weights is not None
    scales, wanted = operator.weights.scales, float(np.float32(operator.output.scale))
    given = np.float32(operator.inputs[0].scale)
    if operator.kind == "dense" and operator.weights.one_scale:
        return [float(given * scales[0]) / wanted]  # float32 product; kernels with one scale per channel use float64
    return [float(given) * float(scale) / wanted for scale in scales]


def _multipliers(ratios: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Multipliers of 31 bits, and the shifts to the left after them, int64; a ratio too small for both is 0."""
    multipliers, shifts = [], []
    for ratio in ratios:
        fraction, exponent = math.frexp(ratio)
        multiplier = math.floor(fraction * (1 << _FRACTION_BITS) + 0.5)
        if multiplier == 1 << _FRACTION_BITS:
            multiplier, exponent = multiplier // 2, exponent + 1
        if exponent < -_FRACTION_BITS:
            multiplier, exponent = 0, 0
        multipliers.append(multiplier)
        shifts.append(exponent)
    return torch.tensor(multipliers), torch.tensor(shifts)


def _multiplied(numbers: Tensor, multipliers: Tensor, shifts: Tensor) -> Tensor:
    """``numbers`` · multiplier · 2^(shift − 31), rounded twice; all int64."""
    products = (numbers << shifts.clamp(min=0)) * multipliers
    half = 1 << (_FRACTION_BITS - 1)
    nudged = products + torch.where(products >= 0, half, 1 - half)
    high = torch.div(nudged, 1 << _FRACTION_BITS, rounding_mode="trunc")
    right = (-shifts).clamp(min=0)
    mask = (torch.ones_like(right) << right) - 1
    rest, threshold = high & mask, (mask >> 1) + (high < 0).to(torch.int64)
    return (high >> right) + (rest > threshold).to(torch.int64)
