import os
import stat

import pytest

from edgepress.files import write_atomically


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
