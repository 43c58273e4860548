"""Codebooks and rounding of the study, with the arithmetic of 2020.

A codebook is a float64 array of 2^bits values. Weights at or beyond the smallest and largest value become its FIRST and
LAST entry. Values are float32 except in ``normal``, comparisons are float64. A random number is drawn for a weight only
if it does not equal a value, so ``linspace`` must reproduce that of 2020 exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor

BITS = (16, 12, 10, 8, 6, 4)
Randomness = np.random.RandomState | np.random.Generator
Levels = np.ndarray


def linspace(start: float, end: float, steps: int) -> np.ndarray:
    """``torch.linspace`` of PyTorch 1.6 and 1.7 on AVX2: float32 of shape (steps,), ``steps`` at least 2.

    It works on eight values at a time. The first comes from ``start`` (in the second half from ``end``) by one fused
    multiply-add, the others add multiples of the increment. The remainder after multiples of sixteen is done one by
    one.
    """
    low, high = np.float32(start), np.float32(end)
    step = (high - low) / np.float32(steps - 1)
    place = np.arange(steps)
    lead = np.where(place < steps - steps % 16, place - place % 8, place)
    # Float32 products and sums in float64, rounded once, emulate the fused operation.
    wide_step = np.float64(step)
    base = np.where(lead < steps // 2, low + wide_step * lead, high - wide_step * (steps - 1 - lead))
    return base.astype(np.float32) + step * (place - lead).astype(np.float32)


def fences(weights: Tensor) -> tuple[float, float]:
    """Q1 − 1.5·IQR and Q3 + 1.5·IQR in float64, quartiles as the midpoint of the two order statistics around them."""
    ordered = np.sort(_flat(weights)).astype(np.float64)
    places = np.array([0.25, 0.75]) * (len(ordered) - 1)
    q1, q3 = (ordered[np.floor(places).astype(int)] + ordered[np.ceil(places).astype(int)]) / 2
    return q1 - 1.5 * (q3 - q1), q3 + 1.5 * (q3 - q1)


def uniform(weights: Tensor, bits: int) -> Levels:
    """Evenly spaced from the smallest weight to the largest."""
    flat = _flat(weights)
    return linspace(flat.min(), flat.max(), 1 << bits).astype(np.float64)


def uniform_iqr(weights: Tensor, bits: int) -> Levels:
    """Evenly spaced between Tukey's fences."""
    return linspace(*fences(weights), 1 << bits).astype(np.float64)


def normal(weights: Tensor, bits: int) -> Levels:
    """Normal quantiles at linspace(0, 1, 2^b) without its ends; then the smallest and the largest weight, unsorted.

    So the smallest weight becomes the first quantile. Mean and sample standard deviation are rounded to float32. The
    study summed in float32 in an unknown order, which differs by up to a unit in the last place and changes its losses
    by 1e-5 if weights are large (mv).
    """
    flat = _flat(weights)
    wide = flat.astype(np.float64)
    mean, std = np.float32(wide.mean()), np.float32(wide.std(ddof=1))
    quantiles = ndtri(np.linspace(0, 1, 1 << bits)[1:-1]) * np.float64(std) + np.float64(mean)
    return np.append(quantiles, [flat.min(), flat.max()])


def histogram(weights: Tensor, bits: int) -> Levels:
    """Midpoints of 2^b equal bins: edges are computed in float64 and rounded to float32, as are their sums."""
    flat = _flat(weights).astype(np.float64)
    edges = np.linspace(flat.min(), flat.max(), (1 << bits) + 1).astype(np.float32)
    return (edges[:-1] + edges[1:]).astype(np.float64) / 2


# In the study's order.
CODEBOOKS: dict[str, Callable[[Tensor, int], Levels]] = {
    "uniform": uniform,
    "uniform_iqr": uniform_iqr,
    "normal": normal,
    "histogram": histogram,
}


def nearest(weights: Tensor, levels: Levels) -> Tensor:
    """Round each weight to the nearest value, ties up; float32 of the same shape."""
    values, below, above = _neighbours(weights, levels)
    return _with_ends(weights, levels, np.where(values - below < above - values, below, above))


def stochastic(weights: Tensor, levels: Levels, generator: Randomness) -> Tensor:
    """Round each weight to the value below it with probability (above − w)/(above − below), else to the one above.

    One Bernoulli number is drawn for each weight strictly between two values, in row-major order. Returns float32 of
    the same shape.
    """
    values, below, above = _neighbours(weights, levels)
    inside = (values > levels.min()) & (values < levels.max()) & (below < above)
    share = (above[inside] - values[inside]) / (above[inside] - below[inside])
    chosen = above.copy()
    chosen[inside] = np.where(generator.binomial(1, share), below[inside], above[inside])
    return _with_ends(weights, levels, chosen)


def midrise(weights: Tensor, bits: int) -> Tensor:
    """Δ(⌊w/Δ⌋ + ½) with Δ = (max − min)/2^b, not clamped, so up to 2^b + 1 values; float32 of the same shape.

    If dimension 0 has length 1, Δ = w/2^b elementwise, and a weight of 0 becomes NaN.
    """
    return _midrise(weights, bits, weights.max() - weights.min())


def midrise_iqr(weights: Tensor, bits: int) -> Tensor:
    """``midrise`` with Δ from Tukey's fences, without clipping; all NaN if the fences coincide, as for two elements."""
    low, high = fences(weights)
    return _midrise(weights, bits, torch.tensor(high - low, dtype=torch.float64))


def round_state(
    state: dict[str, Tensor], codebook: str, bits: int, generator: Randomness | None = None
) -> dict[str, Tensor]:
    """Round weights and biases to one codebook per module, fitted to both; buffers are unchanged.

    Rounds to nearest, or stochastically with a ``generator``, which is used in the order of ``state``. Parameters of
    one module must be adjacent in ``state``.
    """
    rounded: dict[str, Tensor] = {}
    for _, names in groupby(state, key=lambda name: name.rpartition(".")[0]):
        module = {name: state[name] for name in names}
        parameters = {n: t for n, t in module.items() if n.endswith((".weight", ".bias"))}
        if parameters:
            levels = CODEBOOKS[codebook](torch.cat([t.flatten() for t in parameters.values()]), bits)
        for name, tensor in module.items():
            if name not in parameters:
                rounded[name] = tensor.clone()
            else:
                rounded[name] = nearest(tensor, levels) if generator is None else stochastic(tensor, levels, generator)
    return rounded


def _flat(weights: Tensor) -> np.ndarray:
    return weights.detach().reshape(-1).to(torch.float32).numpy()


def _neighbours(weights: Tensor, levels: Levels) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The weights, and for each the largest value ≤ and the smallest value ≥ it, float64; clamped to the ends."""
    values = _flat(weights).astype(np.float64)
    ascending = np.sort(levels)
    below = ascending[np.searchsorted(ascending, values, side="right").clip(1) - 1]
    above = ascending[np.searchsorted(ascending, values, side="left").clip(max=len(levels) - 1)]
    return values, below, above


def _with_ends(weights: Tensor, levels: Levels, rounded: np.ndarray) -> Tensor:
    values = _flat(weights)
    rounded = np.where(values <= levels.min(), levels[0], np.where(values >= levels.max(), levels[-1], rounded))
    return torch.from_numpy(rounded.astype(np.float32)).reshape(weights.shape)


def _midrise(weights: Tensor, bits: int, width: Tensor) -> Tensor:
    step = (weights if weights.shape[0] == 1 else width) / (1 << bits)
    step = step.to(torch.float32)
    return step * (torch.floor(weights / step) + 0.5)
