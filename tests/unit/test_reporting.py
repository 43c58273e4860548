"""Choices, statistics, findings and figures of the report, from rows with known results."""

import itertools
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from edgepress import config
from edgepress.levels import Level
from edgepress.reporting import declared, figures, findings, notebooks, results, retraining, selection, tables
from edgepress.reporting.results import over_seeds

mpl.use("Agg")
NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
BITS = (8, 4, 2)
SEEDS = (0, 1, 2)
NOISE = {0: -0.01, 1: 0.0, 2: 0.012}  # of a seed, the same for all methods: paired differences do not see it
FAMILY = {"lsq": "qat", "magnitude": "pruning", "random": "pruning"}


def family(method: str) -> str:
    if method.endswith("_prune20"):
        return family(method.removesuffix("_prune20")) + "_then_pruning"
    return FAMILY.get(method, method.split("_")[0])


def rows(lost, dataset="toy", network="net", error=False, splits=("train", "val", "test")) -> pd.DataFrame:
    """Rows of metrics. ``lost`` gives for each method its points of accuracy lost at 8, 4 and 2 bits, or its shares
    removed; or a function of split, seed and place that does. As errors, 10 points are a factor of e.
    """
    table = []
    for method, points in {"fp32": (0,), **lost}.items():
        for split, seed, place in itertools.product(splits, SEEDS, range(1 if method == "fp32" else len(BITS))):
            value = points(split, seed, place) if callable(points) else points[place]
            accuracy, mse = 0.8 + NOISE[seed] - value / 100, np.exp(value / 10 + 10 * NOISE[seed])
            level = level_of(method, place)
            table.append(
                {
                    "seed": seed,
                    "method": method,
                    "family": family(method),
                    "steps": consists_of(method),
                    "level": str(level),
                    "bits": level.bits,
                }
                | {"sparsity_target": level.sparsity, "split": split, "loss": mse if error else 1 - accuracy}
                | {"accuracy": np.nan if error else accuracy, "mse": mse if error else np.nan}
                | {"bytes": 100 + 10 * (level.bits or 20), "bits_per_weight": level.bits or 32}
            )
    frame = pd.DataFrame(table).astype({"bits": float, "sparsity_target": float})
    constant = {"compression_ratio": 2.0, "sparsity": 0.0, "macs": 100, "bops": 102400, "act_bits": np.nan, "draw": 0}
    constant["examples"] = 10**12  # so many that the test set adds nothing to intervals
    return frame.assign(dataset=dataset, network=network, quality=frame.accuracy.fillna(frame.mse), **constant)


def consists_of(method: str) -> str:
    return method.replace("_prune20", "+magnitude")


def level_of(method: str, place: int) -> Level:
    if method in ("magnitude", "random"):
        return Level(sparsity=(0.25, 0.5, 0.9)[place])
    return Level(bits=32 if method == "fp32" else BITS[place], sparsity=0.2 if method.endswith("_prune20") else None)


def noisy(mean: float, spread: float):
    """As many points lost as said, more or less, whichever way the seed has it."""
    return lambda split, seed, place: mean + spread * (-1, 0, 1.5)[seed]


def about(mean: float):
    return noisy(mean, 0.05)


def everything(**options) -> pd.DataFrame:
    after_training = {"midrise": 2, "nearest_uniform": 1, "nearest_normal": 5, "stochastic_uniform": 3}
    after_training |= {"stochastic_normal": 6, "dithered_uniform": 2, "multipoint": 0.1, "magnitude": 2, "random": 20}
    chains = {"nearest_uniform_prune20": 1.3, "stochastic_uniform_prune20": 9}
    trained_again = {"qat_midrise": 0.2, "qat_nearest_uniform": 0.4, "lsq": 0.1}
    lost = {name: about(points) for name, points in (after_training | chains | trained_again).items()}
    return rows(lost, **options)


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def run() -> pd.DataFrame:
    """Two data sets; of the second, one network lacks train and the other has test alone, and no QAT."""
    no_train = everything(dataset="amounts", network="no_train", error=True, splits=("val", "test"))
    test_only = everything(dataset="amounts", network="test_only", error=True, splits=("test",))
    return pd.concat([everything(), no_train, test_only[test_only.family != "qat"]], ignore_index=True)


