"""Rounding that minds what comes out of a layer, after training, on unlabelled calibration data.

Rounding each weight to its nearest level is best for the weights, not for the layer: its output Wx is off by ΔWx, and
the mean square of that over inputs is ΔW H ΔWᵀ with H = E[xxᵀ]. Weights are rounded so that this is small, layer after
layer, each on the inputs that the ones before it, already quantized, give; then its bias takes up what the outputs
are off on average.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgepress.codebooks import Symmetric, code_type, least_error_steps
from edgepress.datasets import Prepared
from edgepress.encodings import Dense, Encoding, PerChannel, Quantized
from edgepress.encodings.channels import in_eight_bits
from edgepress.encodings.huffman import coded
from edgepress.graph import Layer
from edgepress.levels import Level, asked
from edgepress.methods import Method, calibration_inputs, must_come_first
from edgepress.methods.layer_by_layer import LayerByLayer, needs_called_layers
from edgepress.methods.rounding import rounded
from edgepress.networks import compressible, layer_of
from edgepress.packing import Compressed

METHODS = {
    "bias_corrected": {
        "object": "Reconstruction",
        "about": "`nearest_symmetric_channel` whose biases make up for the mean error of each channel's output",
        "family": "reconstruction",
        "sweep": "bits",
        "examples": True,
        "args": {"rounding": "nearest"},
    },
    "gptq": {
        "object": "Reconstruction",
        "about": "weights rounded one by one, those to come making up for the error in the layer's output (GPTQ)",
        "family": "reconstruction",
        "sweep": "bits",
        "examples": True,
        "args": {"rounding": "gptq"},
    },
    "gptq_tensor": {
        "object": "Reconstruction",
        "about": "`gptq` with one step for a whole tensor, which takes fewer bytes",
        "family": "reconstruction",
        "sweep": "bits",
        "examples": True,
        "args": {"rounding": "gptq", "granularity": "tensor"},
    },
    "gptq_compact": {
        "object": "Reconstruction",
        "about": "`gptq` with steps and biases in 8 bits and codes by Huffman's: the smallest file",
        "family": "reconstruction",
        "sweep": "bits",
        "examples": True,
        "args": {"rounding": "gptq", "granularity": "channel_e4m3", "compact": True},
    },
    "adaround": {
        "object": "Reconstruction",
        "about": "whether a weight goes up or down is learned from the layer's output (AdaRound)",
        "family": "adaround",
        "sweep": "bits",
        "examples": True,
        "args": {"rounding": "adaround"},
    },
    "adaround_tensor": {
        "object": "Reconstruction",
        "about": "`adaround` with one step for a whole tensor, which takes fewer bytes",
        "family": "adaround",
        "sweep": "bits",
        "examples": True,
        "args": {"rounding": "adaround", "granularity": "tensor"},
    },
}
_DAMPING = 0.01  # of the mean of H's diagonal, added to it: inputs that calibration did not see
_BLOCK = 128
_POSITIONS = 1 << 14  # of a layer's output at a time, when H is summed up
_ITERATIONS = 1000
_PENALTY = 20  # for a channel of weights that are neither down nor up, in errors of rounding it to the nearest

# Rounds weights to whole steps: (weights in steps, H, lowest level, highest level) → levels. Weights have the shape
# (groups, channels, inputs) and H (groups, inputs, inputs).
Rounder = Callable[[Tensor, Tensor, int, int], Tensor]

# What has a step: the whole tensor, or each output channel, in float32 or in 8 bits.
Granularity = Literal["tensor", "channel", "channel_e4m3"]


def nearest(position: Tensor, hessian: Tensor, lowest: int, highest: int) -> Tensor:
    """The nearest level, whatever the layer's inputs."""
    return position.round().clamp(lowest, highest)


