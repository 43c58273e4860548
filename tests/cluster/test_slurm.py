"""The workflow through SLURM. SLURM's records, not snakemake's, show that jobs ran there."""

import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

from edgepress.metrics import from_csv

from .conftest import TINY, command, run, slurm

CELLS = "results/tiny/breast_cancer/dnn_simple/seed{}/{}/metrics.csv"
SEEDS = [CELLS.format(seed, "nearest") for seed in (0, 1)]


def wait_for(condition, process: subprocess.Popen, seconds: int = 600):
    """What ``condition`` returns once it is true, while ``process`` runs."""
    for _ in range(5 * seconds):
        if found := condition():
            return found
        assert process.poll() is None, "snakemake ended too early"
        time.sleep(0.2)
    raise AssertionError(f"not within {seconds} s")


def start(folder: Path, *words: str) -> subprocess.Popen:
    return subprocess.Popen(
        command(folder, *words),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # Tests that run in the background of a shell inherit that SIGINT is ignored, and would pass that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def without_seed_0(tiny_run: Path, folder: Path) -> Path:
    """Make ``folder`` that of a run in which seed 0 of breast_cancer is still to be trained and compressed."""
    shutil.copytree(tiny_run, folder)
    shutil.rmtree((folder / SEEDS[0]).parents[1])
    return folder


def same(ours: Path, theirs: Path, *paths: str) -> bool:
    return all((ours / path).read_bytes() == (theirs / path).read_bytes() for path in paths)


def test_the_tiny_run_gives_the_bytes_of_a_local_run(cluster, tiny_run, tmp_path):
    done = run(tmp_path, "results/tiny/metrics.csv")
    assert done.returncode == 0, done.stderr[-4000:]
    packed = [str(path.relative_to(tiny_run)) for path in tiny_run.glob("results/tiny/*/*/*/*/*.safetensors")]
    assert same(tmp_path, tiny_run, "results/tiny/metrics.csv", *packed)

    jobs = cluster.jobs(tmp_path)
    assert {job["JobState"] for job in jobs} == {"COMPLETED"}
    assert {job["NodeList"] for job in jobs} <= {"n1", "n2"}
    # Two data sets, four trainings, four of quantization-aware training, and one of the twelve cheap jobs together.
    assert len(jobs) == 2 + 4 + 4 + 1
    assert [job["TimeLimit"] for job in jobs].count(str(12 * 60)) == 1
    assert {job["ProcCnt"] for job in jobs} == {"1"}
    # What the jobs said is where a local run has it; SLURM's own logs of jobs that went well are not kept.
    logs, expected = (
        {str(path.relative_to(folder)) for path in folder.glob("logs/**/*.log")} for folder in (tmp_path, tiny_run)
    )
    not_asked_for = re.compile("/report/|/collect_timings")
    assert logs == {path for path in expected if not not_asked_for.search(path)}


def test_a_cancelled_job_and_a_drained_node_are_recovered_from(cluster, tiny_run, tmp_path):
    folder = without_seed_0(tiny_run, tmp_path / "run")
    process = start(folder, SEEDS[0])
    (lost,) = wait_for(lambda: [job for job in cluster.active(folder) if job["state"] == "RUNNING"], process)
    assert "train" in lost["rule"]
    slurm("scontrol", "update", f"NodeName={lost['node']}", "State=DRAIN", "Reason=test")
    try:
        slurm("scancel", lost["id"])
        assert process.wait(timeout=600) == 0
    finally:
        slurm("scontrol", "update", f"NodeName={lost['node']}", "State=RESUME")
    assert same(folder, tiny_run, SEEDS[0])

    jobs = {job["JobId"]: job for job in cluster.jobs(folder)}
    assert jobs.pop(lost["id"])["JobState"] == "CANCELLED"
    assert {job["JobState"] for job in jobs.values()} == {"COMPLETED"}
    assert len(jobs) == 2 and lost["node"] not in {job["NodeList"] for job in jobs.values()}


def test_a_run_whose_controller_was_killed_is_finished_by_the_same_command(cluster, tiny_run, tmp_path):
    folder = without_seed_0(tiny_run, tmp_path / "run")
    process = start(folder, SEEDS[0])
    wait_for(lambda: cluster.active(folder), process)
    # A controller killed before it has saved a job gives the next one the same number, and SLURM holds that back.
    seen = time.time()
    wait_for(lambda: cluster.saved() > seen, process)
    before = (folder / "data/prepared/breast_cancer_split0.safetensors").stat().st_mtime_ns
    cluster.kill_controller()
    try:
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=600) != 0
    finally:
        cluster.do("controller")
    again = run(folder, SEEDS[0])
    assert again.returncode == 0, again.stderr[-4000:]
    assert same(folder, tiny_run, SEEDS[0])
    assert (folder / "data/prepared/breast_cancer_split0.safetensors").stat().st_mtime_ns == before


def test_a_failed_cell_is_named_at_the_end_and_those_of_its_group_are_made_apart(cluster, tiny_run, tmp_path):
    folder = tmp_path / "broken"
    shutil.copytree(tiny_run, folder)
    (folder / "results/tiny/breast_cancer/dnn_simple/seed0/fp32/model.safetensors").write_bytes(b"not a model")
    for path in SEEDS:
        shutil.rmtree((folder / path).parent)
    options = ["--rerun-triggers", "input", "--retries", "0"]
    failed = run(folder, *SEEDS, *options)
    assert failed.returncode != 0
    _, told, end = failed.stdout.partition("The logs of what failed, and how they end:\n")
    assert told and "logs/tiny/breast_cancer/dnn_simple/seed0/nearest.log:\n" in end
    assert "    failed: results/tiny/breast_cancer/dnn_simple/seed0/fp32/model.safetensors" in end
    assert [job["JobState"] for job in cluster.jobs(folder)] == ["FAILED"]

    assert run(folder, *SEEDS, *options, "--group-components", "cells=1").returncode != 0
    assert sorted(job["JobState"] for job in cluster.jobs(folder)) == ["COMPLETED", "FAILED", "FAILED"]
    assert same(folder, tiny_run, SEEDS[1])
    lost = [row for row in from_csv(folder / "results/tiny/metrics.csv") if row["status"] == "failed"]
    assert [(row["method"], row["seed"]) for row in lost] == [("nearest_uniform", "0")]


def test_with_device_cuda_training_asks_for_a_gpu_and_gets_its_partition(cluster, tiny_run, tmp_path):
    shutil.copytree(tiny_run / "data", tmp_path / "data")
    config = tmp_path / "gpu.yaml"
    config.write_text(TINY.read_text() + "device: cuda\n")
    partitions = tmp_path / "partitions.yaml"
    partitions.write_text("partitions: {main: {}, gpu: {max_gpu: 1}}\n")
    training = "results/tiny/breast_cancer/dnn_simple/seed0/fp32/metrics.csv"
    # Where there is no GPU the job fails there, which is none of this test's business.
    run(tmp_path, training, "--retries", "0", "--slurm-partition-config", str(partitions), config=config)
    (job,) = cluster.jobs(tmp_path)
    assert (job["Partition"], job["NodeList"]) == ("gpu", "n2")
    assert "TresPerJob=gres:gpu:1" in slurm("scontrol", "show", "job", job["JobId"])
