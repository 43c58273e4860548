"""The speed of quantizing and packing, as ratios to copying the same weights.

Prints a Markdown table: medians over interleaved repeats in one process on one thread, so that a machine that slows
down slows every row alike. Run it with ``make bench``.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median

import torch

from edgepress import bitstream, codebooks
from edgepress.methods.dithering import dithered
from edgepress.methods.rounding import nearest, stochastic

BITS = (2, 4, 8, 16)


def interleaved(tasks: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """The median seconds of each task, the tasks taken in turn; a first round warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for round_ in range(repeats + 1):
        for name, task in tasks.items():
            start = time.perf_counter()
            task()
            if round_:
                seconds[name].append(time.perf_counter() - start)
    return {name: median(values) for name, values in seconds.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=int, default=6_600_000)
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    weights = 0.05 * torch.randn(arguments.weights, generator=generator)
    target = torch.empty_like(weights)
    tasks: dict[str, Callable[[], object]] = {"copy": lambda: target.copy_(weights)}
    for name in ("uniform", "midrise", "histogram", "uniform_iqr", "normal"):
        fit = getattr(codebooks, name)
        for bits in BITS:
            tasks[f"nearest {name} {bits}"] = lambda fit=fit, bits=bits: nearest(fit(weights, bits), weights)
            tasks[f"stochastic {name} {bits}"] = lambda fit=fit, bits=bits: stochastic(
                fit(weights, bits), weights, generator
            )
    for bits in BITS:
        tasks[f"dithered uniform {bits}"] = lambda bits=bits: dithered(codebooks.uniform(weights, bits), weights, 1)
        dithering = dithered(codebooks.uniform(weights, bits), weights, 1)
        tasks[f"decode dithered {bits}"] = dithering.decode
        codebook = codebooks.uniform(weights, bits)
        codes = nearest(codebook, weights)
        packed = bitstream.pack(codes.numpy(), bits)
        tasks[f"decode {bits}"] = lambda codebook=codebook, codes=codes: codebook.decode(codes)
        tasks[f"pack {bits}"] = lambda codes=codes, bits=bits: bitstream.pack(codes.numpy(), bits)
        tasks[f"unpack {bits}"] = lambda packed=packed, bits=bits: bitstream.unpack(packed, len(weights), bits)

    seconds = interleaved(tasks, arguments.repeats)
    copy = seconds["copy"]
    print(f"{arguments.weights:,} float32 weights, one thread, torch {torch.__version__}: copying takes")
    print(f"{1e3 * copy:.2f} ms. The other columns are milliseconds (times the copy).\n")
    print("| | " + " | ".join(f"{bits} bits" for bits in BITS) + " |")
    print("|---|" + "---|" * len(BITS))
    for name in dict.fromkeys(task.rpartition(" ")[0] for task in tasks if task != "copy"):
        cells = [f"{1e3 * seconds[f'{name} {b}']:.1f} ({seconds[f'{name} {b}'] / copy:.1f}×)" for b in BITS]
        print(f"| {name} | " + " | ".join(cells) + " |")
    print("\nStochastic over nearest: ", end="")
    names = ("uniform", "midrise", "histogram", "uniform_iqr", "normal")
    ratios = {n: max(seconds[f"stochastic {n} {b}"] / seconds[f"nearest {n} {b}"] for b in BITS) for n in names}
    print(", ".join(f"{name} at most {ratio:.1f}×" for name, ratio in ratios.items()) + ".")


if __name__ == "__main__":
    main()
