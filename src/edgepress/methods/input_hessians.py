"""H = E[xxᵀ] of a layer's inputs, and the triangular factors that rounding one input after another takes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_DAMPING = 0.01  # of the mean of H's diagonal, added to it: inputs that calibration did not see
_POSITIONS = 1 << 14  # of a layer's output at a time, when H is summed up


@dataclass(frozen=True)
class LowRank:
    """H = XXᵀ + λI where X has fewer columns than rows: products with it are cheaper than with the matrix.

    ``columns`` is X, shape (groups, inputs, columns), and ``damping`` is λ, shape (groups,).
    """

    columns: Tensor
    damping: Tensor

    def __rmatmul__(self, left: Tensor) -> Tensor:
        """``left @ self`` for a tensor of shape (groups, rows, inputs)."""
        return torch.addcmul((left @ self.columns) @ self.columns.mT, left, self.damping[:, None, None])

    def diagonal(self, dim1: int = 1, dim2: int = 2) -> Tensor:
        """The diagonal of each H, shape (groups, inputs)."""
        return self.columns.square().sum(dim=2) + self.damping[:, None]


# Of shape (groups, inputs, inputs).
Hessian = Tensor | LowRank

# (first, last, ΔW) → what inputs first … last − 1 subtract: a factor for each other, and the sum for those from last on
Feedback = Callable[[int, int, Tensor], tuple[Tensor, Tensor]]


def input_hessian(layer: nn.Linear | nn.Conv2d, inputs: Tensor) -> Hessian:
    """E[xxᵀ] of what each output of a layer sees, damped: float32, shape (groups, inputs, inputs).

    ``inputs`` has shape (rows, …). Of a convolution, each position of its output is an example. It is kept as
    ``LowRank`` where it has at least four times as many inputs as examples.
    """
    if isinstance(layer, nn.Linear):
        groups, size, per_row = 1, layer.in_features, inputs[0].numel() // layer.in_features
    else:
        groups, size, per_row = layer.groups, layer.weight[0].numel(), layer(inputs[:1])[0, 0].numel()
    examples = len(inputs) * per_row
    if 4 * examples <= size:  # sooner, and a factor for each block would take longer than one of H
        columns = _columns(layer, inputs, groups) / examples**0.5
        return LowRank(columns, _damping(columns.square().sum(dim=2)))
    total = torch.zeros(groups, size, size)
    for batch in inputs.split(max(1, _POSITIONS // per_row)):
        columns = _columns(layer, batch, groups)
        total += columns @ columns.mT
    diagonal = total.div_(examples).diagonal(dim1=1, dim2=2)
    diagonal += _damping(diagonal)[:, None]
    return total


def _columns(layer: nn.Linear | nn.Conv2d, inputs: Tensor, groups: int) -> Tensor:
    """What each output multiplies with its row of weights: shape (groups, inputs of an output, examples)."""
    if isinstance(layer, nn.Linear):
        return inputs.reshape(1, -1, layer.in_features).mT
    padded = F.pad(inputs, layer._reversed_padding_repeated_twice)  # its padding may be a word, "same" say
    columns = F.unfold(padded, layer.kernel_size, layer.dilation, stride=layer.stride)
    grouped: Tensor = columns.unflatten(1, (groups, -1))
    return grouped.permute(1, 2, 0, 3).flatten(2)


def _damping(diagonal: Tensor) -> Tensor:
    return _DAMPING * diagonal.mean(dim=1).clamp_min(1e-8)


def dense(hessian: Hessian) -> Tensor:
    """The matrix itself."""
    if isinstance(hessian, Tensor):
        return hessian
    matrix = hessian.columns @ hessian.columns.mT
    matrix.diagonal(dim1=1, dim2=2).add_(hessian.damping[:, None])
    return matrix


def feedback(hessian: Hessian, order: Tensor) -> Feedback:
    """What rounding the inputs in ``order``, shape (groups, inputs), the last one first, subtracts from each weight.

    With L the lower Cholesky factor of H in that order, weight k subtracts Σ_{i>k} ΔW_i L_ik / L_kk. The function
    returned gives L_ik / L_kk within a block, shape (groups, k, i), and the sum over all i behind the block, shape
    (groups, k, channels), for ΔW of shape (groups, inputs, channels). Call it once for each block, the last one first.
    """
    group = torch.arange(len(order))[:, None]
    if isinstance(hessian, LowRank):
        return _LowRankFeedback(hessian.columns[group, order], hessian.damping)
    factor = torch.linalg.cholesky(hessian[group[:, :, None], order[:, :, None], order[:, None, :]])
    scale = factor.diagonal(dim1=1, dim2=2)

    def block(first: int, last: int, delta: Tensor) -> tuple[Tensor, Tensor]:
        weights = (factor[:, first:, first:last] / scale[:, None, first:last]).mT
        inner = weights[:, :, : last - first].contiguous()
        return inner, weights[:, :, last - first :] @ delta[:, last:]

    return block


class _LowRankFeedback:
    """The same for H = XXᵀ + λI, from one factor per block that is as large as X has columns.

    Let F be the inputs before block B, which are rounded after it. Eliminating F from H leaves λI + X_B P in the block
    and X_D P between it and the inputs D behind it, with P = λ(λI + X_FᵀX_F)⁻¹ X_Bᵀ. X_FᵀX_F is found by subtraction,
    hence float64.
    """

    def __init__(self, columns: Tensor, damping: Tensor) -> None:
        self.columns, self.damping = columns.double(), damping.double()[:, None, None]
        self.gram = self.columns.mT @ self.columns + self._ridge(columns.shape[2])
        self.behind: Tensor | float = 0.0  # X_Dᵀ ΔW_D
        self.block = slice(0)

    def __call__(self, first: int, last: int, delta: Tensor) -> tuple[Tensor, Tensor]:
        self.behind = self.behind + self.columns[:, self.block].mT @ delta[:, self.block].double()
        self.block = slice(first, last)
        own = self.columns[:, self.block]
        self.gram -= own.mT @ own
        pull = self.damping * torch.cholesky_solve(own.mT, torch.linalg.cholesky(self.gram))
        factor = torch.linalg.cholesky(own @ pull + self._ridge(last - first))
        total = torch.linalg.solve_triangular(factor, pull.mT @ self.behind, upper=False)
        scale = factor.diagonal(dim1=1, dim2=2)
        inner = (factor / scale[:, None]).mT.contiguous()
        return inner.to(delta.dtype), (total / scale[:, :, None]).to(delta.dtype)

    def _ridge(self, size: int) -> Tensor:
        return self.damping * torch.eye(size, dtype=self.damping.dtype)
