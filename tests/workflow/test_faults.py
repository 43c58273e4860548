"""Faults of machines: full disks, read-only folders, a process out of memory. Other cells continue.

Disks are mounted for one process alone (`unshare`), which Linux lets root do, and most users.
"""

import shlex
import shutil
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from edgepress.metrics import from_csv

from .conftest import command, snakemake
from .test_fetch import MIRROR

RUN = "results/tiny"
TARGET = f"{RUN}/metrics.csv"
FULL = f"{RUN}/breast_cancer/dnn_simple/seed0/nearest_uniform"
SEALED = f"{RUN}/breast_cancer/dnn_simple/seed0/magnitude"
CONFIG = """
run: tiny
networks: {breast_cancer: [dnn_simple]}
seeds: [0]
methods: [nearest_uniform, magnitude]
bits: [8]
sparsity: [0.9]
training: {max_epochs: 1}
"""
OWN_MOUNTS = ["unshare", "--mount", "--map-root-user", "sh", "-c"]
AS_A_USER = "setpriv --bounding-set=-dac_override"  # whom permissions hold back, as they do not root


def may_mount() -> bool:
    trial = f"mount -t tmpfs none /mnt && chmod 555 /mnt && ! {AS_A_USER} touch /mnt/file"
    return bool(shutil.which("unshare")) and not subprocess.call([*OWN_MOUNTS, trial], stderr=subprocess.DEVNULL)


needs_mounts = pytest.mark.skipif(not may_mount(), reason="unshare, setpriv, or the right to mount is missing")


