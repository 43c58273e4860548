"""Compares the CPU seconds of two checkouts: a run, a run with nothing to do, a large plan, and the tests.

python tests/bench/bench_cost.py BEFORE AFTER [--config config/tiny.yaml] [--tests]

Each checkout has its environment in ``.venv``. The two take turns, so that both meet the same load. CPU seconds are
user and system time of the process and of all that it started and waited for, which includes jobs and notebooks. Prints
a table in Markdown, a row as soon as it is measured.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

# 6 networks × (full precision and 11 methods) × 139 seeds: 10,008 cells
NETWORKS = {name: ["dnn_simple", "dnn_complex"] for name in ("digits", "breast_cancer", "mv_synthetic")}
CODEBOOKS = ("uniform", "uniform_iqr", "histogram", "normal")
METHODS = [f"{rounding}_{codebook}" for rounding in ("nearest", "stochastic") for codebook in CODEBOOKS]
LARGE = {"networks": NETWORKS, "seeds": list(range(139)), "methods": [*METHODS, "midrise", "magnitude", "random"]}
TESTS = ["--numprocesses", "logical", "--dist", "loadfile", "--no-loadscope-reorder"]
TESTS += ["tests/workflow", "tests/contract", "tests/unit"]  # as `make test` does


def cpu_seconds(folder: Path, *line: str | Path) -> float:
    """CPU seconds of a command and its descendants, run in ``folder``; exits with the end of its output if it fails."""

    def used() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    before = used()
    words = [str(word) for word in line]
    done = subprocess.run(words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} failed:\n{done.stdout[-3000:]}")
    return used() - before


def python(checkout: Path) -> Path:
    """The interpreter of a checkout's environment, which must have the library of that checkout."""
    found = checkout / ".venv/bin/python"
    line = [str(found), "-c", "import edgepress; print(edgepress.__file__)"]
    library = subprocess.run(line, cwd=checkout, capture_output=True, text=True, check=True).stdout.strip()
    if not Path(library).is_relative_to(checkout):
        raise SystemExit(f"{found} has the edgepress of {library}; install that of {checkout}")
    cpu_seconds(checkout, found, "-m", "compileall", "-q", "src")  # or the first to run would pay for both
    return found


def snakemake(checkout: Path, folder: Path, config: Path, *words: str) -> float:
    """CPU seconds of a run of ``config`` in ``folder``."""
    line = [python(checkout), "-m", "snakemake", *words, "--cores", "2", "--snakefile", checkout / "Snakefile"]
    return cpu_seconds(folder, *line, "--directory", folder, "--configfile", checkout / config)


def row(name: str, checkouts: tuple[Path, Path], measure: Callable[[Path], float]) -> None:
    """Measure both checkouts and print a row of the table."""
    before, after = (measure(checkout) for checkout in checkouts)
    print(f"| {name} | {before:.1f} | {after:.1f} | {after / before:.2f} |", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path, help="a checkout")
    parser.add_argument("after", type=Path, help="another")
    parser.add_argument("--config", type=Path, default=Path("config/config.yaml"), help="the run, of each checkout")
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
    if arguments.tests:
        row("the tests", both, lambda one: cpu_seconds(one, python(one), "-m", "pytest", *TESTS))


if __name__ == "__main__":
    sys.exit(main())
