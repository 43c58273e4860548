"""How the values of a tensor are distributed: quantiles without sorting it all, and a smooth density."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

_BINS = 1 << 12


def smooth_density(weights: Tensor) -> tuple[Tensor, float, float]:
    """A Gaussian kernel density estimate in 4,096 bins, with where they start and end.

    The bandwidth is Scott's, std · n^(−1/5); the sum over weights is a convolution, by Fourier transform
    (Silverman 1982). A constant tensor has all its density around its value.
    """
    values = weights.detach().reshape(-1).to(torch.float64)
    low, high = (float(end) for end in torch.aminmax(values))
    width = float(values.std(correction=0)) * values.numel() ** -0.2 or abs(low) * 1e-6 or 1e-6
    start, end = low - 4 * width, high + 4 * width
    counts = torch.histc(values, _BINS, start, end)
    spacing = (end - start) / _BINS
    frequency = torch.fft.rfftfreq(2 * _BINS, spacing, dtype=torch.float64)  # padded against wrapping around
    kernel = torch.exp(-((2 * torch.pi * frequency * width) ** 2) / 2)
    smooth = torch.fft.irfft(torch.fft.rfft(counts, 2 * _BINS) * kernel)
    return smooth[:_BINS].clamp_(min=0), start, end


def quantiles_of(density: Tensor, start: float, end: float, shares: Tensor) -> Tensor:
    """Where a density, given in bins of equal width from ``start`` to ``end``, has ``shares`` of its mass below."""
    bins = density.numel()
    cumulative = torch.cat([torch.zeros(1, dtype=torch.float64), density.cumsum(0)]) / density.sum()
    right = torch.searchsorted(cumulative, shares).clamp_(1, bins)
    mass = (cumulative[right] - cumulative[right - 1]).clamp_(min=torch.finfo(torch.float64).tiny)
    return start + (end - start) / bins * (right - 1 + (shares - cumulative[right - 1]) / mass)


def tukey_fences(weights: Tensor) -> tuple[float, float]:
    """Q1 − 1.5·IQR and Q3 + 1.5·IQR, quartiles as the midpoint of the two order statistics around them."""
    flat = weights.detach().reshape(-1)
    q1, q3 = (_midpoint_quantile(flat, share) for share in (0.25, 0.75))
    return q1 - 1.5 * (q3 - q1), q3 + 1.5 * (q3 - q1)


def _midpoint_quantile(flat: Tensor, share: float) -> float:
    place = share * (flat.numel() - 1)
    ranks = [math.floor(place), math.ceil(place)]
    values = np.partition(flat.to("cpu", torch.promote_types(flat.dtype, torch.float32)).numpy(), ranks)[ranks]
    return float(values.astype(np.float64).mean())
