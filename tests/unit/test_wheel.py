"""The built package: its content, and that the command works from it alone."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from edgepress import metrics

REPOSITORY = Path(__file__).parents[2]
BUILT_FROM = ("pyproject.toml", "README.md", "LICENSE", "src")


def pip(folder: Path, *words: str | Path) -> None:
    """Run pip offline, and show its output on failure."""
    line = [sys.executable, "-m", "pip", "--disable-pip-version-check", *map(str, words), "--no-index", "--no-deps"]
    done = subprocess.run(line, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy, since building leaves files behind; with installed packages, without the index."""
    folder = tmp_path_factory.mktemp("built")
    for part in BUILT_FROM:
        source = REPOSITORY / part
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(source, folder / part, ignore=ignored) if source.is_dir() else shutil.copy(source, folder)
    pip(folder, "wheel", "--quiet", "--no-build-isolation", "--wheel-dir", "dist", ".")
    (built,) = folder.glob("dist/*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel) -> Path:
    """The command in an environment that has the wheel and what it depends on, and no checkout.

    A .pth file brings the packages in, and does not read those that lie among them; an editable install is one.
    """
    home = wheel.parents[1] / "environment"
    venv.create(home, symlinks=True)
    (site_packages,) = home.glob("lib/python*/site-packages")
    (site_packages / "environment.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    assert edgepress(home / "bin/python", home, "-c", "import edgepress").returncode == 1
    pip(home, "--python", home / "bin/python", "install", "--quiet", wheel)
    return home / "bin/edgepress"


def edgepress(command: Path, folder: Path, *words: str) -> subprocess.CompletedProcess:
    alone = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run([command, *words], cwd=folder, env=alone, capture_output=True, text=True, check=False)


def test_the_wheel_has_every_file_of_the_library(wheel):
    library = REPOSITORY / "src/edgepress"
    files = {str(path.relative_to(library.parent)) for path in library.rglob("*") if path.is_file()}
    with zipfile.ZipFile(wheel) as archive:
        missing = {name for name in files if "__pycache__" not in name} - set(archive.namelist())
    assert not missing


def test_the_command_runs_from_the_wheel_alone(installed, tmp_path):
    save_file({"hidden.weight": torch.randn(8, 4), "head.weight": torch.randn(2, 8)}, tmp_path / "model.safetensors")
    cell = {"dataset": "digits", "network": "cnn", "seed": 0, "method": "fp32", "family": "fp32", "level": "w32"}
    row = cell | {"draw": 0, "split": "test", "loss": 0.3, "accuracy": 0.9, "bytes": 10, "status": "ok"}
    (tmp_path / "metrics.csv").write_text(metrics.to_csv([row]), encoding="utf-8")
    for words, said in {
        ("list", "methods"): "nearest_uniform ",
        ("describe", "churn"): "684,858 bytes",
        ("compress", "model.safetensors", "--method", "nearest_uniform", "--bits", "4"): "codes grid",
        ("inspect", "model.nearest_uniform_w4.safetensors"): "codes grid",
        ("unpack", "model.nearest_uniform_w4.safetensors"): "2 tensors",
        ("compare", "metrics.csv", "metrics.csv", "--html", "changes.html"): "changes.html",
    }.items():
        done = edgepress(installed, tmp_path, *words)
        assert done.returncode == 0 and said in done.stdout, f"{words}: {done.stdout}{done.stderr}"


def test_what_needs_the_checkout_says_so(installed, tmp_path):
    declared = 'METHODS = {"mine": {"object": "Mine", "about": "mine", "family": "mine", "sweep": "bits"}}'
    (tmp_path / "mine.py").write_text(declared, encoding="utf-8")
    done = edgepress(installed, tmp_path, "check", "mine.py")
    assert done.returncode == 2 and "checkout" in done.stderr
