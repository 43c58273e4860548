"""What evaluating a network takes on one thread, beside the operations that it is made of, and with glibc giving freed
memory back, as it does by itself.

python tests/bench/bench_evaluation.py
"""

import os
import statistics
import subprocess
import sys
import time

import torch

from edgepress import networks
from edgepress.costs.operations import layer_macs
from edgepress.datasets import Prepared
from edgepress.evaluation import predict
from edgepress.folding import fold_batch_norm
from edgepress.runs import KEEP_MEMORY

NETWORKS, IMAGES, REPEATS = ("ds_cnn", "resnet8", "cnn"), 1000, 5


def peak() -> float:
    """Multiply-accumulates a second of a large matrix product, the most that float32 gets here."""
    matrix = torch.randn(1024, 1024)
    matrix @ matrix
    start = time.perf_counter()
    for _ in range(10):
        matrix @ matrix
    return 10 * 1024**3 / (time.perf_counter() - start)


def seconds(name: str, data: Prepared) -> float:
    """The median time of evaluating all images."""
    network = fold_batch_norm(networks.build(name, data))  # as it is shipped
    taken = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        predict(network, data.inputs["test"])
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[1:])


def measure() -> None:
    """One line per network: its name, seconds, and the fraction of the peak that it reaches."""
    torch.set_num_threads(1)
    images = torch.randn(IMAGES, 1, 28, 28)
    data = Prepared("images", "classification", 10, {"test": images}, {"test": torch.randint(10, (IMAGES,))})
    taken = {name: seconds(name, data) for name in NETWORKS}
    most = peak()  # afterwards: what it frees has glibc keep more
    for name in NETWORKS:
        macs = sum(layer_macs(networks.build(name, data), (1, 28, 28)).values())
        print(name, macs, taken[name], macs * IMAGES / taken[name] / most)


def main() -> None:
    """Each way in a process of its own: glibc reads its settings as it starts."""
    lines = []
    for environment in ({}, KEEP_MEMORY):
        command = [sys.executable, __file__, "--measure"]
        done = subprocess.run(command, env=os.environ | environment, check=True, capture_output=True, text=True)
        lines.append([line.split() for line in done.stdout.splitlines()])
    print("| network | million MACs | ms an image | of a matrix product's speed | ms an image, memory given back |")
    print("|---|---|---|---|---|")
    for (_, _, given_back, _), (name, macs, kept, share) in zip(*lines, strict=True):
        kept_ms, given_back_ms = (1000 * float(taken) / IMAGES for taken in (kept, given_back))
        print(f"| `{name}` | {int(macs) / 1e6:.1f} | {kept_ms:.2f} | {float(share):.2f} | {given_back_ms:.2f} |")


if __name__ == "__main__":
    measure() if "--measure" in sys.argv else main()
