"""Killed runs: the same command finishes them, nothing is lost, and no finished job is repeated."""

import os
import random
import re
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from edgepress.metrics import from_csv

from .conftest import TINY, command

RUN = "results/tiny"
TARGET = f"{RUN}/metrics.csv"
SEED = int(os.environ.get("EDGEPRESS_KILL_SEED", "0"))


class Killing:
    """A run in ``folder`` that is begun and killed, again and again, and what its jobs were."""

    def __init__(self, folder: Path, config: Path) -> None:
        self.folder, self.config = folder, config
        self.finished: set[str] = set()
        folder.mkdir()

    def begin(self, target: str = TARGET) -> psutil.Popen:
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "EDGEPRESS_CHECKPOINT_SECONDS": "0"}
        with (self.folder / "snakemake.log").open("w") as log:
            return psutil.Popen(
                command(self.folder, target, config=self.config),
                start_new_session=True,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
            )

    def said(self) -> str:
        return (self.folder / "snakemake.log").read_text()

    def check_jobs(self) -> None:
        """No job that an earlier run has finished was begun by this one."""
        begun = dict(re.findall(r"^Job (\d+): (.*)$", self.said(), re.MULTILINE))
        assert not self.finished & set(begun.values()), f"done again: {self.finished & set(begun.values())}"
        self.finished |= {begun[number] for number in re.findall(r"^Finished jobid: (\d+)", self.said(), re.MULTILINE)}

    def end(self, run: psutil.Popen) -> None:
        """Let ``run`` come to its end: the result is there and nothing else is left."""
        assert run.wait(timeout=600) == 0, self.said()[-4000:]
        self.check_jobs()
        left = [str(path) for path in self.folder.rglob("*.part")]
        assert not left and not (self.folder / "checkpoints").exists()
        assert not list((self.folder / ".snakemake/incomplete").iterdir())


def jobs_of(run: psutil.Process) -> list[psutil.Process]:
    found = []
    for process in run.children(recursive=True):
        try:
            if any("/.snakemake/scripts/" in word for word in process.cmdline()):
                found.append(process)
        except psutil.NoSuchProcess:
            pass
    return found


def strike(run: psutil.Popen, how: str, draw: random.Random) -> None:
    if how == "job":  # as for want of memory; the run goes on with other cells, and ends with an error
        jobs = jobs_of(run)
        if jobs:
            draw.choice(jobs).kill()
        run.wait(timeout=600)
    elif how == "run":  # its jobs live on
        run.kill()
        run.wait()
    else:
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()


def write_small(path: Path) -> Path:
    """The tiny run's breast_cancer with seed 0 alone: all kinds of jobs, in some seconds."""
    text = TINY.read_text().replace("  mv_synthetic: [dnn_complex]\n", "").replace("seeds: [0, 1]", "seeds: [0]")
    path.write_text(text)
    return path


def of_the_small_run(metrics: str) -> str:
    header, *rows = metrics.splitlines(keepends=True)
    return header + "".join(row for row in rows if row.startswith("breast_cancer,dnn_simple,0,"))


@pytest.mark.parametrize(
    ("config", "rounds", "longest"),
    [("small", 3, 6), pytest.param("tiny", 24, 20, marks=pytest.mark.kill)],
    ids=["some", "many"],
)
def test_a_run_killed_at_random_moments_is_finished_by_the_same_command(config, rounds, longest, tiny_run, tmp_path):
    expected = (tiny_run / TARGET).read_text()
    path = TINY
    if config == "small":
        path, expected = write_small(tmp_path / "small.yaml"), of_the_small_run(expected)
    draw, told, number = random.Random(SEED), [], 0
    killing = Killing(tmp_path / "0", path)
    try:
        while number < rounds:
            how, moment = draw.choice(["run", "all", "job"]), draw.uniform(0.5, longest)
            run = killing.begin()
            try:
                run.wait(timeout=moment)
            except psutil.TimeoutExpired:
                strike(run, how, draw)
                number += 1
                told.append(f"{how} at {moment:.2f} s")
                killing.check_jobs()
            else:
                killing.end(run)
                assert (killing.folder / TARGET).read_text() == expected
                told.append("finished")
                killing = Killing(tmp_path / str(number), path)
        killing.end(killing.begin())
        assert (killing.folder / TARGET).read_text() == expected
    except AssertionError:
        print(f"EDGEPRESS_KILL_SEED={SEED}, in {killing.folder}: {', '.join(told)}")
        raise


def wait_until(condition, process: psutil.Process, seconds: float = 120) -> None:
    for _ in range(int(seconds / 0.02)):
        if condition():
            return
        assert process.is_running() and process.status() != psutil.STATUS_ZOMBIE, "it ended too early"
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s")


def test_a_training_killed_at_60_percent_repeats_at_most_one_epoch(tmp_path):
    """Snakemake alone is killed: the job must not live on, and what the next makes must be as if nothing had been."""
    config = tmp_path / "long.yaml"
    epochs = 500
    config.write_text(
        f"run: tiny\nnetworks: {{breast_cancer: [dnn_simple]}}\nseeds: [0]\nmethods: [lsq]\nbits: [4]\n"
        f"training: {{max_epochs: {epochs}, patience: {epochs}}}\n"
    )
    trained = "breast_cancer/dnn_simple/seed0"
    model = f"{RUN}/{trained}/fp32/model.safetensors"
    unbroken, killed = Killing(tmp_path / "unbroken", config), Killing(tmp_path / "killed", config)
    unbroken.end(unbroken.begin(model))

    run = killed.begin(model)
    path = killed.folder / "logs/tiny" / trained / "train.log"
    wait_until(lambda: path.exists() and f"'epoch': {epochs * 6 // 10}," in path.read_text(), run)
    (job,) = jobs_of(run)
    run.kill()
    run.wait()
    job.wait(timeout=30)
    came_to = int(re.findall(r"'epoch': (\d+),", path.read_text())[-1])
    assert epochs * 6 // 10 <= came_to < epochs, "it went on to its end"
    assert not (killed.folder / model).exists()

    killed.end(killed.begin(model))
    resumed = int(re.search(r"^Resumed after epoch (\d+)", path.read_text(), re.MULTILINE)[1])
    assert came_to - 1 <= resumed <= came_to
    assert (killed.folder / model).read_bytes() == (unbroken.folder / model).read_bytes()


def test_a_folder_where_a_run_lives_stays_locked(tmp_path):
    killing = Killing(tmp_path / "run", write_small(tmp_path / "small.yaml"))
    run = killing.begin()
    locks = killing.folder / ".snakemake/locks"
    wait_until(lambda: locks.exists() and any(locks.iterdir()), run)
    second = subprocess.run(command(killing.folder, TARGET, config=killing.config), capture_output=True, text=True)
    assert run.is_running() and run.status() != psutil.STATUS_ZOMBIE, "the run was too short to tell"
    assert second.returncode != 0 and "LockException" in second.stderr, second.stderr[-2000:]
    assert any(locks.iterdir())
    run.kill()
    run.wait()
    assert any(locks.iterdir())
    killing.end(killing.begin())
    assert {row["status"] for row in from_csv(killing.folder / TARGET)} == {"ok"}