def gptq(position: Tensor, hessian: Tensor, lowest: int, highest: int) -> Tensor:
    """Round input by input, the one with the largest mean square first, and let the inputs to come make up for it.

    After weight j is rounded, the best change of those not yet rounded is −(error/U_jj)·U_j, U the upper Cholesky
    factor of H⁻¹. Changes reach weights further on in blocks, as one matrix product. (Frantar et al. 2023, arXiv
    2210.17323; the error compensation is Optimal Brain Surgeon's.)
    """
    diagonal = hessian.diagonal(dim1=1, dim2=2)
    order = diagonal.argsort(dim=1, descending=True)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(_permuted(hessian, order)))
    factor = torch.linalg.cholesky(inverse, upper=True)
    left = position.gather(2, order[:, None, :].expand_as(position)).clone()
    levels = torch.empty_like(left)
    inputs = left.shape[2]
    for first in range(0, inputs, _BLOCK):
        last = min(first + _BLOCK, inputs)
        errors = torch.empty_like(left[:, :, first:last])
        for j in range(first, last):
            levels[:, :, j] = left[:, :, j].round().clamp_(lowest, highest)
            error = (left[:, :, j] - levels[:, :, j]) / factor[:, None, j, j]
            left[:, :, j + 1 : last] -= error[:, :, None] * factor[:, None, j, j + 1 : last]
            errors[:, :, j - first] = error
        left[:, :, last:] -= errors @ factor[:, first:last, last:]
    return torch.empty_like(levels).scatter_(2, order[:, None, :].expand_as(levels), levels)


@torch.enable_grad()
def adaround(position: Tensor, hessian: Tensor, lowest: int, highest: int) -> Tensor:
    """Learn whether each weight goes down or up, by gradient descent on ΔW H ΔWᵀ.

    A weight is ⌊w⌋ + h with h = clamp(1.2·σ(v) − 0.1, 0, 1); a penalty ``1 − |2h − 1|^β``, β falling from 20 to 2,
    drives h to 0 or 1 (Nagel et al. 2020, arXiv 2004.10568). The paper draws batches of inputs; here H has them all,
    so each step is exact. The error is counted in that of rounding to the nearest, which is kept for channels where
    nothing better is found.
    """
    floor, plain = position.floor(), nearest(position, hessian, lowest, highest)
    start = ((position - floor).clamp(0.01, 0.99) + 0.1) / 1.2
    v = torch.logit(start).requires_grad_()
    unit = _output_error(plain - position, hessian).clamp_min(1e-12)
    optimizer = torch.optim.Adam([v], lr=0.02)
    for step in range(_ITERATIONS):
        share = (v.sigmoid() * 1.2 - 0.1).clamp(0, 1)
        delta = (floor + share).clamp(lowest, highest) - position
        loss = (_output_error(delta, hessian) / unit).sum()
        progress = step / _ITERATIONS
        if progress > 0.2:
            beta = 2 + 18 * (1 - (progress - 0.2) / 0.8)
            loss = loss + _PENALTY / position.shape[2] * (1 - (2 * share - 1).abs() ** beta).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    learned = (floor + (v.detach() > 0)).clamp(lowest, highest)
    better = _output_error(learned - position, hessian) < _output_error(plain - position, hessian)
    return torch.where(better[:, :, None], learned, plain)


ROUNDERS: dict[str, Rounder] = {"nearest": nearest, "gptq": gptq, "adaround": adaround}


def _output_error(delta: Tensor, hessian: Tensor) -> Tensor:
    """ΔW H ΔWᵀ of each channel: the mean square of what its output is off."""
    return ((delta @ hessian) * delta).sum(dim=2)


def _permuted(hessian: Tensor, order: Tensor) -> Tensor:
    rows = hessian.gather(1, order[:, :, None].expand_as(hessian))
    return rows.gather(2, order[:, None, :].expand_as(hessian))


