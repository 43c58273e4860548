"""The study's multi-point quantization, after Liu et al. 2020 (arXiv 2002.09049), tensor by tensor."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from edgepress.as_published.codebooks import Randomness, linspace

MULTIPOINT_BITS = (8, 6, 4, 2)  # in the study's order
SMALLEST_STEP = 1 / 512
CANDIDATES = 100


def multipoint(state: dict[str, Tensor], bits: int, generator: Randomness) -> dict[str, Tensor]:
    """Replace the weights of ``state`` by sums of bits + 1 vectors, except its first and last parameter.

    ``bits`` is at least 2. Biases and buffers are unchanged; every parameter not called ``.bias`` counts as a weight,
    including those of norms.
    """
    parameters = [name for name in state if name.endswith((".weight", ".bias"))]
    points = [name for name in parameters[1:-1] if not name.endswith(".bias")]
    return {n: sum_of_points(t, bits, generator) if n in points else t.clone() for n, t in state.items()}


def sum_of_points(weights: Tensor, bits: int, generator: Randomness) -> Tensor:
    """w ≈ Σ aᵢ·qᵢ over bits + 1 vectors, each the best for the residual of those before it; float32, same shape.

    qᵢ are values of one grid, max(w)·linspace(−1, 1, 2^b − 1) + mean(w). The scale aᵢ is the best of at most 100 drawn
    without replacement from the multiples jγ, j ≤ int((2^b − 2)·‖r‖∞) + 1, where γ is half the smallest gap between the
    residual's magnitudes over 2^(b−1) − 1, but at least 1/512: too few and too small to reach w at 4 bits and below. If
    a residual has only one magnitude there is no gap, and the result is NaN.
    """
    grid = torch.from_numpy(linspace(-1, 1, (1 << bits) - 1)) * weights.max() + weights.mean()
    residual = weights.detach()
    points = []
    for _ in range(bits + 1):
        scale = _best_scale(residual, grid, bits, generator)
        points.append(scale * _on_grid(residual / scale, grid))
        residual = residual - points[-1]
    return torch.stack(points).sum(dim=0)


def _best_scale(residual: Tensor, grid: Tensor, bits: int, generator: Randomness) -> float:
    gaps = np.diff(np.unique(residual.abs().numpy()))
    step = max(float(gaps.min(initial=np.inf)) / 2 / ((1 << (bits - 1)) - 1), SMALLEST_STEP)
    count = int(((1 << bits) - 2) * float(residual.abs().max())) + 1
    scales = generator.choice(np.arange(1, count + 1) * step, size=min(CANDIDATES, count), replace=False)
    errors = [float(torch.linalg.vector_norm(residual - a * _on_grid(residual / a, grid))) for a in scales]
    return float(scales[int(np.argmin(errors))])


def _on_grid(values: Tensor, grid: Tensor) -> Tensor:
    """Round to the nearest grid value, ties up, except down at (or within rounding of) the last midpoint."""
    levels = grid.numpy().astype(np.float64)
    middles = (levels[1:] + levels[:-1]) / 2
    flat = values.numpy().reshape(-1)
    places = np.digitize(flat, middles)
    digits = int(-np.log10(np.diff(middles).min())) + 6
    places -= np.around(flat, digits) == np.around(middles[-1], digits)
    return grid[torch.from_numpy(places)].reshape(values.shape)
