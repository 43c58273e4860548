import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from edgepress.metrics import COLUMNS, from_csv
from edgepress.packing import Compressed

from .conftest import REPOSITORY, TINY, command, snakemake

RUN = "results/tiny"


def files(folder: Path, pattern: str) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.glob(pattern))}


def of_seed(seed: int, folder: Path) -> str:
    """The metrics.csv of a run of this seed alone, from one of more."""
    header, *rows = (folder / RUN / "metrics.csv").read_text().splitlines(keepends=True)
    return header + "".join(row for row in rows if row.split(",")[2] == str(seed))


def test_metrics_hold_every_cell_once(tiny_run):
    rows = from_csv(tiny_run / RUN / "metrics.csv")
    assert list(rows[0]) == list(COLUMNS)
    trainings = 2 * 2
    per_training = 1 + 2 + 2 * 2 + 2 * 2  # fp32; nearest at 2 levels; stochastic and random at 2 levels × 2 draws
    overridden = 2 * 2  # lsq at 2 levels, on the two trainings of breast_cancer
    on_train = trainings  # fp32 alone is measured there, too
    assert len(rows) == (trainings * per_training + overridden) * 2 + on_train  # val and test
    assert {row["dataset"] for row in rows if row["method"] == "lsq"} == {"breast_cancer"}
    keys = {tuple(row[k] for k in ("dataset", "network", "seed", "method", "level", "draw", "split")) for row in rows}
    assert len(keys) == len(rows)
    assert {row["status"] for row in rows} == {"ok"}


def test_bytes_are_those_of_the_files(tiny_run):
    for row in from_csv(tiny_run / RUN / "metrics.csv"):
        folder = tiny_run / RUN / row["dataset"] / row["network"] / f"seed{row['seed']}" / row["method"]
        file = folder / ("model.safetensors" if row["method"] == "fp32" else f"{row['level']}.safetensors")
        if row["draw"] == "0":
            assert int(row["bytes"]) == file.stat().st_size


def test_packed_files_hold_the_network(tiny_run):
    original = load_file(tiny_run / RUN / "mv_synthetic/dnn_complex/seed0/fp32/model.safetensors")
    state = Compressed.load(
        tiny_run / RUN / "mv_synthetic/dnn_complex/seed0/nearest_uniform/w8.safetensors"
    ).state_dict()
    assert state.keys() == original.keys()
    for name, tensor in state.items():
        half_step = (original[name].max() - original[name].min()) / 255 / 2
        assert (tensor - original[name]).abs().max() <= half_step * 1.0001


@pytest.mark.parametrize("ending", ["png", "pdf"])
def test_every_declared_figure_exists_and_is_not_blank(tiny_run, ending):
    figures = list((tiny_run / RUN / "figures").glob(f"*.{ending}"))
    kinds = {"precision", "change", "pruning", "pareto", "training_curves", "gains"}
    claims = {"best_method", "worst_prior", "bits_needed", "pruning_after", "training_again", "control"}
    expected = {f"{k}_{d}" for k in kinds for d in ("breast_cancer", "mv_synthetic")} | {"qat_breast_cancer"}
    assert {figure.stem for figure in figures} == expected | {f"finding_{claim}" for claim in claims}
    assert all(figure.stat().st_size > 8000 for figure in figures)


def test_pages_show_figures_and_no_code(tiny_run):
    pages = {path.stem: path.read_text() for path in (tiny_run / RUN / "report").glob("*.html")}
    assert pages.keys() == {"index", "full_precision", "quantization", "pruning", "qat", "size", "gains", "findings"}
    for name in pages.keys() - {"index"}:
        assert "data:image/png" in pages[name]
        assert "style.save" not in pages[name]
        assert f'href="{name}.html"' in pages["index"]