def input_hessian(layer: nn.Linear | nn.Conv2d, inputs: Tensor) -> Tensor:
    """E[xxᵀ] of what each output of a layer sees, damped: float32, shape (groups, inputs, inputs).

    ``inputs`` has shape (rows, …). Of a convolution, each position of its output is an example.
    """
    if isinstance(layer, nn.Linear):
        columns = inputs.reshape(1, -1, layer.in_features).transpose(1, 2)
        return _damped(columns @ columns.transpose(1, 2) / columns.shape[2])
    groups, size = layer.groups, layer.weight[0].numel()
    total, count = torch.zeros(groups, size, size), 0
    per_image = layer(inputs[:1])[0, 0].numel()
    for batch in inputs.split(max(1, _POSITIONS // per_image)):
        padded = F.pad(batch, layer._reversed_padding_repeated_twice)  # its padding may be a word, "same" say
        columns = F.unfold(padded, layer.kernel_size, layer.dilation, stride=layer.stride)
        columns = columns.unflatten(1, (groups, size)).permute(1, 2, 0, 3).flatten(2)
        total += columns @ columns.transpose(1, 2)
        count += columns.shape[2]
    return _damped(total / count)


def _damped(hessian: Tensor) -> Tensor:
    mean = hessian.diagonal(dim1=1, dim2=2).mean(dim=1).clamp_min(1e-8)
    return hessian + _DAMPING * mean[:, None, None] * torch.eye(hessian.shape[1])


def quantized_layer(
    layer: nn.Linear | nn.Conv2d, inputs: Tensor, bits: int, rounder: Rounder, granularity: Granularity
) -> Encoding:
    """The weights of a layer on symmetric grids, rounded for its ``inputs``, shape (rows, …)."""
    weights = layer.weight.detach()
    rows = weights.reshape(len(weights), -1)
    steps = least_error_steps(rows.reshape(1, -1) if granularity == "tensor" else rows, bits)
    if granularity == "channel_e4m3":
        steps = in_eight_bits(steps)
    divisors = steps.clamp_min(torch.finfo(torch.float32).tiny).expand(len(rows))
    groups = 1 if isinstance(layer, nn.Linear) else layer.groups
    position = (rows / divisors[:, None]).unflatten(0, (groups, -1))
    half = 1 << bits - 1
    levels = rounder(position, input_hessian(layer, inputs), -half, half - 1)
    codes = (levels.reshape(weights.shape) + half).to(code_type(bits))
    if granularity == "tensor":
        return Quantized(codes, Symmetric(bits, steps))
    lengths = torch.full((len(rows),), rows.shape[1])
    return PerChannel(tuple(weights.shape), [Symmetric(bits, step[None]) for step in steps], lengths, codes)


def reconstruct(
    stored: Compressed,
    network: nn.Module,
    inputs: Tensor,
    bits: Mapping[str, int],
    rounder: Rounder,
    granularity: Granularity,
) -> Compressed:
    """Quantize the layers whose weight tensors ``bits`` names, first to last, on calibration ``inputs``."""

    def encode(name: str, layer: Layer, inputs: Tensor) -> Encoding | None:
        if name not in bits:
            return None
        assert isinstance(layer, nn.Linear | nn.Conv2d)  # or needs_plain_layers says why not
        return quantized_layer(layer, inputs, bits[name], rounder, granularity)

    return stored.with_tensors(LayerByLayer(network, encode).encode_all(inputs))


def needs_plain_layers(network: nn.Module) -> str | None:
    """Why the layers of ``network`` cannot be reconstructed, or None where they can."""
    for name in compressible(network):
        layer = layer_of(network, name)
        if not isinstance(layer, nn.Linear | nn.Conv2d) or getattr(layer, "padding_mode", "zeros") != "zeros":
            return f"{name} belongs to no Linear or zero-padded Conv2d layer"
    return needs_called_layers(network)


@dataclass(frozen=True)
class Reconstruction(Method):
    """Round the weights of Linear and Conv layers to multiples of a step, and correct the biases.

    There is a step a channel, or a step a tensor by ``granularity``; it is the one of least squared error.
    ``compact`` stores what is not a weight in 8 bits, too, steps as they are chosen and biases at the end, and codes by
    Huffman's code, each where that makes the file smaller.
    """

    rounding: Literal["nearest", "gptq", "adaround"]
    granularity: Granularity = "channel"
    compact: bool = False

    def skip(self, network: nn.Module, data: Prepared, level: Level) -> str | None:
        if level.bits == 1:
            return "at 1 bit a symmetric grid has no positive level"
        return needs_plain_layers(network)

    def apply(
        self, stored: Compressed, network: nn.Module, data: Prepared, level: Level, generator: torch.Generator
    ) -> Compressed:
        must_come_first(stored, "a method that reconstructs layers")
        bits = dict.fromkeys(compressible(network), asked(level.bits))
        inputs = calibration_inputs(data)
        stored = reconstruct(stored, network, inputs, bits, ROUNDERS[self.rounding], self.granularity)
        return _compact(stored, network) if self.compact else stored


def _compact(stored: Compressed, network: nn.Module) -> Compressed:
    """Parameters that are float32 in 8 bits, on even levels a tensor, and codes by Huffman's code, each where that
    makes the file smaller; what is no parameter, an index say, stays.
    """

    def other(encoding: Encoding) -> Encoding:
        if not isinstance(encoding, Dense):
            return coded(encoding)
        return rounded(encoding.decode(), "uniform", 8) if prod(encoding.shape) else encoding

    names = [name for name, _ in network.named_parameters(remove_duplicate=False)]
    return stored.smallest_with({name: other(stored.tensors[name]) for name in names})
