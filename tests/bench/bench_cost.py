"""Compares the CPU seconds of two checkouts: a run, a run with nothing to do, a large plan, the methods on a trained
network, and the tests; and the peak memory of a sweep.

python tests/bench/bench_cost.py BEFORE AFTER [--config config/tiny.yaml] [--methods gptq midrise] [--tests]

Each checkout has its environment in ``.venv``. The two take turns, so that both meet the same load. CPU seconds are
user and system time of the process and of all that it started and waited for, which includes jobs and notebooks; peak
memory is that of the largest of these. Prints a table in Markdown, a row as soon as it is measured.

``--methods`` sweeps those (``all``: every method of both checkouts that quantizes without training) at 4 bits over
``resnet8`` of the committed study, on the default splits of each checkout; it needs Fashion-MNIST in EDGEPRESS_MIRROR.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# 6 networks × (full precision and 11 methods) × 139 seeds: 10,008 cells
NETWORKS = {name: ["dnn_simple", "dnn_complex"] for name in ("digits", "breast_cancer", "mv_synthetic")}
CODEBOOKS = ("uniform", "uniform_iqr", "histogram", "normal")
METHODS = [f"{rounding}_{codebook}" for rounding in ("nearest", "stochastic") for codebook in CODEBOOKS]
LARGE = {"networks": NETWORKS, "seeds": list(range(139)), "methods": [*METHODS, "midrise", "magnitude", "random"]}
TESTS = ["--numprocesses", "logical", "--dist", "loadfile", "--no-loadscope-reorder"]
TESTS += ["tests/workflow", "tests/contract", "tests/unit"]  # as `make test` does


TRAINED = "results/reference/study/fashion_mnist/resnet8_seed0.safetensors"
MEMORY = [
    "nearest_uniform",
    "stochastic_uniform",
    "nearest_symmetric_channel",
    "magnitude",
]  # of resnet9, 6.6 M weights
NAMES = """
import json
from edgepress import registry
print(json.dumps([name for name, entry in registry.methods().items() if not entry.retrains and "bits" in entry.sweep]))
"""
# A sweep over resnet9 with weights as they are drawn, by methods named on the command line.
SWEEP = """
import sys
import torch
from edgepress import networks
from edgepress.datasets import SPLITS, Prepared
from edgepress.sweep import Bench, Trained
torch.set_num_threads(1)
inputs = {split: torch.randn(64, 3, 32, 32) for split in SPLITS}
data = Prepared("images", "classification", 10, inputs, {split: torch.randint(10, (64,)) for split in SPLITS})
bench = Bench(Trained("resnet9", 0, networks.build("resnet9", data), data), ["val", "test"], torch.device("cpu"))
for method in sys.argv[1:]:
    for _ in bench.sweep(method, ["s50"] if method == "magnitude" else ["w8", "w4"], draws=3):
        pass
"""


@dataclass(frozen=True)
class Cost:
    """CPU seconds and peak memory, in MB, of a command and its descendants."""

    seconds: float
    megabytes: float


def cost(folder: Path, *line: str | Path) -> Cost:
    """Run a command in ``folder``; exits with the end of its output if it fails."""
    words = [str(word) for word in line]
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(words, cwd=folder, stdout=output, stderr=output)
        _, status, used = os.wait4(process.pid, 0)
        output.seek(0)
        if status:
            raise SystemExit(f"{' '.join(words)} failed:\n{output.read()[-3000:]}")
    return Cost(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def python(checkout: Path) -> Path:
    """The interpreter of a checkout's environment, which must have the library of that checkout."""
    found = checkout / ".venv/bin/python"
    line = [str(found), "-c", "import edgepress; print(edgepress.__file__)"]
    library = subprocess.run(line, cwd=checkout, capture_output=True, text=True, check=True).stdout.strip()
    if not Path(library).is_relative_to(checkout):
        raise SystemExit(f"{found} has the edgepress of {library}; install that of {checkout}")
    cost(checkout, found, "-m", "compileall", "-q", "src")  # or the first to run would pay for both
    return found


def snakemake(checkout: Path, folder: Path, config: Path, *words: str) -> float:
    """CPU seconds of a run of ``config`` in ``folder``."""
    line = [python(checkout), "-m", "snakemake", *words, "--cores", "2", "--snakefile", checkout / "Snakefile"]
    return cost(folder, *line, "--directory", folder, "--configfile", checkout / config).seconds


def row(name: str, checkouts: tuple[Path, Path], measure: Callable[[Path], float]) -> None:
    """Measure both checkouts and print a row of the table."""
    before, after = (measure(checkout) for checkout in checkouts)
    print(f"| {name} | {before:.1f} | {after:.1f} | {after / before:.2f} |", flush=True)


def methods_of(checkouts: tuple[Path, Path]) -> list[str]:
    """The methods of both that quantize without fine-tuning."""
    found = [subprocess.check_output([python(one), "-c", NAMES], cwd=one, text=True) for one in checkouts]
    before, after = map(json.loads, found)
    return [name for name in before if name in after]


def sweep_config(checkout: Path, methods: list[str]) -> dict:
    """The config of a run that compresses the committed ``resnet8`` at 4 bits."""
    cell = {"networks": {"fashion_mnist": ["resnet8"]}, "seeds": [0], "weights": str(checkout / TRAINED)}
    levels = {"methods": methods, "bits": [4], "act_bits": [4], "sparsity": [0.5], "draws": 1}
    return {"run": "sweep", **cell, "training": None, **levels}


def measure_sweep(checkout: Path, folder: Path, methods: list[str]) -> float:
    """CPU seconds of that run, its data set prepared and the network in full precision measured beforehand."""
    config = folder / "sweep.yaml"
    config.write_text(json.dumps(sweep_config(checkout, methods)))
    place = "results/sweep/fashion_mnist/resnet8/seed0/fp32/model.safetensors"
    snakemake(checkout, folder, config, place)
    return snakemake(checkout, folder, config, "results/sweep/metrics.csv")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path, help="a checkout")
    parser.add_argument("after", type=Path, help="another")
    parser.add_argument("--config", type=Path, default=Path("config/config.yaml"), help="the run, of each checkout")
    parser.add_argument("--methods", nargs="+", default=[], help="or `all`; minutes")
    parser.add_argument("--tests", action="store_true", help="measure the tests, too; minutes")
    arguments = parser.parse_args()
    both = (arguments.before.absolute(), arguments.after.absolute())
    print("| what | before, CPU s | after, CPU s | ratio |\n|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as made:
        folders = {checkout: Path(tempfile.mkdtemp(dir=made)) for checkout in both}
        plan = Path(made) / "large.yaml"
        plan.write_text(json.dumps(LARGE))
        row("a run from nothing to its report", both, lambda one: snakemake(one, folders[one], arguments.config))
        row("a run with nothing to do", both, lambda one: snakemake(one, folders[one], arguments.config))
        row("the plan of 10,008 cells", both, lambda one: snakemake(one, folders[one], plan, "-n", "--quiet", "rules"))
        row(
            "peak memory of a resnet9 sweep, MB",
            both,
            lambda one: cost(one, python(one), "-c", SWEEP, *MEMORY).megabytes,
        )
        if methods := methods_of(both) if arguments.methods == ["all"] else arguments.methods:
            name = f"{len(methods)} methods on resnet8 at 4 bits"
            row(name, both, lambda one: measure_sweep(one, folders[one], methods))
    if arguments.tests:
        row("the tests", both, lambda one: cost(one, python(one), "-m", "pytest", *TESTS).seconds)


if __name__ == "__main__":
    sys.exit(main())