@pytest.fixture
def config(tmp_path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    return path


def on_disks(before: str, folder: Path, config: Path, after: str = "false") -> subprocess.CompletedProcess:
    """Run in ``folder`` on disks set up by the commands ``before``, and again after ``after``."""
    for cell in (FULL, SEALED):
        (folder / cell).mkdir(parents=True)
    run = f"{AS_A_USER} {shlex.join(command(folder, TARGET, config=config))}"
    script = f"""
        {before} || exit 99
        {run}; code=$?
        cp {TARGET} failed.csv
        find results -name "*.part" > left.txt
        {after} && {run} > again.txt 2>&1 && echo fine >> again.txt
        exit $code"""
    return subprocess.run([*OWN_MOUNTS, script], cwd=folder, capture_output=True, text=True, check=False)


def check_that_all_is_well(folder: Path) -> None:
    """Nothing is left of what failed, and the second run went through."""
    assert not (folder / "left.txt").read_text()
    again = (folder / "again.txt").read_text()
    assert again.endswith("fine\n"), again[-3000:]


@needs_mounts
def test_cells_that_cannot_be_written_fail_alone(config, tmp_path):
    folder = tmp_path / "run"
    config.write_text(CONFIG.replace("methods: [", "methods: [multipoint, "))
    # The empty file keeps Snakemake from removing the folder, which is where the disk is mounted.
    before = f"mount -t tmpfs -o size=4k none {FULL} && touch {FULL}/empty && chmod 555 {SEALED}"
    done = on_disks(before, folder, config, f"mount -o remount,size=1m {FULL} && chmod -R 755 {RUN}")
    assert done.returncode == 1, done.stderr[-3000:]
    rows = from_csv(folder / "failed.csv")
    lost = {row["method"]: row["reason"] for row in rows if row["status"] != "ok"}
    assert lost.keys() == {"nearest_uniform", "magnitude"}
    assert "No space left on device" in lost["nearest_uniform"]
    assert "Permission denied" in lost["magnitude"]
    assert [row["method"] for row in rows if row["status"] == "ok"] == ["fp32"] * 3 + ["multipoint"] * 2
    assert "2 of 4 cells have no result" in done.stdout
    assert f"{FULL}: OSError: " in done.stdout and f"{SEALED}: PermissionError: " in done.stdout
    check_that_all_is_well(folder)
    assert {row["status"] for row in from_csv(folder / TARGET)} == {"ok"}


@needs_mounts
def test_a_full_disk_of_results_is_told_and_mended(config, tmp_path):
    folder = tmp_path / "run"
    before = "mount -t tmpfs -o size=20k none results"
    done = on_disks(before, folder, config, "mount -o remount,size=9m results")
    assert done.returncode == 1
    assert "cells have no result:" in done.stdout and "run the same command again" in done.stdout
    check_that_all_is_well(folder)


@needs_mounts
def test_results_that_are_read_only_are_one_sentence(config, tmp_path):
    done = on_disks("mount --bind results results && mount -o remount,ro,bind results", tmp_path / "run", config)
    assert done.returncode == 1
    assert f"{RUN} cannot be written to: [Errno 30] Read-only file system" in done.stderr, done.stderr[-2000:]
    assert "Traceback" not in done.stderr and "files.py" not in done.stderr


def holds(process: psutil.Process, path: Path) -> bool:
    """Whether a process has a file open: the fork that does a job has its log, the script that waits for it has not."""
    try:
        return any(Path(file.path) == path for file in process.open_files())
    except psutil.NoSuchProcess:
        return False


def test_a_job_that_is_killed_for_want_of_memory_fails_alone(config, tmp_path):
    folder = tmp_path / "run"
    # So many draws that the job is still at work when it is found.
    config.write_text(CONFIG.replace("nearest_uniform", "stochastic_uniform") + "draws: 400\n")
    with (tmp_path / "out").open("w") as out:
        run = psutil.Popen(command(folder, TARGET, config=config), stdout=out, stderr=subprocess.STDOUT)
    log = folder / "logs/tiny/breast_cancer/dnn_simple/seed0/stochastic.log"
    while not log.exists():  # of the job that is to be killed
        assert run.poll() is None
        time.sleep(0.01)
    (job,) = [process for process in run.children(recursive=True) if holds(process, log)]
    job.kill()
    assert run.wait(timeout=600) != 0
    said = (tmp_path / "out").read_text()
    rows = from_csv(folder / TARGET)
    (lost,) = [row for row in rows if row["status"] != "ok"]
    assert lost["method"] == "stochastic_uniform"
    assert lost["reason"].startswith("its process was killed, perhaps out of memory")
    assert [row["method"] for row in rows if row["status"] == "ok"] == ["fp32"] * 3 + ["magnitude"] * 2
    assert "stochastic_uniform: its process was killed" in said
    again = snakemake(folder, TARGET, config=config)
    assert again.returncode == 0, again.stderr[-3000:]
    assert {row["status"] for row in from_csv(folder / TARGET)} == {"ok"}


@needs_mounts
@pytest.mark.skipif(not (MIRROR / "telescope.dat").is_file(), reason="no telescope.dat in EDGEPRESS_MIRROR")
def test_a_mirror_is_only_read_and_data_that_cannot_be_stored_fail_alone(config, tmp_path, monkeypatch):
    folder, mirror = tmp_path / "run", tmp_path / "mirror"
    mirror.mkdir()
    shutil.copy(MIRROR / "telescope.dat", mirror)
    monkeypatch.delenv("EDGEPRESS_MIRROR", raising=False)
    config.write_text(CONFIG.replace("}", ", telescope: [dnn_simple]}", 1) + f"mirror: {mirror}\n")
    raw = folder / "data/raw/telescope"
    raw.mkdir(parents=True)
    done = on_disks(f"chmod 555 {mirror} {raw}", folder, config, f"mkdir -p {raw} && chmod 755 {raw}")
    assert done.returncode == 1, done.stderr[-3000:]
    rows = from_csv(folder / "failed.csv")
    assert {row["status"] for row in rows if row["dataset"] == "breast_cancer"} == {"ok"}
    lost = [row for row in rows if row["dataset"] == "telescope"]
    assert {row["method"] for row in lost} == {"fp32", "nearest_uniform", "magnitude"}
    assert all(row["reason"].startswith("fetching telescope.dat failed: ") for row in lost)
    assert all("Permission denied" in row["reason"] for row in lost)
    check_that_all_is_well(folder)


BROKEN = """
from torch import nn


def network(input_shape, outputs, width=0):
    return nn.Linear(input_shape[0], outputs) if width else nn.Identity()
"""


def test_a_network_that_fails_leaves_a_report_of_the_others(tmp_path):
    (tmp_path / "broken.py").write_text(BROKEN)
    own = tmp_path / "own.yaml"
    own.write_text("""
run: tiny
own_networks: {broken: {builder: "broken:network"}}
networks: {breast_cancer: [dnn_simple, broken]}
seeds: [0]
methods: [nearest_uniform]
bits: [8]
training: {max_epochs: 1}
""")
    done = snakemake(tmp_path, "--keep-going", config=own)
    assert done.returncode == 1 and f"The report of the others is {RUN}/report/index.html" in done.stdout, done.stdout
    page = (tmp_path / RUN / "report/index.html").read_text()
    assert "no result: its training failed: ValueError" in page and "dnn_simple" in page
    assert (tmp_path / RUN / "report/quantization.html").exists()
    lost = {(row["network"], row["method"]) for row in from_csv(tmp_path / TARGET) if row["status"] == "failed"}
    assert lost == {("broken", "fp32"), ("broken", "nearest_uniform")}

    own.write_text(own.read_text().replace('"broken:network"', '"broken:network", args: {width: 1}'))
    again = snakemake(tmp_path, "--dry-run", config=own)  # once it is mended, the report is made again
    assert again.returncode == 0 and "report_index" in again.stdout and "report_quantization" in again.stdout
