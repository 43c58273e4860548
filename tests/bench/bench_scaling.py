"""What a run of so many cells asks of Snakemake: to plan it, to start one of its jobs, and to run it with jobs that do
nothing but write their files.

python tests/bench/bench_scaling.py [--cells 10 1000 100000] [--stubs 1000]

Runs are those of the starter config with fewer networks or more seeds. The figures are CPU seconds, which other load on
the machine leaves nearly alone, and the peak of resident memory. Stub jobs write 1 byte to each of their files, so
what is measured is Snakemake: its own time a job, and the files and bytes that it keeps beside those of the run.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from edgepress import config as run_config

REPOSITORY = Path(__file__).parents[2]
GROUP = 12  # profiles/slurm: cheap jobs a batch job
STUB = """from pathlib import Path
for path in snakemake.output:
    Path(path).write_text("x")
for method, levels in dict(snakemake.params.get("levels", {})).items():
    for level in levels:
        for ending in ("safetensors", "json"):
            path = Path(snakemake.params.folder, method, f"{level}.{ending}")
            path.parent.mkdir(exist_ok=True)
            path.write_text("x")
"""


@dataclass(frozen=True)
class Measured:
    """A finished snakemake: what it printed, its CPU seconds with those of its jobs, and its peak memory in MB."""

    printed: str
    seconds: float
    megabytes: float


def snakemake(workflow: Path, folder: Path, config: Path, *words: str) -> Measured:
    line = [sys.executable, "-m", "snakemake", *words, "--cores", "2", "--directory", str(folder)]
    line += ["--snakefile", str(workflow / "Snakefile"), "--configfile", str(config), "--workflow-profile", "none"]
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(line, stdout=output, stderr=output)
        _, status, used = os.wait4(process.pid, 0)
        output.seek(0)
        printed = output.read()
    if status:
        raise SystemExit(printed[-3000:])
    return Measured(printed, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def starter(cells: int) -> dict:
    """A config of about so many cells, with the methods of the starter config."""
    methods = len(run_config.CellConfig().methods) + 1
    if cells < 6 * methods:
        return {"networks": {"breast_cancer": ["dnn_simple"]}, "seeds": list(range(ceil(cells / methods)))}
    return {"seeds": list(range(ceil(cells / methods / 6)))}


def stub_workflow(folder: Path) -> Path:
    """A copy of the workflow whose jobs only write their outputs."""
    for name in ("Snakefile", "rules", "scripts", "notebooks", "envs", "results/reference"):
        source, copy = REPOSITORY / name, folder / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, copy)
    for script in (folder / "scripts").glob("*.py"):
        script.write_text(STUB)
    return folder


def batch_jobs(jobs: dict[str, int]) -> int:
    """How many jobs SLURM sees of these, with the groups of profiles/slurm; some run on the submitting host."""
    cheap = jobs["compress"]
    report = any(name.startswith("report_") for name in jobs)
    return jobs["prepare_dataset"] + jobs["train_network"] + ceil(cheap / GROUP) + report


def files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def measure(cells: int, stubs: bool, folder: Path) -> dict[str, object]:
    """A row of the table: what a run of about ``cells`` cells takes."""
    settings = starter(cells)
    run = run_config.parse(settings)
    config = folder / "config.yaml"
    config.write_text(json.dumps(settings))
    plan = snakemake(REPOSITORY, folder, config, "--dry-run", "--quiet", "rules")
    parse = snakemake(REPOSITORY, folder, config, "--list-rules")
    jobs = {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", plan.printed, re.MULTILINE)}
    total = jobs.pop("total")
    row = {
        "cells": sum(len(cell.seeds) * (1 + len(cell.methods)) for cell in run.cells().values()),
        "jobs": total,
        "batch jobs": batch_jobs(jobs),
        "planning, CPU s": round(plan.seconds, 1),
        "planning, MB": round(plan.megabytes),
        "reading the workflow, CPU s": round(parse.seconds, 2),
    }
    if stubs:
        workflow = stub_workflow(folder / "workflow")
        done = snakemake(workflow, folder, config, "--quiet", "rules")
        again = snakemake(workflow, folder, config, "--dry-run", "--quiet", "rules")
        kept = list(files(folder / ".snakemake"))
        row |= {
            "stub run, CPU s a job": round(done.seconds / total, 3),
            "planning when all is done, CPU s": round(again.seconds, 1),
            "files of the run": sum(1 for _ in files(folder / "results")),
            "files of Snakemake": len(kept),
            "bytes of Snakemake": sum(path.stat().st_size for path in kept),
        }
    return row


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, nargs="+", default=[10, 1000, 100_000])
    parser.add_argument("--stubs", type=int, default=1000, help="run stub jobs up to so many cells")
    arguments = parser.parse_args()
    for cells in arguments.cells:
        with tempfile.TemporaryDirectory() as folder:
            row = measure(cells, cells <= arguments.stubs, Path(folder))
        print(" · ".join(f"{name}: {value:,}" for name, value in row.items()), flush=True)


if __name__ == "__main__":
    main()
