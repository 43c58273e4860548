"""Recommendations of the report, their certainty, and number formats, from rows with known results."""

import itertools
import json

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from edgepress.reporting import explorer, figures, index, numbers, results, selection, summary, tables
from edgepress.reporting.results import ACCURACY, MSE, over_seeds
from tests.browser import generated
from tests.unit.test_report_sentences import table

mpl.use("Agg")
pytestmark = pytest.mark.usefixtures("closed_figures")
CLASSES = table()[lambda rows: rows.dataset == "classes"]
AMOUNTS = table()[lambda rows: rows.dataset == "amounts"]


def with_accuracies(**accuracies) -> pd.DataFrame:
    """The classification with other accuracies on all splits, one value, or one per seed, for each ``method_level``."""
    rows = CLASSES.copy()
    for name, values in accuracies.items():
        method, _, level = name.rpartition("_")
        here = (rows.method == method) & (rows.level == level)
        assert here.any()
        rows.loc[here, "accuracy"] = np.resize(values, 3)[rows.seed[here]]
    return rows.assign(quality=rows.accuracy)


def test_works_is_half_of_what_full_precision_gains_over_a_constant_answer():
    full, chance = pd.Series([0.9, 0.9, 0.9, 0.2]), pd.Series([0.1, 0.8, np.nan, 0.3])
    floors = [0.5, 0.85, 0.45, 0.2]  # full precision itself always works
    for shift, expected in ((0.001, True), (-0.001, False)):
        assert ACCURACY.works(pd.Series(floors) + shift, full, chance).tolist() == [expected] * 4
    errors, variance = pd.Series([1.0, 1.0, 5.0]), pd.Series([9.0, np.nan, 4.0])
    assert MSE.works(pd.Series([4.9, 1e9, 5.0]), errors, variance).tolist() == [True] * 3
    assert MSE.works(pd.Series([5.1, 0.5, 5.1]), errors, variance).tolist() == [False, True, False]


def test_a_constant_answer_is_that_of_the_split():
    assert set(over_seeds(CLASSES).chance) == {0.3}
    assert over_seeds(AMOUNTS).chance.tolist() == pytest.approx([4.0] * len(over_seeds(AMOUNTS)))


def test_what_does_not_work_is_not_recommended_but_named_as_the_least_bad():
    nothing = pd.DataFrame(columns=["dataset", "network", "peer", "level", "mode", "batch", "status"])
    decided = tables.decide(CLASSES, tables.CostTables(nothing, nothing, nothing))
    closed = decided[(decided.cost == "bytes") & (decided.division == "closed")].set_index("budget")
    assert (closed.method == "none works").tolist() == [False, False, False, True]
    assert closed.least_bad.tolist() == ["", "", "", "magnitude"]
    shown = tables.readable(closed.reset_index())
    assert shown.method[3] == "none works; least bad: magnitude" and "least_bad" not in shown
    assert not shown.method[:3].str.contains("none").any()
    best = tables.best_at_each_precision(CLASSES).set_index("bits")
    assert best.method[2] == "none works" and best.least_bad[2] == "gptq" and best.least_bad[8] == ""


def test_fronts_begin_at_what_works():
    means = over_seeds(CLASSES[~results.retrained(CLASSES)])
    front = selection.pareto_front(means, ACCURACY)
    assert front.bytes.min() == 500 and (means.bytes < 500).any()
    axes = figures.pareto(CLASSES, "classes").axes[0]
    assert min(axes.lines[0].get_xdata()) == 500


def test_no_order_of_methods_decides_a_choice():
    rows = with_accuracies(midrise_w4=(0.925, 0.929, 0.933), nearest_uniform_w4=(0.929, 0.933, 0.937))
    reversed_rows = pd.concat([rows[rows.method == name] for name in rows.method.unique()[::-1]])
    assert tables.smallest_within_one_percent(rows).method.tolist() == ["nearest_uniform"]
    for make in (tables.smallest_within_one_percent, tables.best_at_each_precision):
        pd.testing.assert_frame_equal(make(rows), make(reversed_rows))
    assert list(summary.sentences(rows)) == list(summary.sentences(reversed_rows))


