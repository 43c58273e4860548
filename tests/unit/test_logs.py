import os
import sys

import pytest
import torch
from torch import fx, nn

from edgepress import logs


@pytest.mark.parametrize(
    "text, reason",
    [
        ("one\nfailed: ValueError: no codebook\n", "ValueError: no codebook"),
        ("random s90 1,200 bytes\ndone\n", ""),
        ("failed: then went on\ndone\n", ""),
    ],
)
def test_only_a_closing_failure_is_one(tmp_path, text, reason):
    path = tmp_path / "job.log"
    path.write_text(text, encoding="utf-8")
    assert logs.failure(path) == reason


@pytest.mark.parametrize("text", ["", "random s90 1,200 bytes\n", "failed: then went on\ntwo\n"])
def test_a_log_without_an_end_is_that_of_a_killed_job(tmp_path, text):
    path = tmp_path / "job.log"
    path.write_text(text)
    assert logs.failure(path).startswith("its process was killed") and str(path) in logs.failure(path)


def test_no_log_says_nothing(tmp_path):
    assert logs.failure(tmp_path / "absent.log") == ""


def test_a_log_that_is_no_text_is_read_as_far_as_it_goes(tmp_path):
    path = tmp_path / "job.log"
    path.write_bytes(b"fine \xff\nfailed: bad \xfe byte\n")
    assert logs.failure(path).startswith("bad ")


def test_what_a_job_prints_goes_to_its_log(tmp_path, capsys):
    with logs.job(tmp_path / "job.log"):
        print("to stdout")
        print("to stderr", file=sys.stderr)
    *said, took, done = (tmp_path / "job.log").read_text().splitlines()
    assert said == ["to stdout", "to stderr"] and done == "done"
    seconds, megabytes = map(float, logs.taken(tmp_path / "job.log"))
    assert 0 < seconds < 3600 and 10 < megabytes < 100_000, took
    assert capsys.readouterr() == ("", "")


def test_a_failed_job_ends_with_its_error_in_one_line(tmp_path):
    with pytest.raises(SystemExit) as caught, logs.job(tmp_path / "job.log"):
        print("before")
        raise ArithmeticError("training diverged\nin epoch 3")
    assert caught.value.code == 1
    assert logs.failure(tmp_path / "job.log") == "ArithmeticError: training diverged in epoch 3"
    assert (tmp_path / "job.log").read_text().startswith("before\nTraceback")


def test_an_error_whose_message_says_it_all_has_no_traceback(tmp_path):
    with pytest.raises(SystemExit), logs.job(tmp_path / "job.log", FileNotFoundError):
        raise FileNotFoundError("mv.dat is not there; fetch it")
    assert (tmp_path / "job.log").read_text() == "failed: mv.dat is not there; fetch it\n"


def test_the_ends_of_failed_and_stopped_jobs_are_shown(tmp_path):
    (tmp_path / "slurm").mkdir()
    (tmp_path / "train.log").write_text("1\n2\n3\n4\nfailed: ValueError: no\n")
    (tmp_path / "fine.log").write_text("all is well\n")
    (tmp_path / "slurm/7.log").write_text(
        "epoch 3\nslurmstepd: error: *** JOB 7 CANCELLED DUE TO TIME LIMIT ***\nbye\n"
    )
    (tmp_path / "old.log").write_text("failed: in another run\n")
    os.utime(tmp_path / "old.log", (1000, 1000))
    assert logs.failures(tmp_path, since=2000) == (
        f"{tmp_path}/slurm/7.log:\n    slurmstepd: error: *** JOB 7 CANCELLED DUE TO TIME LIMIT ***\n"
        f"{tmp_path}/train.log:\n    2\n    3\n    4\n    failed: ValueError: no"
    )


def test_of_many_failures_the_rest_is_counted(tmp_path):
    for number in range(5):
        (tmp_path / f"{number}.log").write_text("failed: no\n")
    assert logs.failures(tmp_path, since=0, most=2).endswith("1.log:\n    failed: no\n… and 3 more")
    assert logs.failures(tmp_path / "absent", since=0) == ""


def test_a_reason_is_one_line_without_what_torch_adds():
    """Interpreters of graphs append the node, the traceback and advice to what was raised."""
    raised = RuntimeError(
        "stack expects\n  a list\n\nWhile executing %relu : [num_users=1] = call_module[target=a](args = (%x,))\n"
        "Original traceback:\nNone\nUse tlparse to see full graph."
    )
    assert logs.one_line(raised) == "stack expects a list"
    assert logs.one_line(RuntimeError("While executing %relu")) == logs.one_line(RuntimeError()) == "RuntimeError"


def test_what_torch_raises_inside_a_graph_is_one_line(tmp_path):
    class Broken(nn.Module):
        def forward(self, x):
            return x @ torch.ones(3, 2)

    with pytest.raises(RuntimeError, match="While executing") as raised:
        fx.Interpreter(fx.symbolic_trace(Broken())).run(torch.ones(1, 5))
    assert logs.one_line(raised.value) == "mat1 and mat2 shapes cannot be multiplied (1x5 and 3x2)"
    with pytest.raises(SystemExit), logs.job(tmp_path / "job.log"):
        raise raised.value
    assert logs.failure(tmp_path / "job.log") == f"RuntimeError: {logs.one_line(raised.value)}"
