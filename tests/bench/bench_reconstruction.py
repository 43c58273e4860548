"""CPU seconds of ``gptq`` and ``adaround`` on one layer, and of direct implementations of their definitions.

python tests/bench/bench_reconstruction.py [--inputs 2048] [--channels 64] [--examples 512]

``gptq`` is compared with GPTQ as published, by the Cholesky factor of H⁻¹, and ``adaround`` with 1,000 steps by
autograd (timed on a few of them). Prints the ratio of seconds and of output errors, and how near each is to
its operations at the speed of a large matrix product. Layers with a quarter as many examples as inputs keep H by
its columns; give more ``--examples`` to see the other way.
"""

import argparse
import time
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from edgepress.methods.input_hessians import LowRank, dense, input_hessian
from edgepress.methods.reconstruction import _STEPS, ROUNDERS

T = TypeVar("T")
_PUBLISHED_STEPS, _TIMED = 1000, 5


def seconds(task: Callable[[], T]) -> tuple[float, T]:
    """The CPU seconds of a task, and its result."""
    start = time.process_time()
    result = task()
    return time.process_time() - start, result


def peak() -> float:
    """Operations a second of a large float32 matrix product; a multiplication and an addition are two."""
    matrix = torch.randn(2048, 2048)
    matrix @ matrix
    return 5 * 2 * 2048**3 / seconds(lambda: [matrix @ matrix for _ in range(5)])[0]


def published_hessian(inputs: Tensor) -> Tensor:
    """E[xxᵀ] and a hundredth of its mean diagonal, as a matrix."""
    hessian = inputs.T @ inputs / len(inputs)
    return (hessian + 0.01 * hessian.diagonal().mean() * torch.eye(len(hessian)))[None]


def published_gptq(position: Tensor, hessian: Tensor, lowest: int, highest: int) -> Tensor:
    """GPTQ in blocks of 128, by the upper Cholesky factor of H⁻¹."""
    order = hessian[0].diagonal().argsort(descending=True)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian[0][order][:, order]))
    factor, left = torch.linalg.cholesky(inverse, upper=True), position[0][:, order]
    levels = torch.empty_like(left)
    for first in range(0, left.shape[1], 128):
        block = slice(first, min(first + 128, left.shape[1]))
        errors = torch.zeros_like(left[:, block])
        for j in range(block.start, block.stop):
            levels[:, j] = left[:, j].round().clamp(lowest, highest)
            errors[:, j - first] = (left[:, j] - levels[:, j]) / factor[j, j]
            left[:, j + 1 : block.stop] -= errors[:, j - first, None] * factor[j, j + 1 : block.stop]
        left[:, block.stop :] -= errors @ factor[block, block.stop :]
    return levels[:, order.argsort()][None]


def published_adaround(position: Tensor, hessian: Tensor, steps: int) -> None:
    """Steps of AdaRound with its penalty, by automatic differentiation; the levels of so few are of no use."""
    v = torch.zeros_like(position).requires_grad_()
    optimizer = torch.optim.Adam([v], lr=0.02)
    for _ in range(steps):
        share = (v.sigmoid() * 1.2 - 0.1).clamp(0, 1)
        delta = (position.floor() + share).clamp(-8, 7) - position
        loss = ((delta @ hessian) * delta).sum() + (1 - (2 * share - 1).abs() ** 10).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def output_error(levels: Tensor, position: Tensor, hessian: Tensor) -> Tensor:
    """ΔW H ΔWᵀ of each channel."""
    return (((levels - position) @ hessian) * (levels - position)).sum(dim=2)


def operations(rounding: str, channels: int, inputs: int, examples: int, low_rank: bool) -> float:
    """Those of matrix products and factors, H included; a multiplication and an addition are two."""
    hessian = 0 if low_rank else 2 * examples * inputs**2
    if rounding == "adaround":
        once = 2 * inputs**2 * examples if low_rank else 0  # the matrix, to descend in the end
        return hessian + once + _STEPS * channels * inputs * (4 * examples if low_rank else 2 * inputs)
    blocks = inputs / 128
    if low_rank:  # of each block: a factor, two solutions, the update
        return 2 * inputs * examples**2 * 2 + blocks * (examples**3 / 3 + 2 * 128 * examples**2)
    return hessian + inputs**3 / 3 + channels * inputs**2


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=2048)
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--examples", type=int, default=512)
    size = parser.parse_args()

    torch.set_num_threads(1)
    torch.manual_seed(0)
    layer = nn.Linear(size.inputs, size.channels, bias=False)
    inputs, position = torch.randn(size.examples, size.inputs).relu(), 3 * torch.randn(1, size.channels, size.inputs)
    fastest = peak()
    before, matrix = seconds(lambda: published_hessian(inputs))
    print(f"{size.channels} channels of {size.inputs:,} weights, {size.examples:,} examples, one thread\n")
    print("| | CPU seconds | published | ratio | of the peak | output error, ours over published |")
    print("|---|---|---|---|---|---|")
    for rounding in ("gptq", "adaround"):
        taken, hessian = seconds(lambda: input_hessian(layer, inputs))
        more, ours = seconds(lambda hessian=hessian, rounding=rounding: ROUNDERS[rounding](position, hessian, -8, 7))
        taken += more
        if rounding == "gptq":
            published, theirs = seconds(lambda: published_gptq(position, matrix, -8, 7))
            ratio = output_error(ours, position, dense(hessian)) / output_error(theirs, position, dense(hessian))
            error = f"{float(ratio.mean()):.4f} ± {float(ratio.std()) / len(ratio[0]) ** 0.5:.4f}"
        else:
            published, error = seconds(lambda: published_adaround(position, matrix, _TIMED))[0], ""
            published *= _PUBLISHED_STEPS / _TIMED
        published += before
        limit = operations(rounding, size.channels, size.inputs, size.examples, isinstance(hessian, LowRank)) / fastest
        print(
            f"| {rounding} | {taken:.2f} | {published:.2f} | {taken / published:.3f} | {limit / taken:.2f} | {error} |"
        )


if __name__ == "__main__":
    main()
