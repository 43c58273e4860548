"""The study's evaluation: NaN counts as class 0, and a loss depends on the order of rows.

The study shuffled the rows, split them into batches of 16 and averaged the batch means, so rows of a smaller last batch
weigh more: on california, whose last test batch has 4 rows, a loss differs by up to 1.4 % from the mean over rows. All
shuffles come from one stream with seed 0, which today's PyTorch reproduces.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

BATCH = 16


class Shuffles:
    """The row orders of one run of a script of the study, in the order of its evaluations.

    A data loader draws numbers from the stream before it shuffles: one in PyTorch 1.6, with which the study quantized,
    two in 1.7, with which it pruned, quantized and pruned, and ran its demo notebook.
    """

    def __init__(self, release: Literal["1.6", "1.7"], seed: int = 0) -> None:
        self._before = {"1.6": 1, "1.7": 2}[release]
        self._generator = torch.Generator().manual_seed(seed)

    def initialise(self, state: dict[str, Tensor]) -> None:
        """Skip the numbers that initialized a network with the shapes of ``state``, one per parameter."""
        for tensor in state.values():
            torch.empty(tensor.shape).uniform_(generator=self._generator)

    def draw(self, rows: int) -> Tensor:
        """The next order of ``rows`` rows: int64, a permutation of 0 … rows − 1."""
        for _ in range(self._before):
            torch.empty((), dtype=torch.int64).random_(generator=self._generator)
        return torch.randperm(rows, generator=self._generator)


def row_losses(outputs: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy (nats), or squared error for one output, of each row: float64 of shape (rows,)."""
    if outputs.shape[1] == 1:
        return (outputs[:, 0].double() - targets.double()).square()
    return F.cross_entropy(outputs.double(), targets, reduction="none")


def loss(losses: Tensor, order: Tensor | None = None) -> float:
    """The mean of ``losses`` over rows or, given an ``order``, over batches of 16 rows in that order, as published."""
    if order is None:
        return float(losses.mean())
    return float(torch.stack([batch.mean() for batch in losses[order].split(BATCH)]).mean())


def accuracy(outputs: Tensor, targets: Tensor) -> float:
    """The fraction of rows whose largest output is the target's; a row of NaN counts as class 0."""
    return float((outputs.argmax(dim=1) == targets).double().mean())
