import os
import stat
import subprocess
import sys

import pytest

from edgepress.files import hold_new, is_held, write_atomically


def test_text_and_bytes_are_written_as_they_are(tmp_path):
    write_atomically(tmp_path / "text", "größe\n× 2\r\n")
    write_atomically(str(tmp_path / "bytes"), b"\0\r\n\xff")
    assert (tmp_path / "text").read_bytes() == "größe\n× 2\r\n".encode()
    assert (tmp_path / "bytes").read_bytes() == b"\0\r\n\xff"


def test_folders_are_made_and_an_earlier_file_is_replaced(tmp_path):
    path = tmp_path / "results" / "starter" / "metrics.csv"
    write_atomically(path, "long old content")
    write_atomically(path, "new")
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


def test_a_reader_of_the_earlier_file_is_not_disturbed(tmp_path):
    path = tmp_path / "metrics.csv"
    write_atomically(path, "old")
    with path.open() as reader:
        write_atomically(path, "new")
        assert reader.read() == "old"


def test_a_failure_leaves_the_earlier_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "metrics.csv"
    write_atomically(path, "old")
    descriptors = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None  # noqa: PTH112, PTH208

    for content in (3, None, "\ud800"):
        with pytest.raises((TypeError, UnicodeEncodeError)):
            write_atomically(path, content)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    if descriptors is not None:
        assert len(os.listdir("/proc/self/fd")) == descriptors  # noqa: PTH208


def test_a_target_that_cannot_be_replaced_leaves_no_temporary_file(tmp_path):
    (tmp_path / "taken" / "inside").mkdir(parents=True)
    with pytest.raises(OSError):
        write_atomically(tmp_path / "taken", "content")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_permissions_are_those_of_an_ordinary_new_file(tmp_path):
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "file", "x")
        (tmp_path / "ordinary").write_text("x")
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("file", "ordinary")]
    assert modes == [0o640, 0o640]


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path):
    write = "import os, sys; from edgepress import files; files.os.dup = lambda handle: os.kill(os.getpid(), 9); "
    line = [sys.executable, "-c", write + "files.write_atomically(sys.argv[1], 'x' * 99)", tmp_path / "w8.safetensors"]
    assert subprocess.run(line, check=False).returncode == -9
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".w8.safetensors.")
    (tmp_path / ".w8.safetensors.swp").write_text("an editor's")
    write_atomically(tmp_path / "w8.safetensors", "whole")
    assert {path.name for path in tmp_path.iterdir()} == {"w8.safetensors", ".w8.safetensors.swp"}


def test_what_a_living_writer_holds_stays(tmp_path):
    handle, held = hold_new(tmp_path, ".metrics.csv.", ".part")
    write_atomically(tmp_path / "metrics.csv", "x")
    assert held.exists() and is_held(held)
    os.close(handle)
    assert not is_held(held)
    write_atomically(tmp_path / "metrics.csv", "x")
    assert not held.exists()


def test_two_writers_leave_one_whole_file(tmp_path):
    """A job continues although its run was killed, while the next run starts the same job."""
    path = tmp_path / "metrics.csv"
    texts = ["a" * 3_000_000, "b" * 2_000_000]
    write = "import sys; from edgepress import files\nfor _ in range(20): files.write_atomically(*sys.argv[1:])"
    write = write.replace("*sys.argv[1:]", "sys.argv[1], sys.argv[2] * int(sys.argv[3])")
    lines = [[sys.executable, "-c", write, path, text[0], str(len(text))] for text in texts]
    writers = [subprocess.Popen(line) for line in lines]
    while any(writer.poll() is None for writer in writers):
        assert not path.exists() or path.read_text() in texts
    assert [writer.wait() for writer in writers] == [0, 0]
    assert list(tmp_path.iterdir()) == [path]
