"""Quality as the study measured it: NaN counts as class 0, and a loss depends on the order of the rows.

The study shuffled the rows, cut them into batches of 16 and averaged the batches' means, so the rows of a smaller last
batch weigh more: a loss on california, whose last test batch has 4 rows, is up to 1.4 % off the mean over rows. The
shuffles came from one stream with seed 0, one after the other, and are the same today.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

BATCH = 16


class Shuffles:
    """The row orders of one run of a study's script, in the order of its evaluations.

    Releases differ in the numbers that a data loader takes from the stream before it shuffles: one in PyTorch 1.6,
    with which the study quantized, two in 1.7, with which it pruned, quantized and pruned, and ran its demo notebook.
    """

    def __init__(self, release: Literal["1.6", "1.7"], seed: int = 0) -> None:
        self._before = {"1.6": 1, "1.7": 2}[release]
        self._generator = torch.Generator().manual_seed(seed)

    def initialise(self, state: dict[str, Tensor]) -> None:
        """Pass over the numbers with which a network of the shapes of ``state`` was initialised, one a parameter."""
        for tensor in state.values():
            torch.empty(tensor.shape).uniform_(generator=self._generator)

    def draw(self, rows: int) -> Tensor:
        """The next order of ``rows`` rows: int64, a permutation of 0 … rows − 1."""
        for _ in range(self._before):
            torch.empty((), dtype=torch.int64).random_(generator=self._generator)
        return torch.randperm(rows, generator=self._generator)


def row_losses(outputs: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy (nats), or squared error where there is one output, of each row: float64 of shape (rows,)."""
    if outputs.shape[1] == 1:
        return (outputs[:, 0].double() - targets.double()).square()
    return F.cross_entropy(outputs.double(), targets, reduction="none")


def loss(losses: Tensor, order: Tensor | None = None) -> float:
    """The mean of ``losses`` over rows or, given an ``order``, over batches of 16 rows in that order, as published."""
    if order is None:
        return float(losses.mean())
    return float(torch.stack([batch.mean() for batch in losses[order].split(BATCH)]).mean())


def accuracy(outputs: Tensor, targets: Tensor) -> float:
    """The share of rows whose largest output is the target's; a row of NaN counts as class 0."""
    return float((outputs.argmax(dim=1) == targets).double().mean())
