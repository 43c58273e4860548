"""The study's pruning: by rank among the distinct magnitudes of a tensor, not by count."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

SPARSITIES = (*(round(0.05 * k, 2) for k in range(11)), 0.6, 0.7, 0.8, 0.9, 0.95, 0.97, 0.99)


def prune_by_rank(weights: Tensor, share: float) -> Tensor:
    """Zero the weights whose dense rank, counted from 0 for the smallest magnitude, is ≤ ceil(largest rank · share).

    So at least one weight is removed, and many if magnitudes repeat, as after rounding to few values.
    """
    magnitudes, ranks = np.unique(np.abs(weights.detach().numpy()), return_inverse=True)
    threshold = np.ceil((len(magnitudes) - 1) * share)
    kept = torch.from_numpy(ranks.reshape(weights.shape) > threshold)
    return torch.where(kept, weights, torch.zeros_like(weights))


def magnitude(state: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """Prune every entry of ``state``, biases included, except the last one."""
    *names, last = state
    return {**{name: prune_by_rank(state[name], share) for name in names}, last: state[last].clone()}
