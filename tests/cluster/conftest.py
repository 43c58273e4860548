"""A private SLURM for the session, and snakemake as a user runs it there: with profiles/slurm and nothing else but
shorter waits.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ..workflow.conftest import REPOSITORY, TINY, tiny_run  # noqa: F401

SCRIPT = Path(__file__).parent / "slurm.sh"
# Waiting as long as the profile does would be most of the time of jobs of seconds.
QUICK = [
    "--slurm-init-seconds-before-status-checks",
    "2",
    "--seconds-between-status-checks",
    "2",
    "--latency-wait",
    "5",
]


@dataclass(frozen=True)
class Cluster:
    """The running SLURM; ``folder`` has its logs and the record of its jobs."""

    folder: Path

    def do(self, action: str) -> None:
        done = subprocess.run([SCRIPT, action, self.folder], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def kill_controller(self) -> None:
        os.kill(int((self.folder / "slurmctld.pid").read_text()), 9)

    def saved(self) -> float:
        """When the controller last wrote its jobs to disk, in seconds since the epoch; it does so every few seconds."""
        return (self.folder / "private/state/job_state").stat().st_mtime

    def jobs(self, folder: Path) -> list[dict[str, str]]:
        """What SLURM recorded of the finished jobs submitted from ``folder``, in the order in which they ended."""
        lines = (self.folder / "jobs.txt").read_text().splitlines()
        rows = [dict(pair.split("=", 1) for pair in line.split() if "=" in pair) for line in lines]
        return [row for row in rows if row["WorkDir"] == str(folder)]

    def active(self, folder: Path) -> list[dict[str, str]]:
        """The jobs from ``folder`` that wait or run, each with id, state, node and rule."""
        fields = {"id": "%i", "state": "%T", "node": "%N", "rule": "%k", "from": "%Z"}
        lines = slurm("squeue", "--noheader", "--format", "|".join(fields.values())).splitlines()
        rows = [dict(zip(fields, line.split("|"), strict=True)) for line in lines]
        return [row for row in rows if row["from"] == str(folder)]


def slurm(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="session")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    if not shutil.which("slurmctld"):
        pytest.skip("SLURM is not installed; tests/cluster/slurm.sh install does it")
    cluster = Cluster(tmp_path_factory.mktemp("slurm"))
    try:
        cluster.do("up")
        yield cluster
    finally:
        cluster.do("down")


def command(folder: Path, *words: str, config: Path = TINY) -> list[str]:
    """The command line of a run on the cluster, in ``folder``."""
    line = [sys.executable, "-m", "snakemake", *words, "--profile", str(REPOSITORY / "profiles/slurm"), *QUICK]
    return [*line, "--snakefile", str(REPOSITORY / "Snakefile"), "--directory", str(folder), "--configfile", config]


def run(folder: Path, *words: str, config: Path = TINY) -> subprocess.CompletedProcess:
    return subprocess.run(command(folder, *words, config=config), capture_output=True, text=True, check=False)