def test_costs_that_were_not_asked_for_are_told_and_nothing_is_drawn_of_them(tiny_run):
    page = (tiny_run / RUN / "report/gains.html").read_text()
    for sentence in ("Latency was not measured", "inferences was not simulated", "of training was not measured"):
        assert sentence in page
    with (tiny_run / RUN / "tables/decide.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["cost"] for row in rows} == {"bytes", "BOPs"}
    assert {row["division"] for row in rows if row["dataset"] == "breast_cancer"} == {"closed", "open"}
    assert "Best method within a budget" in (tiny_run / RUN / "report/index.html").read_text()


def test_tables_have_three_forms(tiny_run):
    for name in ("full_precision", "best_at_each_precision", "smallest_within_one_percent", "decide"):
        with (tiny_run / RUN / f"tables/{name}.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert {row["dataset"] for row in rows} == {"breast_cancer", "mv_synthetic"}
        assert "breast cancer" in (tiny_run / RUN / f"tables/{name}.md").read_text()
        assert r"\begin{tabular}" in (tiny_run / RUN / f"tables/{name}.tex").read_text()


def test_manifest_says_where_results_come_from(tiny_run):
    manifest = json.loads((tiny_run / RUN / "manifest.json").read_text())
    assert manifest["ended"] == "complete"
    assert manifest["starts"][0] <= manifest["end"]
    assert manifest["seeds"] == [0, 1]
    assert len(manifest["config_sha256"]) == 64
    assert manifest["packages"]["torch"].startswith("2.")


def test_timings_cover_every_job(tiny_run):
    with (tiny_run / RUN / "timings.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["job"] for row in rows} == {"train", "nearest", "stochastic", "pruning", "qat_w8", "qat_w2"}
    assert len(rows) == 4 * 4 + 2 * 2
    assert all(float(row["seconds"]) > 0 for row in rows)


def test_another_copy_on_one_core_gives_the_same_bytes(tiny_run, tmp_path, monkeypatch):
    copy = tmp_path / "copy"
    folders = ("config", "envs", "notebooks", "profiles", "rules", "scripts", "src")
    for part in ("Snakefile", *folders):
        there = copy / part
        there.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (REPOSITORY / part).is_dir() else shutil.copy)(REPOSITORY / part, there)
    monkeypatch.setenv("PYTHONPATH", str(copy / "src"))
    line = [sys.executable, "-m", "snakemake", f"{RUN}/metrics.csv", "--cores", "1"]
    line += ["--configfile", "config/tiny.yaml", "--config", "seeds=[1]"]
    done = subprocess.run(line, cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    assert (copy / RUN / "metrics.csv").read_text() == of_seed(1, tiny_run)
    packed = files(copy, f"{RUN}/*/*/*/*/*.safetensors")
    assert len(packed) == 2 * (1 + 2 + 2 + 2) + 2
    assert packed == files(tiny_run, f"{RUN}/*/*/seed1/*/*.safetensors")


def test_nothing_is_left_to_do(tiny_copy):
    again = snakemake(tiny_copy)
    assert again.returncode == 0
    assert "Nothing to be done" in again.stderr


def test_a_new_method_runs_its_own_job_alone(tiny_copy, tmp_path):
    config = tmp_path / "more.yaml"
    text = (Path(__file__).parents[2] / "config/tiny.yaml").read_text()
    config.write_text(text.replace("methods: [nearest_uniform,", "methods: [nearest_uniform, multipoint,"))
    plan = snakemake(tiny_copy, "--dry-run", f"{RUN}/metrics.csv", config=config)
    assert plan.returncode == 0, plan.stderr
    planned = {
        line.split()[0] for line in plan.stdout.splitlines() if line.startswith(("compress", "train", "prepare"))
    }
    assert planned == {"compress"}


@pytest.mark.parametrize(
    ("before", "after", "again"),
    [
        ("bits: [8, 2]", "bits: [8, 4, 2]", {"compress": 4 * 2, "retrain": 2}),
        ("bits: [8, 2]", "bits: [4]", {"compress": 4 * 2, "retrain": 2}),
        ("sparsity: [0.0, 0.9]", "sparsity: [0.0, 0.9, 0.5]", {"compress": 4}),
    ],
    ids=["another", "instead", "a share"],
)
def test_levels_that_are_asked_for_later_are_planned(tiny_copy, tmp_path, before, after, again):
    config = tmp_path / "more.yaml"
    config.write_text(TINY.read_text().replace(before, after))
    plan = snakemake(tiny_copy, "--dry-run", config=config)
    assert plan.returncode == 0, plan.stderr
    planned = re.findall(r"^((?:compress|retrain|train|collect)\w*) +(\d+)$", plan.stdout, re.MULTILINE)
    assert {name: int(count) for name, count in planned} == {**again, "collect_metrics": 1, "collect_timings": 1}


def test_what_a_config_gains_is_made_and_nothing_else(tiny_copy, tmp_path):
    def levels():
        return {path: path.stat().st_mtime_ns for path in (tiny_copy / RUN).glob("*/*/*/*/*.safetensors")}

    config = tmp_path / "more.yaml"
    text = (
        TINY.read_text()
        .replace("bits: [8, 2]", "bits: [8, 4, 2]")
        .replace("[nearest_uniform,", "[nearest_uniform, nearest_normal,")
    )
    config.write_text(text.partition("overrides:")[0].replace("seeds: [0, 1]", "seeds: [0]"))
    before = levels()
    done = snakemake(tiny_copy, f"{RUN}/metrics.csv", config=config)
    assert done.returncode == 0, done.stderr[-3000:]
    after = levels()
    assert before.items() <= after.items()
    made = {(path.parent.name, path.stem) for path in after.keys() - before.keys()}
    assert made == {
        *[("nearest_normal", level) for level in ("w8", "w4", "w2")],
        ("nearest_uniform", "w4"),
        ("stochastic_normal", "w4"),
    }
    rows = from_csv(tiny_copy / RUN / "metrics.csv")
    assert [row["level"] for row in rows if row["method"] == "nearest_uniform"] == 2 * [
        "w8",
        "w8",
        "w4",
        "w4",
        "w2",
        "w2",
    ]


def test_a_level_can_be_asked_for_by_name(tmp_path):
    plan = snakemake(tmp_path, "--dry-run", f"{RUN}/mv_synthetic/dnn_complex/seed1/nearest_uniform/w2.safetensors")
    assert plan.returncode == 0, plan.stderr
    jobs = dict(line.split() for line in plan.stdout.splitlines() if len(line.split()) == 2 and line[0].isalpha())
    assert jobs["total"] == "3"  # prepare, train, compress


def test_latency_is_measured_on_the_first_seed_where_it_is_asked_for(tmp_path):
    config = tmp_path / "timed.yaml"
    text = (Path(__file__).parents[2] / "config/tiny.yaml").read_text()
    config.write_text(text.replace("overrides:\n", "overrides:\n  mv_synthetic: {latency: [w32, w8a8]}\n"))
    for folder, timed in ((config, {"mv_synthetic/dnn_complex/seed0/latency.csv", "latency.csv"}), (TINY, set())):
        plan = snakemake(tmp_path, "--dry-run", "--summary", config=folder)
        assert plan.returncode == 0, plan.stderr
        files = [line.split("\t")[0] for line in plan.stdout.splitlines()]
        assert {file.removeprefix(f"{RUN}/") for file in files if file.endswith("latency.csv")} == timed


def test_a_typo_in_a_target_dies_before_any_job(tmp_path):
    plan = snakemake(tmp_path, f"{RUN}/mv_synthetic/dnn_complx/seed1/nearest_uniform/w2.safetensors")
    assert plan.returncode != 0
    assert "MissingRuleException" in plan.stderr
    assert not (tmp_path / "results").exists()


def test_a_failed_cell_is_a_row_and_the_rest_goes_on(tiny_run, tiny_copy):
    folder = tiny_copy
    model = folder / RUN / "mv_synthetic/dnn_complex/seed0/fp32/model.safetensors"
    healthy = model.read_bytes()
    for packed in (folder / RUN / "mv_synthetic/dnn_complex/seed0").glob("nearest*/*"):
        packed.unlink()
    model.write_bytes(b"not a model")
    failed = snakemake(folder, "--rerun-triggers", "input")
    assert failed.returncode != 0
    rows = from_csv(folder / RUN / "metrics.csv")
    lost = [row for row in rows if row["status"] == "failed"]
    assert {(row["dataset"], row["seed"], row["method"]) for row in lost} >= {("mv_synthetic", "0", "nearest_uniform")}
    assert all(row["reason"] for row in lost)
    assert json.loads((folder / RUN / "manifest.json").read_text())["ended"] == "failed"
    assert "cells have no result" in failed.stdout

    model.write_bytes(healthy)
    mended = snakemake(folder, f"{RUN}/metrics.csv", "--rerun-triggers", "input")
    assert mended.returncode == 0, mended.stderr[-3000:]
    assert files(folder, f"{RUN}/metrics.csv") == files(tiny_run, f"{RUN}/metrics.csv")


def test_the_snakemake_report_bundle_is_made(tiny_copy):
    done = snakemake(tiny_copy, "--report", "report.zip")
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tiny_copy / "report.zip").stat().st_size > 100_000


def test_an_interrupted_run_is_finished_by_the_same_command(tiny_run, tmp_path):
    """The interrupted run leaves a metrics.csv with rows about what is missing; it must not pass for the result."""
    target = (f"{RUN}/metrics.csv", "--config", "seeds=[0]")
    process = subprocess.Popen(
        command(tmp_path, *target),
        start_new_session=True,
        stderr=subprocess.DEVNULL,
        # Tests that run in the background of a shell inherit that SIGINT is ignored, and would pass that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    compressed = f"{RUN}/*/*/*/[!f]*/metrics.csv"  # when one is there, the training before it has finished
    wait_for(lambda: any(tmp_path.glob(compressed)), process)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=60) != 0
    rows = from_csv(tmp_path / RUN / "metrics.csv")
    assert {row["status"] for row in rows} == {"ok", "failed"}
    models = {cell.parents[1] / "fp32/model.safetensors" for cell in tmp_path.glob(compressed)}
    finished = {model: model.stat().st_mtime_ns for model in models}
    assert json.loads((tmp_path / RUN / "manifest.json").read_text())["ended"] == "failed"
    again = snakemake(tmp_path, *target)
    assert again.returncode == 0, again.stderr[-3000:]
    assert (tmp_path / RUN / "metrics.csv").read_text() == of_seed(0, tiny_run)
    assert finished == {path: path.stat().st_mtime_ns for path in finished}


def wait_for(condition, process, seconds=600):
    for _ in range(10 * seconds):
        if condition():
            return
        assert process.poll() is None, "snakemake ended too early"
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds} s")


def test_what_is_deleted_is_made_again(tiny_copy):
    lost = {
        "report_pruning": "figures/pruning_mv_synthetic.png",
        "report_full_precision": "tables/full_precision.tex",
        "report_size": "report/size.html",
    }
    for path in lost.values():
        (tiny_copy / RUN / path).unlink()
    plan = snakemake(tiny_copy, "--dry-run")
    assert plan.returncode == 0
    assert all(rule in plan.stdout for rule in lost) and "train_network" not in plan.stdout
    again = snakemake(tiny_copy)
    assert again.returncode == 0 and all((tiny_copy / RUN / path).exists() for path in lost.values())


@pytest.mark.parametrize(
    ("methods", "left_out"), [("[magnitude]", "quantization"), ("[midrise]", "pruning")], ids=["prune", "quantize"]
)
def test_a_notebook_without_anything_to_show_is_left_out(tmp_path, methods, left_out):
    config = tmp_path / "one_sided.yaml"
    config.write_text(
        (REPOSITORY / "config/tiny.yaml")
        .read_text()
        .replace("[nearest_uniform, stochastic_normal, random]", methods)
        .partition("overrides:")[0]
    )
    plan = snakemake(tmp_path, "--dry-run", config=config)
    assert plan.returncode == 0, plan.stderr
    reports = {line.split()[0] for line in plan.stdout.splitlines() if line.startswith("report_")}
    assert reports == {
        "report_full_precision",
        "report_gains",
        "report_pruning",
        "report_quantization",
        "report_size",
        "report_findings",
        "report_index",
    } - {f"report_{left_out}"}
