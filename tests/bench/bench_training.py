"""The cost of a step of quantization-aware training relative to a plain one: resnet9, one thread, steps interleaved.

python tests/bench/bench_training.py
"""

import statistics
import time

import torch
from torch.nn import functional as F
from torch.nn.utils import parametrize

from edgepress import networks
from edgepress.datasets import Prepared
from edgepress.methods.qat import LearnedGrid, _Rounded

BITS, STEPS = 4, 6
CONSTRAINTS = {
    "plain": None,
    "qat_nearest_uniform": lambda weights: _Rounded("uniform", BITS, None),
    "lsq": lambda weights: LearnedGrid(weights, BITS),
}


def prepared(constraint, data):
    """A network behind a constraint, and its optimizer."""
    network = networks.build("resnet9", data).to(memory_format=torch.channels_last)
    for name in networks.compressible(network) if constraint else ():
        layer = network.get_submodule(name.rpartition(".")[0])
        parametrize.register_parametrization(layer, "weight", constraint(layer.weight))
    return network, torch.optim.AdamW(network.parameters(), lr=1e-4)


def seconds_a_step(batch: int) -> dict[str, float]:
    """The median of the steps after the first, by constraint."""
    images, classes = torch.randn(batch, 1, 32, 32), torch.randint(10, (batch,))
    data = Prepared("images", "classification", 10, {"train": images}, {"train": classes})
    rivals = {name: prepared(constraint, data) for name, constraint in CONSTRAINTS.items()}
    taken: dict[str, list[float]] = {name: [] for name in rivals}
    for _ in range(STEPS):
        for name, (network, optimizer) in rivals.items():
            start = time.perf_counter()
            optimizer.zero_grad()
            F.cross_entropy(network(images), classes).backward()
            optimizer.step()
            taken[name].append(time.perf_counter() - start)
    return {name: statistics.median(times[1:]) for name, times in taken.items()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    print("| batch | training | seconds a step | times plain |\n|---|---|---|---|")
    for batch in (16, 64):
        steps = seconds_a_step(batch)
        for name, seconds in steps.items():
            print(f"| {batch} | `{name}` | {seconds:.3f} | {seconds / steps['plain']:.2f} |")
