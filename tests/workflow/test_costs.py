"""Costs and peers in a config: simulated accelerators, energy of training, other libraries."""

import pytest

from edgepress.metrics import from_csv

from .conftest import REPOSITORY, TINY, snakemake

ONE_TRAINING = """
run: one
networks: {breast_cancer: [dnn_simple]}
seeds: [0]
methods: [nearest_uniform, lsq]
bits: [8]
splits: [val, test]
training: {max_epochs: 1}
retraining: {max_epochs: 1}
"""


def planned(folder, *words, config):
    plan = snakemake(folder, "--dry-run", *words, config=config)
    assert plan.returncode == 0, plan.stderr
    jobs = (line.split() for line in plan.stdout.splitlines())
    return {
        words[0]: int(words[1])
        for words in jobs
        if len(words) == 2 and words[1].isdigit() and words[0].isidentifier() and words[0] != "total"
    }


@pytest.fixture
def one(tmp_path):
    """Write a config of one training, with these lines added, and give its path."""

    def write(*lines):
        config = tmp_path / "one.yaml"
        config.write_text("\n".join([ONE_TRAINING, *lines]) + "\n")
        return config

    return write


def test_accelerators_are_simulated_a_network_and_precision_and_nothing_is_trained_for_it(tiny_copy, tmp_path):
    config = tmp_path / "more.yaml"
    config.write_text(TINY.read_text() + "hardware: [w8a8, w4a4]\n")
    jobs = planned(tiny_copy, config=config)
    assert {name: count for name, count in jobs.items() if not name.startswith("report_")} == {
        "all": 1,
        "simulate_hardware": 2 * 3,
        "collect_hardware": 1,
    }


def test_hardware_is_a_table_of_each_precision(one, tmp_path):
    pytest.importorskip("zigzag")
    config = one("hardware: [w4a8]")
    done = snakemake(tmp_path, "results/one/hardware.csv", config=config)
    assert done.returncode == 0, done.stderr[-3000:]
    full, low = from_csv(tmp_path / "results/one/hardware.csv")
    assert (full["level"], low["level"]) == ("w32a32", "w4a8")
    assert full["macs"] == low["macs"] == str(30 * 10 + 10 * 2)
    assert float(full["energy_uj"]) > float(low["energy_uj"]) > 0
    assert {row["status"] for row in (full, low)} == {"ok"} and full["source"] == "modelled"
    assert planned(tmp_path, "results/one/hardware.csv", config=config) == {}


def test_energy_is_a_row_a_training(one, tmp_path):
    pytest.importorskip("codecarbon")
    done = snakemake(tmp_path, "results/one/energy.csv", config=one("energy: {country: DEU}"))
    assert done.returncode == 0, done.stderr[-3000:]
    rows = from_csv(tmp_path / "results/one/energy.csv")
    assert [(row["method"], row["level"], row["seed"]) for row in rows] == [("fp32", "w32", "0"), ("lsq", "w8", "0")]
    assert {row["country"] for row in rows} == {"DEU"}
    assert all(float(row["kwh"]) > 0 and row["source"] in ("measured", "modelled") for row in rows)
    model = "results/one/breast_cancer/dnn_simple/seed0/fp32/model.safetensors"
    for line in ("energy: {country: FRA}", "energy: null"):
        assert planned(tmp_path, model, config=one(line)) == {}


def test_energy_that_is_asked_for_later_is_that_of_another_training(one, tmp_path):
    model = "results/one/breast_cancer/dnn_simple/seed0/fp32/model.safetensors"
    trained = snakemake(tmp_path, model, config=one())
    assert trained.returncode == 0, trained.stderr[-3000:]
    assert planned(tmp_path, model, config=one("hardware: [w8a8]")) == {}
    assert "train_network" in planned(tmp_path, "results/one/energy.csv", config=one("energy: {country: DEU}"))


def test_recipes_are_followed_side_by_side(one, tmp_path):
    config = one("recipes: [adam, onecycle, progressive]", "overrides: {breast_cancer: {training: {max_epochs: 3}}}")
    done = snakemake(tmp_path, "results/one/recipes.csv", "results/one/report/recipes.html", config=config)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = from_csv(tmp_path / "results/one/recipes.csv")
    followed = [("adam", "1"), ("adam", "2"), ("adam", "3"), ("onecycle", "1"), ("onecycle", "2"), ("onecycle", "3")]
    assert [(row["recipe"], row["epoch"]) for row in rows] == [*followed, ("progressive", "")]
    assert [int(row["steps"]) for row in rows[2::3][:2]] == [3 * 22, 3 * 3]  # 341 rows by 16, and by 128
    assert rows[-1]["status"] == "skipped" and {row["source"] for row in rows[:-1]} == {"unavailable"}
    assert planned(tmp_path, "results/one/recipes.csv", config=config) == {}
    assert (tmp_path / "results/one/tables/recipes.csv").exists()


def test_peers_are_a_job_each_and_nothing_else_is_done_again_for_them(tiny_copy, tmp_path):
    config = tmp_path / "more.yaml"
    config.write_text(TINY.read_text() + "peers: [onnxruntime, torchao]\n")
    jobs = planned(tiny_copy, config=config)
    assert {name: count for name, count in jobs.items() if not name.startswith("report_")} == {
        "all": 1,
        "compress_by_peer": 2 * 2 * 2,
        "collect_metrics": 1,
        "collect_timings": 1,
    }


def test_peers_are_rows_beside_the_methods_and_say_what_they_lack(one, tmp_path):
    plugin = REPOSITORY / "tests/unit/small_peer.py"
    config = one(f"plugins: [{plugin}]", "peers: [halves, absent]")
    done = snakemake(tmp_path, "results/one/metrics.csv", config=config)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = from_csv(tmp_path / "results/one/metrics.csv")
    found = {(row["method"], row["level"]): row["status"] for row in rows if row["family"] == "peer"}
    assert found == {
        ("halves", "w16"): "ok",
        ("halves", "w8"): "failed",
        ("absent", "w8a8"): "skipped",
        ("absent", "w4"): "skipped",
    }
    (reason,) = {row["reason"] for row in rows if row["method"] == "absent"}
    assert "pip install --no-deps --requirement envs/requirements-peers.lock" in reason
    size = {int(row["bytes"]) for row in rows if row["level"] == "w16"}
    files = tmp_path / "results/one/breast_cancer/dnn_simple/seed0/halves/files/w16"
    assert size == {sum(file.stat().st_size for file in files.iterdir())}
    assert planned(tmp_path, "results/one/metrics.csv", config=config) == {}
