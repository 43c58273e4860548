"""Fetching from a mirror of small files: exactly what a config needs."""

import os
from pathlib import Path

import pytest

from edgepress import sources

from .conftest import snakemake

MIRROR = Path(os.environ.get("EDGEPRESS_MIRROR", Path(__file__).parents[3] / "shared" / "datasets")).absolute()
FILE = "data/raw/telescope/telescope.dat"
PREPARED = "data/prepared/telescope_split0.safetensors"

pytestmark = pytest.mark.skipif(
    not (MIRROR / "telescope.dat").is_file(), reason="no telescope.dat; EDGEPRESS_MIRROR names the folder it is in"
)


@pytest.fixture
def config(tmp_path, monkeypatch) -> Path:
    """A config with one data set to fetch and one embedded; no mirror in the environment."""
    monkeypatch.delenv("EDGEPRESS_MIRROR", raising=False)
    path = tmp_path / "config.yaml"
    path.write_text(f"networks: {{telescope: [dnn_simple], breast_cancer: [dnn_simple]}}\nmirror: {MIRROR}\n")
    return path


def test_fetch_gets_what_is_needed_once(config, tmp_path):
    folder = tmp_path / "run"
    done = snakemake(folder, "fetch", config=config)
    assert done.returncode == 0, done.stderr[-3000:]
    assert [str(path.relative_to(folder)) for path in folder.glob("data/*/*/*")] == [FILE]
    sources.check(folder / FILE, sources.load()["telescope"]["telescope.dat"].sha256)
    assert snakemake(folder, PREPARED, config=config).returncode == 0

    # Another mirror makes no job run again, and none looks for what is there.
    config.write_text(config.read_text().replace(str(MIRROR), "/nowhere"))
    again = snakemake(folder, "fetch", PREPARED, config=config)
    assert "Nothing to be done" in again.stderr, again.stderr[-3000:]
    forced = snakemake(folder, "fetch", "--forceall", config=config)
    assert forced.returncode == 0, forced.stderr[-3000:]
    assert "already present" in (folder / "logs/fetch/telescope/telescope.dat.log").read_text()


def test_an_embedded_data_set_needs_nothing(tmp_path):
    done = snakemake(tmp_path, "fetch")
    assert done.returncode == 0, done.stderr[-3000:]
    assert not (tmp_path / "data").exists()


def test_a_file_that_was_changed_is_not_used(config, tmp_path):
    folder = tmp_path / "run"
    (folder / FILE).parent.mkdir(parents=True)
    (folder / FILE).write_bytes(b"mine\n")
    failed = snakemake(folder, PREPARED, config=config)
    assert failed.returncode != 0
    assert f"{FILE} has sha256" in failed.stderr and "must have" in failed.stderr and "Traceback" not in failed.stderr
    assert not (folder / PREPARED).exists()
