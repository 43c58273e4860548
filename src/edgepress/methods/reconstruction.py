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

from edgepress.codebooks import Symmetric, code_type, least_error_steps
from edgepress.datasets import Prepared
from edgepress.encodings import Dense, Encoding, PerChannel, Quantized
from edgepress.encodings.channels import in_eight_bits
from edgepress.encodings.huffman import coded
from edgepress.graph import Layer
from edgepress.levels import Level, asked
from edgepress.methods import Method, calibration_inputs, must_come_first
from edgepress.methods.input_hessians import Hessian, dense, feedback, input_hessian
from edgepress.methods.layer_by_layer import LayerByLayer, needs_called_layers
from edgepress.methods.rounding import rounded
from edgepress.networks import compressible, layer_of
from edgepress.packing import Compressed

METHODS = {
    "*": {
        "object": "Reconstruction",
        "family": "reconstruction",
        "sweep": "bits",
        "codebook": "symmetric",
        "granularity": "channel",
        "examples": True,
    },
    "bias_corrected": {
        "about": "`nearest_symmetric_channel` whose biases make up for the mean error of each channel's output",
        "options": {"bias": "corrected"},
    },
    "gptq": {
        "about": "weights rounded one by one, those to come making up for the error in the layer's output (GPTQ)",
        "rounding": "gptq",
    },
    "gptq_tensor": {
        "about": "`gptq` with one step for a whole tensor, which takes fewer bytes",
        "rounding": "gptq",
        "granularity": "tensor",
    },
    "gptq_compact": {
        "about": "`gptq` with steps and biases in 8 bits and codes by Huffman's: the smallest file",
        "rounding": "gptq",
        "args": {"compact": True},
    },
    "adaround": {
        "about": "whether a weight goes up or down is learned from the layer's output (AdaRound)",
        "family": "adaround",
        "rounding": "adaround",
    },
    "adaround_tensor": {
        "about": "`adaround` with one step for a whole tensor, which takes fewer bytes",
        "family": "adaround",
        "rounding": "adaround",
        "granularity": "tensor",
    },
}
_BLOCK = 128
_STEPS = 200
_PENALTY = 20  # for a channel of weights that are neither down nor up, in errors of rounding it to the nearest

# Rounds weights to whole steps: (weights in steps, H, lowest level, highest level) → levels. Weights have the shape
# (groups, channels, inputs) and H (groups, inputs, inputs).
Rounder = Callable[[Tensor, Hessian, int, int], Tensor]

# What has a step: the whole tensor, or each output channel, in float32 or in 8 bits.
Granularity = Literal["tensor", "channel", "channel_e4m3"]


def nearest(position: Tensor, hessian: Hessian, lowest: int, highest: int) -> Tensor:
    """The nearest level, whatever the layer's inputs."""
    return position.round().clamp(lowest, highest)


def gptq(position: Tensor, hessian: Hessian, lowest: int, highest: int) -> Tensor:
    """Round input by input, the one with the largest mean square first, and let the inputs to come make up for it.

    With R upper triangular and H = RRᵀ, the error of the output is ‖ΔW R‖². Its column k depends on weights up to k
    alone, so weight k is rounded after subtracting Σ_{i<k} ΔW_i R_ik / R_kk. This is the compensation of GPTQ (Frantar
    et al. 2023, arXiv 2210.17323) without inverting H, as in LDLQ (Chee et al. 2023, arXiv 2307.13304). The sum over
    earlier blocks is one matrix product a block.

    For c channels of n weights, R takes n³/3 operations and the sums c·n².
    """
    # Inputs are in reverse order: then R is the lower Cholesky factor, and the last input is rounded first.
    order = hessian.diagonal(dim1=1, dim2=2).argsort(dim=1, descending=True).flip(1)
    group = torch.arange(len(order))[:, None]
    block = feedback(hessian, order)
    exact = position.mT[group, order]  # inputs first: the channels of one input lie side by side
    levels, delta = torch.empty_like(exact), torch.empty_like(exact)
    inputs = exact.shape[1]
    for last in range(inputs, 0, -_BLOCK):
        first = max(0, last - _BLOCK)
        inner, outer = block(first, last, delta)
        target = exact[:, first:last] - outer
        for j in reversed(range(last - first)):
            k = slice(first + j, first + j + 1)
            here = target[:, j : j + 1].baddbmm_(inner[:, j : j + 1, j + 1 :], delta[:, k.stop : last], alpha=-1)
            torch.clamp(here.round_(), lowest, highest, out=levels[:, k])
            torch.sub(levels[:, k], exact[:, k], out=delta[:, k])
    result = torch.empty_like(levels)
    result[group, order] = levels
    return result.mT