def verdicts(metrics: pd.DataFrame) -> dict[str, str]:
    return {finding.name: finding.verdict for finding in findings.all_findings(metrics)}


@pytest.mark.parametrize(
    ("lost", "spread", "verdict"),
    [
        (1, 0.1, "holds: 1 of 1"),
        (3, 0.1, "does not hold: 1 of 1 against it"),
        (2.1, 1.0, "cannot be told from 3 seeds: 0 of 1 for it, 0 against it"),
    ],
)
def test_the_best_method_is_told_by_the_interval_of_paired_differences(lost, spread, verdict):
    finding = findings.best_method(
        findings.scores(rows({"stochastic_uniform": noisy(lost, spread), "nearest_uniform": about(2)}))
    )
    assert finding.verdict == verdict
    (case,) = finding.evidence.itertuples()
    differences = [2 - lost + (0.05 - spread) * side for side in (-1, 0, 1.5)]
    interval = stats.t.interval(0.95, 2, np.mean(differences), stats.sem(differences))
    assert (case.difference, case.difference_low, case.difference_high) == pytest.approx(
        (np.mean(differences), *interval)
    )
    if verdict.startswith("holds"):
        assert findings.difference(finding.evidence.iloc[0]) in finding.sentence


def test_a_difference_of_errors_is_a_ratio():
    lost = {"stochastic_uniform": about(0), "nearest_uniform": about(10)}
    finding = findings.best_method(findings.scores(rows(lost, error=True)))
    assert finding.evidence.difference.tolist() == pytest.approx([np.exp(-1)])
    assert "0.368 times the MSE" in finding.sentence


def test_rivals_are_chosen_on_val():
    lost = {
        "stochastic_uniform": about(2),
        "nearest_uniform": lambda split, seed, place: 1 + 0.01 * seed if split == "val" else 4 + 0.01 * seed,
        "nearest_normal": lambda split, seed, place: 3 + 0.01 * seed if split == "val" else 0.01 * seed,
    }
    finding = findings.best_method(findings.scores(rows(lost)))
    assert finding.evidence.against.tolist() == ["nearest_uniform"]
    assert finding.verdict == "holds: 1 of 1"


def test_neither_training_again_nor_several_codes_compete_with_rounding():
    lost = {"stochastic_uniform": about(2), "nearest_uniform": about(3), "lsq": about(0), "multipoint": about(0)}
    assert findings.best_method(findings.scores(rows(lost))).evidence.against.tolist() == ["nearest_uniform"]


def test_a_prior_is_the_worst_only_beside_the_worst_other():
    worst = {"nearest_normal": about(9), "nearest_uniform": about(1), "nearest_histogram": about(5)}
    assert findings.worst_prior(findings.scores(rows(worst))).verdict == "holds: 1 of 1"
    better = worst | {"nearest_uniform_iqr": about(12)}
    assert findings.worst_prior(findings.scores(rows(better))).verdict == "does not hold: 1 of 1 against it"


def test_bits_are_enough_where_all_more_bits_are():
    by_bits = {"nearest_uniform": lambda split, seed, place: (0.1, 5, 0.1)[place] + 0.01 * seed}
    finding = findings.bits_needed(findings.scores(rows(by_bits)))
    assert findings.fewest_bits(finding.evidence) == {("toy", "net"): 8}
    assert finding.verdict == "8 bits" and "toy net 8 bits (nearest uniform: −0.11 points" in finding.sentence
    assert finding.evidence.verdict.tolist() == ["holds", "does not hold", "holds"]


def test_where_no_bits_are_enough_it_says_so():
    finding = findings.bits_needed(findings.scores(rows({"nearest_uniform": about(30)})))
    assert findings.fewest_bits(finding.evidence) == {("toy", "net"): None}
    assert finding.verdict == "cannot be told" and "not shown at 8 bits" in finding.sentence


