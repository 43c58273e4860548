"""Runs the workflow as a user does: snakemake as a separate process, in a temporary folder."""

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
TINY = REPOSITORY / "config" / "tiny.yaml"


def command(folder: Path, *words: str, config: Path = TINY, cores: int = 2) -> list[str]:
    line = [sys.executable, "-m", "snakemake", *words, "--snakefile", str(REPOSITORY / "Snakefile")]
    return [*line, "--directory", str(folder), "--cores", str(cores), "--configfile", str(config)]


def snakemake(folder: Path, *words: str, config: Path = TINY, cores: int = 2) -> subprocess.CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    line = command(folder, *words, config=config, cores=cores)
    return subprocess.run(
        line, capture_output=True, text=True, env=environment | {"CUDA_VISIBLE_DEVICES": ""}, check=False
    )


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory) -> Path:
    """The folder of a finished tiny run, which tests only read. The processes of pytest-xdist have one among them."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    with (base / "tiny.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = snakemake(base / "tiny")  # which does nothing where another process has
    assert done.returncode == 0, done.stderr[-4000:]
    return base / "tiny"


@pytest.fixture
def tiny_copy(tiny_run, tmp_path) -> Path:
    """A copy of the finished tiny run, for the test to work in."""
    return Path(shutil.copytree(tiny_run, tmp_path / "tiny"))