def adaround(position: Tensor, hessian: Hessian, lowest: int, highest: int) -> Tensor:
    """Learn whether each weight goes down or up, by gradient descent on ΔW H ΔWᵀ.

    A weight is ⌊w⌋ + h with h = clamp(1.2·σ(v) − 0.1, 0, 1); a penalty ``1 − |2h − 1|^β``, β falling from 20 to 2,
    drives h to 0 or 1 (Nagel et al. 2020, arXiv 2004.10568). The paper draws batches of inputs; here H has them all,
    so each step is exact. The error is counted in that of rounding to the nearest, which is kept for channels where
    nothing better is found. At the end, single decisions are reversed while that lowers the error (``descend``); so
    200 steps do what takes 1,000 without it.

    For c channels of n weights a step takes 2·c·n² operations.
    """
    floor, plain = position.floor(), nearest(position, hessian, lowest, highest)
    low = floor.clamp(lowest, highest)
    choice = (floor + 1).clamp(lowest, highest) - low
    plain_error = _output_error(plain - position, hessian)
    unit = plain_error.clamp_min(1e-12)
    v = torch.logit(((position - floor).clamp(0.01, 0.99) + 0.1) / 1.2)
    optimizer = torch.optim.Adam([v], lr=0.2, betas=(0.9, 0.99))
    for step in range(_STEPS):
        progress = step / _STEPS
        beta = 2 + 18 * (1 - (progress - 0.2) / 0.8) if progress > 0.2 else None
        v.grad = adaround_gradient(v, low - position, choice, hessian, unit, beta)
        optimizer.step()
    learned = low + choice * (v > 0)
    better = _output_error(learned - position, hessian) < plain_error
    return descend(torch.where(better[:, :, None], learned, plain), position, hessian, low, choice)


def adaround_gradient(
    v: Tensor, below: Tensor, choice: Tensor, hessian: Hessian, unit: Tensor, beta: float | None
) -> Tensor:
    """The gradient by ``v`` of Σ ΔW H ΔWᵀ / ``unit`` and of the penalty with exponent ``beta``, None for no penalty.

    ΔW is ``below`` + ``choice``·h(v), each of shape (groups, channels, inputs); ``unit`` has shape (groups, channels).
    It takes one product with H, where automatic differentiation takes two.
    """
    sigmoid = v.sigmoid()
    share = 1.2 * sigmoid - 0.1
    moves = (share >= 0) & (share <= 1)
    share.clamp_(0, 1)
    gradient = torch.addcmul(below, choice, share) @ hessian
    gradient.mul_(choice).mul_(2 / unit[:, :, None])
    if beta is not None:
        signed = 2 * share - 1
        gradient.sub_(signed.abs().pow_(beta - 1).mul_(signed.sign_()), alpha=2 * beta * _PENALTY / v.shape[2])
    gradient.mul_(sigmoid.mul_(1 - sigmoid)).mul_(moves).mul_(1.2)
    return gradient


def descend(levels: Tensor, position: Tensor, hessian: Hessian, low: Tensor, choice: Tensor) -> Tensor:
    """Reverse decisions, in each channel the one that lowers ΔW H ΔWᵀ most, until none lowers it.

    A weight is at ``low`` or at ``low`` + ``choice``; all are of shape (groups, channels, inputs). Changing a weight by
    d changes the error by 2d·(ΔW H)_j + d²·H_jj, so ΔW H is kept and a change adds one row of H to it.
    """
    hessian, delta = dense(hessian), levels - position
    slope = (delta @ hessian).flatten(0, 1)
    tolerance = 1e-6 * _output_error(delta, hessian).flatten()
    change = (2 * low + choice - 2 * levels).flatten(0, 1)  # to the other level
    group = torch.arange(len(levels)).repeat_interleave(levels.shape[1])
    diagonal = hessian.diagonal(dim1=1, dim2=2)
    result = levels.flatten(0, 1).clone()
    channels = torch.arange(len(result))
    for _ in range(4 * levels.shape[2]):  # a bound that rounding errors cannot pass
        most, at = (change * diagonal[group]).add_(slope, alpha=2).mul_(change).min(dim=1)
        lower = most < -tolerance
        if not bool(lower.all()):
            slope, change, tolerance = slope[lower], change[lower], tolerance[lower]
            group, channels, at = group[lower], channels[lower], at[lower]
        if not len(channels):
            break
        step = change.gather(1, at[:, None])
        slope.addcmul_(hessian[group, at], step)
        change.scatter_(1, at[:, None], -step)
        result[channels, at] += step[:, 0]
    return result.reshape(levels.shape)


ROUNDERS: dict[str, Rounder] = {"nearest": nearest, "gptq": gptq, "adaround": adaround}


def _output_error(delta: Tensor, hessian: Hessian) -> Tensor:
    """ΔW H ΔWᵀ of each channel: the mean square of what its output is off."""
    return ((delta @ hessian) * delta).sum(dim=2)


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

    There is one scale per channel or tensor (``granularity``), the one of least squared error.
    ``compact`` stores what is not a weight in 8 bits, too, steps as they are chosen and biases at the end, and codes by
    Huffman's code, each where that makes the file smaller.
    """

    rounding: Literal["nearest", "gptq", "adaround"]
    granularity: Literal["tensor", "channel"] = "channel"
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
        granularity: Granularity = "channel_e4m3" if self.compact else self.granularity
        stored = reconstruct(stored, network, inputs, bits, ROUNDERS[self.rounding], granularity)
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