def test_ties_are_counted_and_duplicates_count_once():
    same = {f"{method}_w4": (0.92, 0.93, 0.94) for method in ("midrise", "nearest_uniform")}
    rows = with_accuracies(**same, nearest_normal_w4=(0.921, 0.931, 0.938), gptq_w4=0.5, mixed_w4=0.5)
    best = tables.best_at_each_precision(rows).set_index("bits")
    assert (best.method[4], best.tied[4]) == ("midrise", 1)  # its duplicate is no other, nearest_normal is
    (sentence,) = summary.sentences(rows)
    assert "no significant difference from 1 other of about that size" in sentence
    apart = with_accuracies(**same, nearest_normal_w4=(0.82, 0.83, 0.84), gptq_w4=0.5, mixed_w4=0.5)
    assert tables.best_at_each_precision(apart).tied.iloc[1] == 0


@pytest.mark.parametrize("seeds", [1, 3])
def test_seeds_that_agree_leave_what_the_examples_can_tell(seeds):
    rows = with_accuracies(midrise_w8=0.93, fp32_w32=0.93)
    means = over_seeds(rows[rows.seed < seeds])
    (row,) = means[(means.method == "midrise") & (means.level == "w8") & (means.split == "test")].to_dict("records")
    n, z = 500, stats.norm.ppf(0.975)
    assert row["examples"] == n and row["seeds"] == seeds
    assert row["quality_high"] - row["quality"] == pytest.approx(z * np.sqrt(0.93 * 0.07 / n))
    assert (row["change"], row["change_high"]) == (0, pytest.approx(100 * z * np.sqrt((1 / n) / n)))
    full = means[means.method == "fp32"]
    assert full.change_low.isna().all() and full.quality_low.notna().all()


def test_errors_of_one_seed_have_no_interval_and_are_shown_to_be_nothing():
    means = over_seeds(AMOUNTS[AMOUNTS.seed == 0])
    assert means[["quality_low", "change_low"]].isna().all().all()
    smallest = tables.smallest_within_one_percent(AMOUNTS[AMOUNTS.seed == 0])
    assert smallest.method.tolist() == ["not shown on test"] and smallest.candidate.tolist() != [""]


def test_intervals_end_where_no_accuracy_can_be():
    rows = with_accuracies(gptq_w4=(1.0, 0.2, 0.99), gptq_w8=1.0, midrise_w8=0.0)
    means = over_seeds(rows)
    assert means.quality_low.min() >= 0 and means.quality_high.max() <= 1
    compressed = means[means.method != "fp32"]
    assert (compressed.change_low + 1e-9 >= -100 * compressed.full_precision).all()
    assert (compressed.change_high - 1e-9 <= 100 * (1 - compressed.full_precision)).all()
    assert (compressed.quality_low < compressed.quality_high).all()


@pytest.mark.parametrize("name", ["precision", "pareto", "pruning"])
def test_axes_of_accuracies_end_at_100(name):
    rows = with_accuracies(gptq_w8=1.0, fp32_w32=0.998, magnitude_s50=1.0, magnitude_s99=0.0)
    for axes in getattr(figures, name)(rows, "classes").axes:
        low, high = axes.get_ylim()
        if "cross" not in axes.get_ylabel() + axes.get_title():
            ticks = [tick for tick in axes.get_yticks() if low <= tick <= high]
            assert ticks and min(ticks) >= 0 and max(ticks) <= 100 and high < 103


def test_the_tolerance_is_one_for_intervals_of_val_and_test():
    close = (0.93, 0.934, 0.938)  # full precision
    far = tuple(value + shift for value, shift in zip(close, (-0.02, 0.02, 0.002), strict=True))
    rows = with_accuracies(fp32_w32=close, midrise_w4=far, nearest_uniform_w4=far, nearest_normal_w4=close)
    (row,) = tables.smallest_within_one_percent(rows).to_dict("records")
    assert row["method"] == "nearest_normal" and row["change_low"] >= -100 * results.TOLERANCE
    on_val = rows.copy()
    lost = (on_val.method == "nearest_normal") & (on_val.level == "w4") & (on_val.split == "test")
    on_val.loc[lost, "accuracy"] -= 0.008
    (row,) = tables.smallest_within_one_percent(on_val).to_dict("records")
    assert (row["method"], row["candidate"]) == ("not shown on test", "nearest_normal")
    assert "is not confirmed on test: −0.80 [−1.58, −0.02] percentage points" in next(summary.sentences(on_val))


