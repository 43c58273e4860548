"""The user's own data, networks and methods in a folder outside the repository."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from edgepress.metrics import from_csv

from ..unit import small_own
from .conftest import snakemake

CONFIG = {
    "run": "own",
    "plugins": ["my_method.py"],
    "own_data": {"people": {"csv": "people.csv", "target": "stays", "task": "classification"}},
    "own_networks": {"tiny": {"builder": "nets:Tiny", "args": {"width": 5}}},
    "networks": {"people": ["tiny", "dnn_simple"]},
    "seeds": [0, 1],
    "methods": ["signs", "magnitude"],
    "bits": [2, 1],
    "sparsity": [0.5],
    "splits": ["val", "test"],
    "training": {"max_epochs": 2},
    "overrides": {"people/tiny": {"training": None, "weights": "tiny.safetensors"}},
}
RUN = Path("results/own")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The folder of a user, in which the run is finished."""
    folder = tmp_path_factory.mktemp("own")
    small_own.write(folder)
    generator = torch.Generator().manual_seed(0)
    shapes = {"hidden.weight": (5, 3), "hidden.bias": (5,), "head.weight": (2, 5), "head.bias": (2,)}
    save_file({name: torch.randn(s, generator=generator) for name, s in shapes.items()}, folder / "tiny.safetensors")
    (folder / "own.yaml").write_text(yaml.safe_dump(CONFIG), encoding="utf-8")
    done = snakemake(folder, config=folder / "own.yaml")
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


def planned(folder: Path) -> dict[str, int]:
    """The jobs that a run would do now, by their rules."""
    done = snakemake(folder, "--dry-run", config=folder / "own.yaml")
    assert done.returncode == 0, done.stderr[-4000:]
    if "Nothing to be done" in done.stdout + done.stderr:
        return {}
    table = done.stdout.split("Job stats:")[1].split("total")[0].splitlines()[3:]
    return {line.split()[0]: int(line.split()[1]) for line in table if line.strip()}


def test_every_cell_is_measured(folder):
    rows = from_csv(folder / RUN / "metrics.csv")
    cells = {(row["network"], row["seed"], row["method"], row["level"], row["status"]) for row in rows}
    expected = set()
    for network, seed in (("tiny", "0"), ("dnn_simple", "0"), ("dnn_simple", "1")):  # tiny is not trained: one seed
        expected |= {(network, seed, "fp32", "w32", "ok"), (network, seed, "magnitude", "s50", "ok")}
        expected |= {(network, seed, "signs", "w1", "ok"), (network, seed, "signs", "w2", "skipped")}
    assert cells == expected
    assert {row["dataset"] for row in rows} == {"people"}
    assert (folder / RUN / "report/index.html").exists()


def test_a_network_that_is_not_trained_is_the_users(folder):
    users, measured = (
        load_file(folder / "tiny.safetensors"),
        load_file(folder / RUN / "people/tiny/seed0/fp32/model.safetensors"),
    )
    assert users.keys() == measured.keys() and all(torch.equal(users[name], measured[name]) for name in users)
    assert from_csv(folder / RUN / "people/tiny/seed0/fp32/history.csv") == []


def test_the_manifest_tells_what_is_the_users(folder):
    manifest = json.loads((folder / RUN / "manifest.json").read_text(encoding="utf-8"))
    assert {kind: list(entries) for kind, entries in manifest["own"].items()} == {
        "datasets": ["people"], "networks": ["tiny"], "methods": ["signs"], "peers": [], "targets": []
    }  # fmt: skip
    assert set(manifest["own_files_sha256"]) == {"people.csv", "tiny.safetensors"}


def test_nothing_is_done_again_for_a_touch(folder):
    for file in ("people.csv", "nets.py", "my_method.py"):
        (folder / file).touch()
    assert planned(folder) == {}


@pytest.mark.parametrize(
    "file, addition, again, spared",
    [
        ("people.csv", "3,3,3,yes\n", {"prepare_dataset": 1, "train_network": 3, "compress": 6}, set()),
        ("layers.py", "\nmore = 1\n", {"train_network": 1, "compress": 2}, {"prepare_dataset"}),
        ("my_method.py", "\nmore = 1\n", {"compress": 3}, {"prepare_dataset", "train_network"}),  # not the 3 of pruning
    ],
)
def test_what_uses_an_edited_file_is_done_again(folder, file, addition, again, spared):
    before = (folder / file).read_text(encoding="utf-8")
    (folder / file).write_text(before + addition, encoding="utf-8")
    plan = planned(folder)
    (folder / file).write_text(before, encoding="utf-8")
    assert again.items() <= plan.items() and not spared & plan.keys()


def test_a_method_of_the_users_that_fails_is_told_and_the_others_go_on(tmp_path):
    small_own.write(tmp_path)
    source = small_own.METHOD.replace("size = ", "size = undefined * ")
    (tmp_path / "my_method.py").write_text(source, encoding="utf-8")
    config = CONFIG | {"networks": {"people": ["dnn_simple"]}, "overrides": {}, "seeds": [0]}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    done = snakemake(tmp_path, "results/own/metrics.csv", config=tmp_path / "own.yaml")
    assert done.returncode == 0, done.stderr[-2000:]  # as where a level's outputs are not finite
    assert "signs" in done.stdout and "NameError: name 'undefined' is not defined" in done.stdout
    rows = from_csv(tmp_path / RUN / "metrics.csv")
    failed = [row for row in rows if row["status"] == "failed"]
    assert {(row["method"], row["reason"]) for row in failed} == {
        ("signs", "NameError: name 'undefined' is not defined")
    }
    assert {row["method"] for row in rows if row["status"] == "ok"} == {"fp32", "magnitude"}
