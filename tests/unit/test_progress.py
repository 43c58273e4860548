"""What trainings by each recipe cost, and how the recipes are compared."""

import sys
from dataclasses import replace

import pytest
import torch
from torch import nn

from edgepress import metrics
from edgepress.config import ConfigError, RunConfig, parse
from edgepress.evaluation import evaluate
from edgepress.recipes import RECIPES
from edgepress.reporting import figures, recipes, tables
from edgepress.training import Training, progress, train
from edgepress.training.progress import follow

SETTINGS = Training(lr=0.01, batch_size=32, max_epochs=3, patience=None)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))


def test_a_row_an_epoch_says_what_it_has_cost(classes):
    followed, trained = network(), network()
    rows = follow(followed, classes, SETTINGS, seed=0)
    history = train(trained, classes, SETTINGS, seed=0)
    assert [(row["epoch"], row["steps"]) for row in rows] == [(1, 3), (2, 6), (3, 9)]
    assert [row["val_quality"] for row in rows] == [row["val_quality"] for row in history]
    assert 0 < rows[0]["seconds"] < rows[1]["seconds"] < rows[2]["seconds"]
    assert rows[-1]["test_quality"] == evaluate(trained, classes, "test")["accuracy"]
    assert {row["source"] for row in rows} == {"unavailable"} and "asks for no `energy`" in rows[0]["reason"]
    assert set().union(*rows) <= set(progress.COLUMNS)


def test_energy_is_shared_out_by_time(classes, monkeypatch):
    class Taken(dict):
        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.update(kwh=6.0, source="modelled")

    monkeypatch.setattr(progress, "measured", lambda energy: Taken())
    rows = follow(network(), classes, SETTINGS, seed=0, energy={"country": "DEU"})
    assert rows[-1]["kwh"] == 6 and rows[0]["kwh"] == pytest.approx(6 * rows[0]["seconds"] / rows[-1]["seconds"])
    assert {row["source"] for row in rows} == {"modelled"}


def test_without_codecarbon_energy_is_unavailable(classes, monkeypatch):
    monkeypatch.setitem(sys.modules, "codecarbon", None)
    rows = follow(network(), classes, SETTINGS, seed=0, energy={"country": "DEU"})
    assert all(row["source"] == "unavailable" and "pip install" in row["reason"] for row in rows)


def test_what_does_not_apply_or_fails_is_a_row(classes, amounts):
    (skipped,) = follow(network(), classes, replace(SETTINGS, resolutions=[0.5, 1.0]), seed=0)
    assert skipped == {"status": "skipped", "reason": "a table has no resolution"}
    images = replace(classes, inputs={split: x.reshape(-1, 1, 2, 2) for split, x in classes.inputs.items()})
    flat = nn.Sequential(nn.Flatten(), network())
    (skipped,) = follow(flat, images, replace(SETTINGS, resolutions=[0.5, 1.0]), seed=0)
    assert skipped["status"] == "skipped" and "takes no images of 1×1" in skipped["reason"]
    (failed,) = follow(nn.Linear(3, 1), amounts, replace(SETTINGS, lr=1e30), seed=0)
    assert failed["status"] == "failed" and "diverged" in failed["reason"]


def test_a_recipe_is_settings_of_training():
    cell = RunConfig(training={"max_epochs": 7, "lr": 0.1, "patience": 2}).cell("digits", "cnn")
    for name, settings in RECIPES.items():
        trained = Training(**cell.trained_by(name))
        assert trained.max_epochs == 7 and all(getattr(trained, key) == value for key, value in settings.items())
    assert cell.trained_by("onecycle")["lr"] == 0.1 and cell.trained_by("adam")["lr"] == 0.001


@pytest.mark.parametrize(
    "raw, said",
    [
        ({"recipes": ["adm"]}, "did you mean 'adam'?"),
        ({"recipes": ["adam", "adam"]}, "lists 'adam' more than once"),
        (
            {"networks": {"digits": ["cnn"]}, "recipes": ["adam"], "training": None, "weights": "w.safetensors"},
            "leave 'recipes' out",
        ),
    ],
)
def test_bad_recipes_are_told(raw, said):
    with pytest.raises(ConfigError, match="recipe") as caught:
        parse(raw)
    assert said in str(caught.value)


@pytest.fixture
def rows(tmp_path):
    """Two seeds: adam gets to .8 and .9; onecycle to both sooner; early_stop misses that of seed 1; and one failed."""
    quality = {
        "adam": [[0.5, 0.8], [0.9, 0.7]],
        "onecycle": [[0.8, 0.85, 0.9], [0.1, 0.95, 0.5]],
        "early_stop": [[0.9], [0.8]],
    }
    table = [
        {
            **{"dataset": "toy", "network": "net", "seed": seed, "recipe": name, "epoch": epoch, "status": "ok"},
            **{"steps": 10 * epoch, "seconds": 2.0 * epoch, "kwh": 0.5 * epoch, "source": "modelled"},
            "val_quality": value,
            "test_quality": 0.75 if epoch == len(values) else "",
        }
        for name, seeds in quality.items()
        for seed, values in enumerate(seeds)
        for epoch, value in enumerate(values, start=1)
    ]
    skipped = {"dataset": "toy", "network": "net", "recipe": "progressive", "status": "skipped", "reason": "a table"}
    path = tmp_path / "recipes.csv"
    path.write_text(metrics.to_csv([*table, *({**skipped, "seed": seed} for seed in (0, 1))], progress.COLUMNS))
    return recipes.load(path)


def test_the_target_is_what_the_first_reached_with_the_same_seed(rows):
    table = recipes.to_target(rows).set_index("recipe")
    assert table.target.tolist() == pytest.approx([0.85] * 4)
    assert table.reached.to_dict() == {
        "adam": "2 of 2", "onecycle": "2 of 2", "early_stop": "1 of 2", "progressive": "0 of 2"
    }  # fmt: skip
    assert table.loc["adam", ["steps", "seconds", "kwh"]].tolist() == [15, 3, 0.75]  # epochs 2 and 1
    assert table.loc["onecycle", ["steps", "seconds", "kwh"]].tolist() == [15, 3, 0.75]  # epochs 1 and 2
    assert table.loc[["early_stop", "progressive"], ["steps", "seconds", "kwh"]].isna().all(axis=None)
    assert table.loc["progressive", "reason"] == "a table" and table.loc["adam", "test_quality"] == 0.75


def test_the_table_and_the_figure_show_it(rows, tmp_path):
    tables.write(recipes.to_target(rows), tmp_path / "recipes")
    text = (tmp_path / "recipes.md").read_text()
    assert "| toy | net | early stop | 0.85 | 1 of 2 | | | | modelled | 0.75 |" in " ".join(text.split())
    shown = figures.recipes(rows, "toy")
    assert [axes.get_xlabel() for axes in shown.axes] == ["steps", "time (s)", "energy (Wh)"]
    lines = [len(axes.get_lines()) for axes in shown.axes]
    assert lines == [3 * 2 + 1] * 3  # and the target
    unknown = figures.recipes(rows.assign(kwh=float("nan")), "toy")
    assert len(unknown.axes) == 2
    assert "no recipe" in figures.recipes(rows[rows.status == "skipped"], "toy").axes[0].texts[0].get_text()
