"""Multi-point quantization after training: a weight as a sum of low-precision numbers (Liu et al. 2020).

"Post-training Quantization with Multiple Points: Mixed Precision without Mixed Precision", arXiv 2002.09049. The
weights of an output channel become w ≈ Σ aᵢ·qᵢ, each qᵢ on the symmetric uniform grid of 2^b − 1 levels in [−1, 1],
each the best for what the ones before it left over. Channels whose error shows in the layer's output get more points.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgepress.codebooks import code_type
from edgepress.datasets import Prepared
from edgepress.encodings import Encoding, MultiPoint
from edgepress.graph import Layer, weight_names
from edgepress.levels import Level, asked
from edgepress.methods import Method, calibration_inputs
from edgepress.networks import compressible, layer_of
from edgepress.packing import Compressed

METHODS = {
    "*": {
        "object": "Points",
        "family": "multipoint",
        "sweep": "bits",
        "codebook": "symmetric",
        "granularity": "channel",
    },
    "multipoint": {
        "about": "sums of points of b bits, 1 to 4 a channel: more until the layer's output is within 1 % in power",
        "examples": True,
        "args": {"points": 4, "tolerance": 0.01},
    },
    "multipoint_fixed": {
        "about": "sums of two points of b bits, each best for what the one before it left over",
        "args": {"points": 2},
    },
}
_BLOCK = 1 << 17  # weights at a time: they stay in the second-level cache


def best_point(residual: Tensor, bits: int, candidates: int = 64) -> tuple[Tensor, Tensor]:
    """The point that leaves least of each row, of those that rounding at some scales gives.

    ``residual`` is float32 of shape (rows, entries), ``bits`` at least 2. The paper tries q = [r/a] at a = γ, 2γ, … up
    to 2(2^(b−1) − 1)‖r‖∞, beyond which q is 0. Here a stays below 2‖r‖∞, which loses nothing: from there on a/2
    reaches every weight, too, and its grid has the levels of a's and more. The paper's γ, at most the smallest gap
    between two weights over 2^(b−1) − 1, would be millions of scales in any large layer; here it is
    ‖r‖∞/``candidates``, so 2·``candidates`` − 1 scales at every b. In exchange, each q is judged at, and gets, its
    least-squares scale ⟨r, q⟩/⟨q, q⟩.

    Returns steps, shape (rows,), and levels, whole numbers from −K to K = 2^(b−1) − 1 of the shape of ``residual``,
    both float32: a·q is step · level. Both are 0 where the row is.
    """
    steps, levels = torch.empty(len(residual)), torch.empty_like(residual)
    size = max(1, _BLOCK // max(1, residual.shape[1]))
    for first in range(0, len(residual), size):
        rows = slice(first, first + size)
        steps[rows] = _best_in_block(residual[rows], (1 << bits - 1) - 1, candidates, levels[rows])
    return steps, levels


def _best_in_block(residual: Tensor, largest_level: int, candidates: int, levels: Tensor) -> Tensor:
    """``best_point`` of a few rows: writes their ``levels`` and returns their steps."""
    reach = residual.abs().amax(dim=1)
    unit = residual / reach.clamp(min=torch.finfo(torch.float32).tiny)[:, None]
    left = torch.empty_like(unit)

    def least_squares_steps(levels_per_unit: Tensor) -> Tensor:
        torch.mul(unit, levels_per_unit, out=levels).round_().clamp_(-largest_level, largest_level)
        steps: Tensor = torch.linalg.vecdot(unit, levels) / torch.linalg.vecdot(levels, levels).clamp_(min=1)
        return steps

    least, chosen = torch.full_like(reach, torch.inf), torch.zeros_like(reach)
    for multiple in range(1, 2 * candidates):
        scale = torch.tensor(largest_level * candidates / multiple)
        steps = least_squares_steps(scale)
        torch.addcmul(unit, levels, steps[:, None], value=-1, out=left)
        error = torch.linalg.vector_norm(left, dim=1)
        chosen = torch.where(error < least, scale, chosen)
        least = torch.minimum(error, least)
    return least_squares_steps(chosen[:, None]).mul_(reach)


def sum_of_points(
    weights: Tensor,
    bits: int,
    most: int,
    enough: Callable[[Tensor], Tensor] | None = None,
    candidates: int = 64,
) -> MultiPoint:
    """Approximate ``weights``, of shape (channels, …), by ``most`` points a channel, chosen greedily.

    With ``enough``, a channel gets no further point once that says so: it takes what the points so far leave over, of
    the shape of ``weights``, and returns bool of shape (channels,). Every channel has at least one point.

    Raises ValueError where there are no weights, or some are NaN or infinite, or ``bits`` is not between 2 and 16.
    """
    if not weights.numel() or not bool(weights.isfinite().all()):
        raise ValueError("weights that are none, NaN or infinite are no sum of points")
    residual = weights.detach().to("cpu", torch.float32, copy=True).reshape(len(weights), -1)
    wanted = torch.ones(len(weights), dtype=torch.bool)
    counts = torch.zeros(len(weights), dtype=torch.int64)
    points: list[tuple[Tensor, Tensor]] = []
    for _ in range(most):
        if points and enough is not None:
            wanted &= ~enough(residual.reshape(weights.shape))
        if not bool(wanted.any()):
            break
        steps, levels = best_point(residual[wanted], bits, candidates)
        residual[wanted] -= steps[:, None] * levels
        points.append((steps, levels.add_((1 << bits - 1) - 1).to(code_type(bits)).reshape(-1)))
        counts += wanted
    lengths = torch.full_like(counts, residual.shape[1])
    steps, codes = (torch.cat(parts) for parts in zip(*points, strict=True))
    return MultiPoint(tuple(weights.shape), bits, counts, lengths, steps, codes)


def output_power(layer: Layer, inputs: Tensor, weights: Tensor) -> Tensor:
    """The mean square of each output channel of a Linear or Conv layer with ``weights`` and without its bias.

    ``inputs`` has shape (rows, …); the result is float32 of shape (channels,).
    """
    if isinstance(layer, nn.Linear):
        return F.linear(inputs, weights).square_().flatten(0, -2).mean(dim=0)
    outputs: Tensor = layer._conv_forward(inputs, weights, None)
    return outputs.square_().transpose(0, 1).flatten(1).mean(dim=1)


@torch.no_grad()
def visit_layers(network: nn.Module, inputs: Tensor, visit: Callable[[str, Layer, Tensor], None]) -> None:
    """Run ``network`` on ``inputs``, in evaluation mode, and call ``visit`` at each Linear and Conv layer.

    ``visit`` gets the name of the layer's weight tensor, the layer and its input, again where a layer is used again.
    ``network`` is left as it is.
    """
    network = copy.deepcopy(network).eval()
    for own_name, name in weight_names(network).items():

        def hook(layer: Layer, args: tuple[Tensor, ...], named: dict[str, Tensor], _: Tensor, name: str = name) -> None:
            visit(name, layer, *args, *named.values())

        layer_of(network, own_name).register_forward_hook(hook, with_kwargs=True)
    network(inputs)


@dataclass(frozen=True)
class Points(Method):
    """Store the weights of Linear and Conv layers as sums of points; biases and norms stay float32.

    Without a ``tolerance`` every channel gets the same number of ``points``. With one, a channel gets another point,
    ``points`` at most, while its output on the calibration data is wrong by more than ``tolerance`` times the mean
    power of the layer's outputs: so the layer's error is under that share of its power, and a channel that matters
    little gets few points. The inputs of a layer are those of the network as it was; a layer that it does not use stays
    as it is stored.
    """

    points: int
    tolerance: float | None = None
    candidates: int = 64  # scales tried up to the largest weight, and again as many, but one, up to twice that

    def skip(self, network: nn.Module, data: Prepared, level: Level) -> str | None:
        return "at 1 bit a symmetric grid has one level, which is 0" if level.bits == 1 else None

    def apply(
        self, stored: Compressed, network: nn.Module, data: Prepared, level: Level, generator: torch.Generator
    ) -> Compressed:
        tensors: dict[str, Encoding] = {}

        def add(name: str, enough: Callable[[Tensor], Tensor] | None = None) -> None:
            before = stored.tensors[name]
            points = sum_of_points(before.decode(), asked(level.bits), self.points, enough, self.candidates)
            tensors[name] = points if before.mask is None else points.masked(before.mask)

        def add_for_output(name: str, layer: Layer, inputs: Tensor) -> None:
            if name not in tensors and self.tolerance is not None:
                allowed = self.tolerance * output_power(layer, inputs, layer.weight).mean()
                add(name, lambda residual: output_power(layer, inputs, residual) <= allowed)

        if self.tolerance is None:
            for name in compressible(network):
                add(name)
        else:
            visit_layers(network, calibration_inputs(data), add_for_output)
        return stored.with_tensors(tensors)