@pytest.mark.parametrize(
    ("with_pruning", "verdict"),
    [
        (about(1.5), "holds at 2–8 bits: 3 of 3"),
        (about(4), "does not hold at 2–8 bits: 3 of 3 against it"),
        (noisy(2, 2.0), "cannot be told from 3 seeds at 2–8 bits: 0 of 3 for it, 0 against it"),
    ],
)
def test_a_loss_within_the_tolerance_is_free(with_pruning, verdict):
    metrics = rows({"nearest_uniform": lambda split, seed, place: 1, "nearest_uniform_prune20": with_pruning})
    finding = findings.pruning_after(findings.scores(metrics))
    assert finding.claim.startswith("Pruning 20% of the weights")
    assert finding.verdict == verdict
    assert finding.evidence.bits.tolist() == list(BITS)


def test_training_again_is_compared_with_the_same_rounding_or_the_best():
    lost = {"nearest_uniform": about(3), "midrise": noisy(2, 0.1), "qat_nearest_uniform": about(1), "lsq": about(1.01)}
    finding = findings.training_again(findings.scores(rows(lost)))
    means = finding.evidence.groupby("method").difference.mean()
    assert means["same rounding"] == pytest.approx(2) and means["lsq"] == pytest.approx(1, abs=0.04)
    assert finding.verdict == "holds at 2 bits: 2 of 2; at 4–8 bits: 4 of 4"


def test_the_control_counts_no_level_at_which_nothing_is_removed():
    metrics = rows({"magnitude": about(2), "random": about(12)})
    kept = metrics[metrics.method.isin(["magnitude", "random"])].assign(sparsity_target=0.0, level="s0")
    finding = findings.control(findings.scores(pd.concat([metrics, kept.drop_duplicates(["method", "seed", "split"])])))
    assert finding.evidence.difference.tolist() == pytest.approx([10])
    assert finding.verdict == "holds: 1 of 1"


def test_claims_whose_methods_are_absent_say_so():
    for finding in findings.all_findings(rows({"nearest_uniform": about(1)})):
        if finding.name != "bits_needed":
            assert finding.verdict == findings.ABSENT
            assert finding.sentence.startswith("Not in this run: it would need ")
            figures.evidence(finding)


def test_without_val_nothing_is_chosen():
    told = verdicts(everything(splits=("test",)))
    absent = {name for name, verdict in told.items() if verdict == findings.ABSENT}
    assert absent == {"best_method", "worst_prior", "bits_needed"}


def test_one_seed_tells_nothing(run):
    told = verdicts(run[run.seed == 0])
    assert {verdict for name, verdict in told.items()} == {"cannot be told from 1 seed", findings.OPEN}


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


def test_evidence_has_a_figure_and_a_table(run, tmp_path):
    for finding in findings.all_findings(run):
        assert finding.verdict != findings.ABSENT
        figures.evidence(finding).canvas.draw()
        tables.write(finding.evidence, tmp_path / finding.name)
        assert len(pd.read_csv(tmp_path / f"{finding.name}.csv")) == len(finding.evidence)


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


def test_findings_are_of_levels_that_all_seeds_have():
    metrics = rows({"magnitude": about(1), "random": lambda split, seed, place: 5 + 100 * (seed == 0) * (place == 2)})
    spared = metrics[~((metrics.method == "random") & (metrics.level == "s90") & (metrics.seed == 1))]
    found = {finding.name: finding for finding in findings.all_findings(spared)}["control"]
    assert found.verdict == "holds: 1 of 1" and found.evidence.difference.iloc[0] == pytest.approx(4, abs=0.5)


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


def test_the_findings_notebook_declares_every_finding(run):
    names = {f"finding_{finding.name}" for finding in findings.all_findings(run)}
    notebook = declared(NOTEBOOKS / "findings.ipynb")
    assert set(notebook.figure_names({"toy": [], "amounts": []})) == names
    assert set(notebook.tables) == {*names, "findings"}
