"""Levels are kept one by one, and made again only where what they were made from has changed."""

import pytest

from edgepress.level_files import LevelFiles

SETTINGS = {"steps": ["nearest_uniform"], "draws": 1, "code": "abc", "model": 1}
ROWS = [{"level": "w4", "loss": 0.1 + 0.2, "act_bits": None, "bops": 2**60 + 1, "reason": "a, “b”"}]


def kept(folder, **changed):
    return LevelFiles(folder, SETTINGS | changed)


def test_rows_come_back_as_they_were(tmp_path):
    kept(tmp_path).keep("w4", b"packed", ROWS)
    assert kept(tmp_path).rows(["w4"]) == ROWS
    assert (tmp_path / "w4.safetensors").read_bytes() == b"packed"


def test_a_level_is_missing_until_both_files_are_there_and_made_from_the_same(tmp_path):
    levels = ["w8", "w4"]
    assert kept(tmp_path).missing(levels) == levels
    kept(tmp_path).keep("w4", b"packed", ROWS)
    assert kept(tmp_path).missing(levels) == ["w8"]
    for changed in ({"draws": 2}, {"code": "abd"}, {"model": 2}, {"splits": ["test"]}):
        assert kept(tmp_path, **changed).missing(levels) == levels
    for content in ("", "{", "[]", '{"rows": []}', '{"made_from": 1}'):
        (tmp_path / "w8.safetensors").touch()
        (tmp_path / "w8.json").write_text(content)
        assert kept(tmp_path).missing(levels) == ["w8"], content
    (tmp_path / "w4.safetensors").unlink()
    assert kept(tmp_path).missing(levels) == levels


def test_a_level_that_is_metered_needs_its_energy(tmp_path):
    files = kept(tmp_path)
    files.keep("w4", b"packed", ROWS)
    assert files.missing(["w4"], metered=True) == ["w4"]
    files.energy("w4").touch()
    assert files.missing(["w4"], metered=True) == []


def test_rows_of_a_missing_level_are_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"w4\.json"):
        kept(tmp_path).rows(["w4"])
