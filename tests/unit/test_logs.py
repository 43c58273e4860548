import sys

import pytest

from edgepress import logs


@pytest.mark.parametrize(
    "text, last",
    [
        ("one\ntwo\n", "two"),
        ("one\n  two  \n\n   \n", "two"),
        ("Traceback (most recent call last):\n  File …\nValueError: no codebook", "ValueError: no codebook"),
        ("", ""),
        ("\n\n", ""),
    ],
)
def test_last_line(tmp_path, text, last):
    path = tmp_path / "job.log"
    path.write_text(text, encoding="utf-8")
    assert logs.last_line(path) == last


def test_no_log_says_nothing(tmp_path):
    assert logs.last_line(tmp_path / "absent.log") == ""


def test_a_log_that_is_no_text_is_read_as_far_as_it_goes(tmp_path):
    path = tmp_path / "job.log"
    path.write_bytes(b"fine\nbad \xff byte\n")
    assert logs.last_line(path).startswith("bad ")


def test_what_a_job_prints_goes_to_its_log(tmp_path, capsys):
    with logs.job(tmp_path / "job.log"):
        print("to stdout")
        print("to stderr", file=sys.stderr)
    assert (tmp_path / "job.log").read_text() == "to stdout\nto stderr\n"
    assert capsys.readouterr() == ("", "")


def test_a_failed_job_ends_with_its_error_in_the_log(tmp_path):
    with pytest.raises(SystemExit) as caught, logs.job(tmp_path / "job.log"):
        print("before")
        raise ArithmeticError("training diverged in epoch 3")
    assert caught.value.code == 1
    assert logs.last_line(tmp_path / "job.log") == "ArithmeticError: training diverged in epoch 3"
    assert (tmp_path / "job.log").read_text().startswith("before\nTraceback")
