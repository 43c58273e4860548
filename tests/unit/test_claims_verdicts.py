"""Verdicts of the claims, from rows with known results."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from edgepress.reporting import declared, figures, findings, tables

from .report_rows import BITS, about, everything, noisy, rows, two_datasets, verdicts

mpl.use("Agg")
pytestmark = pytest.mark.usefixtures("closed_figures")
NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


@pytest.fixture(scope="module")
def run() -> pd.DataFrame:
    return two_datasets()


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


def test_evidence_has_a_figure_and_a_table(run, tmp_path):
    for finding in findings.all_findings(run):
        assert finding.verdict != findings.ABSENT
        figures.evidence(finding).canvas.draw()
        tables.write(finding.evidence, tmp_path / finding.name)
        assert len(pd.read_csv(tmp_path / f"{finding.name}.csv")) == len(finding.evidence)


def test_findings_are_of_levels_that_all_seeds_have():
    metrics = rows({"magnitude": about(1), "random": lambda split, seed, place: 5 + 100 * (seed == 0) * (place == 2)})
    spared = metrics[~((metrics.method == "random") & (metrics.level == "s90") & (metrics.seed == 1))]
    found = {finding.name: finding for finding in findings.all_findings(spared)}["control"]
    assert found.verdict == "holds: 1 of 1" and found.evidence.difference.iloc[0] == pytest.approx(4, abs=0.5)


def test_the_findings_notebook_declares_every_finding(run):
    names = {f"finding_{finding.name}" for finding in findings.all_findings(run)}
    notebook = declared(NOTEBOOKS / "findings.ipynb")
    assert set(notebook.figure_names({"toy": [], "amounts": []})) == names
    assert set(notebook.tables) == {*names, "findings"}