def test_where_only_larger_files_keep_quality_it_says_so():
    rows = CLASSES.copy()
    rows.loc[rows.method != "fp32", "bytes"] += 4000
    assert next(summary.sentences(rows)).endswith("no smaller file is within 1 % of full precision on val.")


def test_files_stand_by_what_they_take_and_nominal_bits_are_of_one_code_a_weight(tmp_path):
    figure = figures.precision(CLASSES, "classes")
    (axes, *_) = figure.axes
    several = [line for line in axes.lines if len(line.get_xdata()) == 1]
    assert [line.get_xdata().tolist() for line in several] == [[1200 / 125]]
    assert axes.get_xlabel().startswith("bits per weight") and "multipoint" not in tables.best_at_each_precision(
        CLASSES
    )
    chain = CLASSES[CLASSES.method == "multipoint"].assign(method="several", family="multipoint_then_pruning")
    rows = pd.concat([CLASSES, chain.assign(sparsity_target=0.2, steps="multipoint+magnitude")])
    rows["steps"] = rows.steps.fillna(rows.method)
    assert not any(axes.get_lines()[1:] for axes in figures.quantize_prune(rows, "classes").axes)
    found = explorer.data(rows, tmp_path)
    (points,) = found["datasets"]
    bits = dict(zip(zip(points["method"], points["level"], strict=True), points["costs"]["bits"], strict=True))
    place = points["methods"].index("multipoint")
    assert bits[place, "w2"] is None and bits[points["methods"].index("gptq"), "w2"] == 2
    assert found["axes"]["bits"]["label"].startswith("nominal bits")


def test_geometric_means_are_said():
    shown = tables.readable(tables.full_precision(AMOUNTS))
    assert shown.measure.tolist() == ["MSE (geometric mean)"]
    assert "geometric mean" in MSE.change_label and "geometric mean" not in ACCURACY.axis_label
    assert "(geometric mean of 3 seeds)" in next(summary.sentences(AMOUNTS))
    labels = [axes.get_ylabel() for axes in figures.pareto(AMOUNTS, "amounts").axes]
    assert labels[0] == "test MSE (geometric mean)"


def test_no_number_is_minus_zero(tmp_path):
    assert [numbers.signed(value) for value in (-0.0, -0.004, 0.004, -0.006, 0.5)] == (
        ["0.00", "0.00", "0.00", "−0.01", "+0.50"]
    )
    assert numbers.three_digits(-0.0) == "0.00" and numbers.plain(-0.0) == "0"
    assert numbers.three_digits(999.7) == "1,000" and numbers.three_digits(-4.56e-5) == "−4.56e-05"
    assert numbers.with_interval(-0.001, -0.004, 0.2, signs=True) == "0.00 [0.00, +0.20]"
    rows = with_accuracies(midrise_w8=(0.93 - 1e-12, 0.934, 0.938 + 1e-12), fp32_w32=(0.93, 0.934, 0.938))
    (change,) = over_seeds(rows).query("method == 'midrise' and level == 'w8' and split == 'test'").change
    assert change == 0 and str(change) == "0.0"
    tables.write(tables.best_at_each_precision(rows), tmp_path / "best")
    for end in ("md", "tex"):
        text = (tmp_path / f"best.{end}").read_text(encoding="utf-8")
        assert "0.00" in text and "-0.00" not in text and "−0.00" not in text
    assert "−" not in (tmp_path / "best.tex").read_text(encoding="utf-8")


def test_the_first_page_names_one_tolerance_and_sorts_by_numbers(tmp_path):
    folder = generated.write(tmp_path / "generated")
    page = folder / "report/index.html"
    index.write({generated.NOTEBOOK: {"digits": []}}, folder, page)
    text = page.read_text(encoding="utf-8")
    assert results.TOLERATED in text and tables.SMALLEST in text and results.WORKS in text
    head = text[text.index("best-method-at-each-precision-tools") :]
    assert ">nominal bits</button>" in head and 'data-value="8' in head


def test_every_table_of_choices_is_readable_without_any_choice(tmp_path):
    for rows in (CLASSES[CLASSES.method == "fp32"], CLASSES[CLASSES.split == "test"]):
        for make in (tables.smallest_within_one_percent, tables.best_at_each_precision):
            tables.write(make(rows), tmp_path / "none")
        assert json.dumps(explorer.data(rows, tmp_path), allow_nan=False)
    assert len(list(itertools.chain(summary.sentences(CLASSES[CLASSES.method == "fp32"])))) == 1
