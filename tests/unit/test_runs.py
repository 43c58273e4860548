"""Runs as separate processes: a killed run releases its lock file, and its jobs end."""

import os
import platform
import signal
import subprocess
import sys
import time

import pytest

from edgepress import files, runs

RUN = "import sys; from edgepress import runs; print(runs.begin(sys.argv[1]), flush=True); sys.stdin.read()"
JOB = """
import sys, time
from edgepress import logs
with logs.job(sys.argv[1]):
    print("at work")
    time.sleep(60)
"""


@pytest.fixture
def begin(tmp_path):
    """Begins a run in the folder, and gives its process and whether it was alone."""
    begun = []

    def begin():
        line = [sys.executable, "-c", RUN, tmp_path / "runs"]
        begun.append(subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        return begun[-1], begun[-1].stdout.readline() == "True\n"

    yield begin
    for process in begun:
        process.kill()
        process.communicate()


def kill(process):
    process.kill()
    process.wait()


def test_a_run_is_alone_once_the_others_are_dead(begin):
    first, alone = begin()
    assert alone
    second, alone = begin()
    assert not alone
    kill(first)
    third, alone = begin()
    assert not alone  # the second lives
    kill(second)
    kill(third)
    assert begin()[1]


def test_what_was_killed_leaves_nothing(begin, tmp_path):
    for _ in range(3):
        kill(begin()[0])
    begin()
    assert len(list((tmp_path / "runs").iterdir())) == 1


def test_where_nothing_can_be_held_nobody_is_alone(tmp_path, monkeypatch):
    (tmp_path / "taken").write_text("no folder")
    assert not runs.begin(tmp_path / "taken")

    def unsupported(*_):
        raise OSError("no locks here")

    monkeypatch.setattr(files.fcntl, "flock", unsupported)
    monkeypatch.setenv("EDGEPRESS_RUN", "")
    runs.begin(tmp_path / "runs")
    assert not runs.begin(tmp_path / "runs")


@pytest.mark.parametrize("machine", [platform.node(), "another machine"])
def test_a_job_ends_with_its_run_if_both_are_here(begin, tmp_path, machine):
    run, _ = begin()
    (held,) = (tmp_path / "runs").iterdir()
    environment = {**os.environ, "EDGEPRESS_RUN": f"{machine}:{held}"}
    job = subprocess.Popen([sys.executable, "-c", JOB, tmp_path / "job.log"], env=environment)
    try:
        while not (tmp_path / "job.log").exists() or not (tmp_path / "job.log").read_text():
            assert job.poll() is None
            time.sleep(0.05)
        os.kill(run.pid, signal.SIGKILL)
        if machine == platform.node():
            assert job.wait(timeout=30) == 1
        else:
            with pytest.raises(subprocess.TimeoutExpired):
                job.wait(timeout=2)
    finally:
        kill(job)


def test_a_job_whose_run_is_dead_already_does_not_begin(tmp_path):
    environment = {**os.environ, "EDGEPRESS_RUN": f"{platform.node()}:{tmp_path / 'gone'}"}
    done = subprocess.run([sys.executable, "-c", JOB, tmp_path / "job.log"], env=environment, timeout=30, check=False)
    assert done.returncode == 1
