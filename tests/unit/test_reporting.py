"""Choices, statistics and figures of the report, from rows with known results."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from edgepress import config
from edgepress.reporting import declared, figures, findings, notebooks, results, retraining, selection, tables
from edgepress.reporting.results import over_seeds

from .report_rows import BITS, NOISE, about, everything, rows, two_datasets, verdicts

mpl.use("Agg")
pytestmark = pytest.mark.usefixtures("closed_figures")
NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


@pytest.fixture(scope="module")
def run() -> pd.DataFrame:
    return two_datasets()


@pytest.mark.parametrize("name", ["precision", "change", "pruning", "quantize_prune", "qat", "pareto"])
@pytest.mark.parametrize("dataset", ["toy", "amounts"])
def test_figures_are_drawn_where_splits_and_methods_are_missing(run, name, dataset):
    figure = getattr(figures, name)(run, dataset)
    figure.canvas.draw()
    drawn = [axes for axes in figure.axes if axes.lines or axes.collections]
    assert drawn and all(np.isfinite(axes.get_ylim()).all() for axes in drawn)
    labels = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    assert labels and len(labels) == len(set(labels))


def test_of_many_methods_a_figure_of_sizes_names_those_on_a_front():
    beaten = {letter: about(5) for letter in "abcdefghijklmnop"}
    many = rows({"nearest_uniform": about(1), "midrise": about(60), **beaten})

    def drawn(metrics):
        figure = figures.pareto(metrics, "toy")
        return {text.get_text() for text in figure.legends[0].get_texts()}, figure.axes[0]

    labels, axes = drawn(many)
    assert labels == {"full precision", "uniform", "nearest", "methods on no front", "front (chosen on val)"}
    assert axes.get_ylim()[0] > 65  # the points lost by midrise would take the room of the others
    labels, _ = drawn(many[~many.method.isin(list(beaten)[3:])])
    assert {"a", "b", "c", "midrise"} < labels and "methods on no front" not in labels


def test_many_methods_have_panels_by_their_kind():
    kinds = {"nearest_uniform": "deterministic", "stochastic_uniform": "stochastic", "dithered_uniform": "stochastic"}
    kinds |= {"nearest_uniform_channel": "per-channel", "stochastic_uniform_channel": "per-channel", "gptq": "others"}
    several = rows({name: (0, 1, 2) for name in kinds}, splits=("val", "test"))
    many = rows({name: (0, 1, 2) for name in [*kinds, *"abcdefghijkl"]}, splits=("val", "test"))
    both = rows({name: (0, 1, 2) for name in [*kinds, *"abcdefghijkl"]})
    titles = [[axes.get_title() for axes in figures.precision(frame, "toy").axes] for frame in (several, many, both)]
    two = [f"{split}, {kind}" for kind in ("deterministic", "stochastic") for split in ("train", "test")]
    assert titles == [two[1::2], [f"test, {kind}" for kind in dict.fromkeys(kinds.values())], two]


def test_training_again_has_no_place_among_methods_after_training(run):
    labels = {text.get_text() for text in figures.precision(run, "toy").legends[0].get_texts()}
    assert "nearest uniform" in labels and not any(label.startswith(("qat", "lsq")) for label in labels)


def test_figures_without_any_method_show_full_precision(run):
    bare = run[run.method == "fp32"]
    for name in ("precision", "change", "pruning", "quantize_prune", "qat", "pareto"):
        getattr(figures, name)(bare, "toy").canvas.draw()


def test_a_network_without_val_has_no_part_in_choices(run):
    for table in (tables.best_at_each_precision(run), tables.smallest_within_one_percent(run)):
        assert set(table.network) == {"net", "no_train"}
        assert not table.method.str.startswith(("qat", "lsq")).any()


def test_a_front_holds_what_is_best_on_val(run):
    means = over_seeds(run[run.dataset == "toy"])
    front = selection.pareto_front(means[~results.retrained(means)], results.ACCURACY)
    assert front.bytes.is_monotonic_increasing and "multipoint" in set(front.method)


def test_full_precision_stands_on_train_and_test(run):
    table = tables.full_precision(run).set_index("network")
    assert table.train.notna().tolist() == [True, False, False]
    assert tables.readable(table.reset_index()).train.tolist()[1] == ""


def test_balanced_accuracy_stands_where_classes_are_unequal(run):
    shown = {}
    for lost in (0.0, 0.005, 0.2):
        table = tables.full_precision(run.assign(balanced_accuracy=run.accuracy - lost))
        shown[lost] = table[table.measure == "balanced accuracy (%)"]
    assert shown[0.0].empty and shown[0.005].empty
    (plain,), (balanced,) = (table[table.measure == f"{name} (%)"].test for name in ("accuracy", "balanced accuracy"))
    assert plain - balanced == pytest.approx(20)
    assert table.measure.str.startswith("MSE").sum() == 2  # not of the regression


def test_multipoint_tells_what_it_stores(run):
    table = tables.multipoint(run)
    assert table.groupby("network").bits.apply(list).to_dict() == {
        n: [8, 4, 2] for n in ("net", "no_train", "test_only")
    }
    assert {"bytes", "bits_per_weight", "train", "test", "change_low"} <= set(table.columns)


def test_networks_may_be_drawn_different_times():
    once, twice = rows({"stochastic_uniform": about(1)}, network="once"), rows({"stochastic_uniform": about(1)})
    again = twice[twice.method != "fp32"].assign(draw=1)
    means = over_seeds(pd.concat([once, twice, again]))
    assert set(means.network[means.method == "stochastic_uniform"]) == {"once", "net"}


def test_a_level_without_all_its_draws_is_left_out():
    metrics = rows({"stochastic_uniform": about(1)})
    again = metrics[(metrics.method != "fp32") & ~((metrics.level == "w2") & (metrics.seed == 1))].assign(draw=1)
    means = over_seeds(pd.concat([metrics, again]))
    assert set(means.level) == {"w32", "w8", "w4"}


@pytest.mark.parametrize("splits", [("val",), ("test",), ("train", "val"), ("train", "test")])
def test_a_run_without_val_or_test_has_pages_all_the_same(run, splits):
    part = run[run.split.isin(splits)]
    for name in ("precision", "change", "pruning", "quantize_prune", "qat", "pareto"):
        getattr(figures, name)(part, "toy").canvas.draw()
    findings.all_findings(part)
    tables.best_at_each_precision(part)


def test_names_are_read_as_they_are(tmp_path):
    table = rows({"nearest_uniform": (0, 1, 2)}, dataset="2024", network="null").drop(columns="quality")
    table.assign(status="ok", reason="").to_csv(tmp_path / "metrics.csv", index=False)
    read = results.load(tmp_path / "metrics.csv")
    assert set(read.dataset) == {"2024"} and set(read.network) == {"null"} and read.bits.max() == 32


def test_methods_that_train_again_stand_beside_the_best_after_training(tmp_path):
    table = retraining.trained_again(everything())
    assert set(table.method) == {"qat_midrise", "qat_nearest_uniform", "lsq"} and len(table) == 3 * len(BITS)
    assert set(table.level) == {"w8", "w4", "w2"} and set(table.against) == {"nearest_uniform"}
    row = table[(table.method == "lsq") & (table.level == "w4")].iloc[0]
    assert row.change == pytest.approx(-0.1, abs=0.03) and row.test_low < row.test < row.test_high
    assert row.after_training == pytest.approx(79, abs=0.5)
    alone = retraining.trained_again(rows({"lsq": about(1)}))
    assert alone.against.isna().all() and alone.after_training.isna().all()
    tables.write(alone, tmp_path / "alone")
    assert "nan" not in (tmp_path / "alone.md").read_text()


def test_cross_entropy_is_averaged_as_an_error():
    means = over_seeds(rows({}), results.CROSS_ENTROPY)
    losses = [1 - (0.8 + noise) for noise in NOISE.values()]
    assert means.quality.tolist() == pytest.approx([stats.gmean(losses)] * 3)


def test_what_is_offered_decides_what_is_shown():
    asked = config.parse(
        {
            "networks": {"digits": ["dnn_simple"], "breast_cancer": ["dnn_simple"]},
            "methods": ["nearest_uniform"],
            "chains": {"both": {"steps": ["nearest_uniform", "magnitude"], "sparsity": [0.2]}},
            "overrides": {"breast_cancer": {"methods": ["qat_midrise"], "chains": {}}},
        }
    )
    offers = {dataset: asked.cell(dataset, "dnn_simple").offers for dataset in asked.networks}
    assert offers["digits"] == {"nearest", "nearest_then_pruning", "bits", "bits+sparsity"}
    assert offers["breast_cancer"] == {"qat"}
    shown = {notebook.name: list(notebook.shown(offers)) for notebook in notebooks(NOTEBOOKS)}
    assert shown["quantization"] == shown["quantize_prune"] == ["digits"]
    assert shown["qat"] == ["breast_cancer"]
    assert shown["pruning"] == shown["multipoint"] == []
    assert shown["findings"] == shown["full_precision"] == ["digits", "breast_cancer"]


def test_a_figure_or_table_is_made_where_there_is_something_to_show():
    asked = {"digits": {"bits", "mixed"}, "breast_cancer": {"bits", "hardware"}}
    gains = declared(NOTEBOOKS / "gains.ipynb")
    shown = gains.shown(asked)
    assert gains.figure_names(shown) == [
        "gains_digits", "layer_bits_digits", "gains_breast_cancer", "breakdown_breast_cancer"
    ]  # fmt: skip
    assert gains.table_names(shown) == ["decide"]
    assert gains.table_names({"digits": ["energy"]}) == ["decide", "trainings"]
    assert "figures/layer_bits_digits.pdf" in gains.files(shown) and "tables/decide.tex" in gains.files(shown)


def test_activations_have_no_place_among_weights_alone(run):
    quantized = run[run.method == "midrise"].assign(method="midrise_activations", act_bits=8.0)
    both = pd.concat([run, quantized.assign(level=quantized.level + "a8")])
    pd.testing.assert_frame_equal(tables.best_at_each_precision(both), tables.best_at_each_precision(run))
    assert verdicts(both) == verdicts(run)
    for figure in (figures.precision(both, "toy"), figures.qat(both, "toy"), figures.change(both, "toy")):
        labels = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
        assert labels and "midrise activations" not in [*labels, *(axes.get_title() for axes in figure.axes)]
