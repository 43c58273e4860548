"""What C must compute: whole numbers as ``integer.py`` defines them, or floats in the order of the kernels."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgepress.targets.c.plan import Average, Convolution, Maximum, Step, Window
from edgepress.targets.c.program import Layer, Planned, Program
from edgepress.targets.integer import IntegerNetwork


def raw_inputs(program: Program, inputs: Tensor) -> np.ndarray:
    """Float32 inputs, shape (rows, …), as the device gets them: rows of codes or floats, channels innermost."""
    entry = program.plan.entry
    images = inputs.reshape(len(inputs), entry.channels, entry.height, entry.width).permute(0, 2, 3, 1)
    flat = images.reshape(len(inputs), -1).to(torch.float32)
    if entry.grid is None:
        return np.ascontiguousarray(flat.numpy())
    codes = ((flat / entry.grid.step).round() + entry.grid.zero_point).clamp(0, entry.grid.highest)
    return np.ascontiguousarray(codes.to(torch.uint8).numpy())


def outputs_of(program: Program, raw: np.ndarray) -> Tensor:
    """The device's numbers, shape (rows, outputs), as float32 outputs."""
    return torch.from_numpy(raw * (np.float32(1) if program.scales is None else program.scales.astype(np.float32)))


class Reference(nn.Module):
    """The network in exact arithmetic; ``raw`` gives the very numbers that the device gives."""

    def __init__(self, given: Planned, program: Program) -> None:
        super().__init__()
        self.program = program
        self.integers = IntegerNetwork(given.network, given.as_computed) if program.integers else None

    def forward(self, inputs: Tensor) -> Tensor:
        """Float32 inputs (rows, …) to float32 outputs (rows, outputs)."""
        return outputs_of(self.program, self.raw(inputs))

    def raw(self, inputs: Tensor) -> np.ndarray:
        """int32 accumulators, or float32 outputs, shape (rows, outputs)."""
        if self.integers is not None:
            values = self.integers(inputs).reshape(len(inputs), -1).numpy()
            sums: np.ndarray = np.rint(values / self.program.scales).astype(np.int32)
            return sums
        with np.errstate(over="ignore", invalid="ignore"):
            return self._floats(inputs)

    def _floats(self, inputs: Tensor) -> np.ndarray:
        plan = self.program.plan
        entry = plan.entry
        values = {entry.name: raw_inputs(self.program, inputs).reshape(-1, entry.height, entry.width, entry.channels)}
        for step in plan.steps:
            read = [values[value.name] for value in step.reads]
            values[step.writes.name] = _bounded(self._step(step, read), step.ceiling)
        return values[plan.end.name].reshape(len(inputs), -1)

    def _step(self, step: Step, read: list[np.ndarray]) -> np.ndarray:
        if isinstance(step, Convolution):
            found = _convolved(step, self.program.layers[step.layer], read[0])
            return _bounded(found, step.inner_ceiling) + read[1] if len(read) > 1 else found
        if isinstance(step, Maximum | Average):
            taps = _taps(step.window, read[0], step, -np.inf)
            if isinstance(step, Maximum):
                most: np.ndarray = np.maximum.reduce(taps)
                return most
            total = np.zeros_like(taps[0])
            for tap in taps:
                total = total + tap
            return total / np.float32(len(taps))
        return read[0] + read[1] if len(read) > 1 else read[0]


def _convolved(step: Convolution, layer: Layer, images: np.ndarray) -> np.ndarray:
    """Sums from the bias on, product by product: float32, shape (rows, height, width, channels)."""
    assert layer.floats is not None
    window, taps = step.window, _taps(step.window, images, step, 0.0)
    groups, each = window.groups, step.writes.channels // window.groups
    inputs = step.source.channels // groups
    total = np.broadcast_to(layer.bias, (*taps[0].shape[:3], step.writes.channels)).astype(np.float32)
    weights = layer.floats.reshape(step.writes.channels, len(taps), inputs)
    own = np.arange(step.writes.channels) // each * inputs
    for number, tap in enumerate(taps):
        for channel in range(inputs):
            total = total + weights[:, number, channel] * tap[..., own + channel]
    return total


def _taps(window: Window, images: np.ndarray, step: Step, beyond: float) -> list[np.ndarray]:
    """For each place of a window, the values that lie there: (rows, out height, out width, channels)."""
    height, width = step.writes.height, step.writes.width
    sides = [
        (n - 1) * s + (k - 1) * d + 1
        for n, s, k, d in zip((height, width), window.stride, window.kernel, window.dilation, strict=True)
    ]
    (top, left), (h, w) = window.before, images.shape[1:3]
    pads = (0, 0, left, max(0, sides[1] - w - left), top, max(0, sides[0] - h - top))
    padded = F.pad(torch.from_numpy(images), pads, value=beyond).numpy()
    taps = []
    for y in range(window.kernel[0]):
        for x in range(window.kernel[1]):
            rows = slice(
                y * window.dilation[0], y * window.dilation[0] + (height - 1) * window.stride[0] + 1, window.stride[0]
            )
            columns = slice(
                x * window.dilation[1], x * window.dilation[1] + (width - 1) * window.stride[1] + 1, window.stride[1]
            )
            taps.append(padded[:, rows, columns])
    return taps


def _bounded(values: np.ndarray, ceiling: float | None) -> np.ndarray:
    return (
        values if ceiling is None else np.minimum(np.maximum(values, np.float32(0)), np.float32(min(ceiling, 3.4e38)))
    )
