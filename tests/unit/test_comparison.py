"""Comparison of two runs."""

import itertools
from html.parser import HTMLParser

import numpy as np
import pytest
from scipy import stats

from edgepress import metrics
from edgepress.reporting import comparison
from edgepress.reporting.comparison import DIFFERS, GAINED, IDENTICAL, LOST, ONLY_AFTER, ONLY_BEFORE, UNSURE, WITHIN


def rows(seeds=5, method="midrise", level="w4", noise=0.002, seed=0, regression=False, **changed):
    """The rows of a cell on val and test, with independent noise."""
    drawn = np.random.default_rng(seed)
    for number in range(seeds):
        for split in ("val", "test"):
            quality = 0.9 + noise * drawn.standard_normal()
            row = {"dataset": "d", "network": "n", "seed": number, "method": method, "family": "f", "level": level}
            row |= {"draw": 0, "split": split, "bytes": 100, "bits_per_weight": 4.0, "compression_ratio": 2.0}
            row |= {"sparsity": 0.0, "status": "ok", "mse" if regression else "accuracy": quality}
            yield row | changed


def table(path, *cells):
    path.write_text(metrics.to_csv(row for cell in cells for row in cell), encoding="utf-8")
    return path


@pytest.fixture
def compared(tmp_path):
    def compare(before, after, split="test"):
        return comparison.compare(table(tmp_path / "a.csv", *before), table(tmp_path / "b.csv", *after), split)

    return compare


def test_a_table_of_something_else_is_told(tmp_path):
    (tmp_path / "other.csv").write_text("dataset,status\ndigits,ok\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"is not a metrics.csv of a run: it lacks the column network, method"):
        comparison.compare(tmp_path / "other.csv", table(tmp_path / "b.csv", rows()), "test")


def verdict(result, method="midrise"):
    (found,) = result.cells[result.cells.method == method].verdict
    return found


def baseline(regression=False):
    return list(rows(method="fp32", level="w32", seed=9, regression=regression))


def test_the_same_table_is_identical(compared):
    result = compared([baseline(), rows()], [baseline(), rows()])
    assert list(result.cells.verdict) == [IDENTICAL, IDENTICAL] and not result.beyond_noise


def test_noise_is_noise(compared):
    result = compared([baseline(), rows(seed=1)], [baseline(), rows(seed=2)])
    assert verdict(result) == WITHIN and verdict(result, "fp32") == IDENTICAL and not result.beyond_noise


@pytest.mark.parametrize("regression", [False, True])
def test_a_change_beyond_noise_is_found(compared, regression):
    after = [row | {name: row[name] * 0.95 for name in ("accuracy", "mse") if name in row}
             for row in rows(seed=2, regression=regression)]  # fmt: skip
    result = compared([baseline(regression), rows(seed=1, regression=regression)], [baseline(regression), after])
    assert verdict(result) == DIFFERS and result.beyond_noise
    (cell,) = result.cells[result.cells.method == "midrise"].itertuples()
    expected = np.log(0.95) if regression else 0.9 * 0.95 - 0.9
    assert cell.low < expected < cell.high < 0


def test_a_larger_file_is_a_difference_though_quality_is_the_same(compared):
    result = compared([baseline(), rows()], [baseline(), rows(bytes=101)])
    assert verdict(result) == DIFFERS and result.beyond_noise


def test_one_seed_tells_nothing(compared):
    result = compared([rows(1, seed=1)], [rows(1, seed=2)])
    assert verdict(result) == UNSURE and not result.beyond_noise


def test_other_seeds_are_compared_too(compared):
    others = [row | {"seed": row["seed"] + 100} for row in rows(4, seed=2)]
    assert verdict(compared([rows(seed=1)], [others])) == WITHIN
    worse = [row | {"accuracy": row["accuracy"] - 0.05} for row in others]
    assert verdict(compared([rows(seed=1)], [worse])) == DIFFERS


def test_results_lost_gained_and_missing_are_told(compared):
    failed = {"status": "failed", "reason": "diverged", "accuracy": "", "bytes": ""}
    before = [baseline(), rows(method="a"), rows(method="b", **failed), rows(method="c")]
    after = [baseline(), rows(method="a", **failed), rows(method="b"), rows(method="e")]
    result = compared(before, after)
    assert {method: verdict(result, method) for method in "abce"} == {
        "a": LOST, "b": GAINED, "c": ONLY_BEFORE, "e": ONLY_AFTER
    }  # fmt: skip
    assert result.beyond_noise
    text = " ".join(comparison.sentences(result))
    assert "1 lost its result" in text and "1 only in A" in text and "1 only in B" in text


def test_many_cells_of_noise_are_no_alarm(compared):
    """Of 200 cells about ten exclude 0 by chance: they are reported, but not counted as real."""
    runs = [[rows(method=f"m{n}", seed=n + 1000 * run) for n in range(200)] for run in (1, 2)]
    result = compared(*runs)
    assert 1 <= result.count(DIFFERS) <= 25 and not result.beyond_noise


def test_runs_without_a_common_cell_are_refused(compared):
    with pytest.raises(ValueError, match="no cell with results on test in common"):
        compared([rows(method="a")], [rows(method="b")])
    with pytest.raises(ValueError, match="no cell with results on train in common"):
        compared([rows()], [rows()], split="train")


class _Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.rows, self.outside = 0, []

    def handle_starttag(self, tag, attrs):
        self.rows += tag == "tr"
        self.outside += [value for name, value in attrs if name in ("src", "href")]


def test_the_page_has_every_cell_that_changed_and_needs_nothing_else(compared):
    result = compared([baseline(), rows(seed=1), rows(method="<b>", seed=3)], [baseline(), rows(seed=2)])
    page, parsed = comparison.page(result), _Links()
    parsed.feed(page)
    assert parsed.rows == 1 + 2 and parsed.outside == [] and "<td><b></td>" not in page
    assert all(sentence in page for sentence in comparison.sentences(result))


def counted(right, method="midrise", examples=114, regression=False, **changed):
    """The rows of a cell on test: of so many ``examples``, how many are right on each seed."""
    (row,) = (row for row in rows(1, method) if row["split"] == "test")
    shared = row | {"examples": examples} | changed
    return [shared | {"seed": seed, "accuracy": number / examples} for seed, number in enumerate(right)]


def noise(cells=20, seeds=3, examples=114, spread=1.0, seed=0):
    """Two equal runs: the same networks, of whose examples a few come out otherwise by chance."""
    drawn = np.random.default_rng(seed)
    right = np.round(examples * drawn.uniform(0.7, 0.95, (cells, seeds)))
    for _ in range(2):
        values = np.clip(np.round(right + spread * drawn.standard_normal(right.shape)), 0, examples)
        yield [counted(of_cell, f"m{number}", examples) for number, of_cell in enumerate(values)]


@pytest.mark.parametrize("seeds", [2, 3, 8])
@pytest.mark.parametrize("examples", [30, 114, 10_000])
def test_equal_shifts_of_two_examples_on_three_seeds_differ(compared, seeds, examples):
    """One example more on each of three seeds may be chance: accuracy comes in steps."""
    right = [examples // 2 + 3 * seed for seed in range(seeds)]
    for shift in (-5, -2, -1, 1, 2, 5):
        result = compared([counted(right, examples=examples)], [counted(np.add(right, shift), examples=examples)])
        differs = abs(shift) > {2: 4, 3: 1, 8: 0}[seeds] or abs(shift) / examples >= 0.2
        assert (verdict(result), result.beyond_noise) == ((DIFFERS, True) if differs else (WITHIN, False))


def test_older_tables_tell_the_step_of_an_accuracy_by_their_values(compared):
    others = counted(range(60, 100), "magnitude")
    for shift, expected in ((1, WITHIN), (2, DIFFERS)):
        tables = [[others, counted(np.add([100, 101, 103], more), examples=114)] for more in (0, shift)]
        tables = [[[row | {"examples": ""} for row in cell] for cell in table] for table in tables]
        assert verdict(compared(*tables)) == expected


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("examples", [5, 114, 10_000])
def test_no_change_of_twenty_points_passes(compared, seeds, examples):
    """For any number of examples and seeds, with cells of noise, and with or without numbers of examples."""
    for told, lost in itertools.product((True, False), (0.2, 1.0)):
        tables = list(noise(4, seeds))
        for cells, right in zip(tables, (examples, examples - np.ceil(lost * examples)), strict=True):
            cells.append(counted([right] * seeds, examples=examples))
        if not told:
            tables = [[[row | {"examples": ""} for row in cell] for cell in cells] for cells in tables]
        for result in (compared(*tables), compared(*tables[::-1])):
            assert verdict(result) == DIFFERS and result.beyond_noise


def test_twelve_cells_that_collapse_differ(compared):
    tables = [[counted([right] * 3, f"m{number}") for number in range(12)] for right in (110, 0)]
    result = compared(*tables)
    assert set(result.cells.verdict) == {DIFFERS} and result.beyond_noise
    assert "12 changed by at least 20 percentage points" in " ".join(comparison.sentences(result))


def test_one_draw_of_one_seed_that_collapses_differs(compared):
    before = [{**row, "draw": draw} for draw in range(5) for row in counted([100] * 8)]
    after = [row | ({"accuracy": 0.1} if (row["seed"], row["draw"]) == (3, 2) else {}) for row in before]
    result = compared([before], [after])
    assert verdict(result) == DIFFERS and result.beyond_noise


@pytest.mark.parametrize(
    ("before", "after", "large"),
    [
        ({"mse": 1.0, "r2": 0.5}, {"mse": 2.0, "r2": 0.0}, True),
        ({"mse": 1.0, "r2": 0.99}, {"mse": 0.5, "r2": 0.995}, True),  # better is a change, too
        ({"mse": 1.0, "r2": 0.4}, {"mse": 1.4, "r2": 0.16}, True),
        ({"mse": 1.0, "r2": 0.9}, {"mse": 1.9, "r2": 0.81}, False),
        ({"mse": 1.0, "r2": -8.0}, {"mse": 1.1, "r2": -8.9}, False),  # no better than the mean, before and after
        ({"mse": 0.0, "r2": 1.0}, {"mse": 0.1, "r2": 0.99}, True),
    ],
)
def test_of_errors_a_factor_of_two_or_a_fifth_of_r2_never_passes(compared, before, after, large):
    tables = [[rows(1, regression=True, **values)] for values in (before, after)]
    result = compared(*tables)
    assert (verdict(result), result.beyond_noise) == ((DIFFERS, True) if large else (UNSURE, False))


def test_the_largest_change_is_named_whatever_its_verdict(compared):
    before, after = ([counted([100 + more], f"m{more}", examples=1000) for more in (1, 2, 3)] for _ in range(2))
    after[1] = counted([2], "m2", examples=1000)
    result = compared(before, after)
    assert not result.beyond_noise
    assert "The largest change in accuracy is -10.00 percentage points, of d n m2 w4: changed, one seed." in (
        comparison.sentences(result)
    )
    same = compared(before, before)
    assert not any("largest" in sentence for sentence in comparison.sentences(same))


def test_what_vanished_or_failed_differs(compared):
    whole = [baseline(), *(list(rows(method=name)) for name in "ab")]
    failed = {"status": "failed", "reason": "diverged", "accuracy": "", "bytes": ""}
    one_seed = [row | (failed if row["seed"] == 3 else {}) for row in rows(method="a")]
    gone = [row for row in rows(method="a") if row["seed"] != 3]
    for cell, expected in ((one_seed, LOST), (gone, LOST), ([], ONLY_BEFORE)):
        result = compared(whole, [baseline(), cell, rows(method="b")])
        assert verdict(result, "a") == expected and verdict(result, "b") == IDENTICAL and result.beyond_noise
    assert compared([rows()], [rows(**failed)]).beyond_noise
    fewer = [baseline()[: 2 * 3], *(list(rows(method=name))[: 2 * 3] for name in "ab")]
    assert not compared(whole, fewer).beyond_noise  # a run of fewer seeds lost nothing
    assert not compared([baseline()], whole).beyond_noise


def test_a_column_that_one_table_lacks_is_no_difference(compared, tmp_path):
    table(tmp_path / "new.csv", rows(examples=1000, steps="midrise"))
    older = [line.split(",") for line in (tmp_path / "new.csv").read_text().splitlines()]
    places = [place for place, name in enumerate(older[0]) if name not in ("examples", "steps")]
    (tmp_path / "old.csv").write_text("\n".join(",".join(line[place] for place in places) for line in older) + "\n")
    assert verdict(comparison.compare(tmp_path / "old.csv", tmp_path / "new.csv")) == IDENTICAL


@pytest.mark.parametrize("spread", [0.4, 3.0])
def test_equal_runs_differ_in_one_of_twenty_at_most(compared, spread):
    """Cells by their intervals, runs by the exit code; with and without ties."""
    many = compared(*noise(200, spread=spread, seed=1))
    assert many.count(DIFFERS) <= stats.binom.ppf(0.99, 200, 0.05) and not many.beyond_noise
    alarms = sum(compared(*noise(3, spread=spread, seed=seed)).beyond_noise for seed in range(20))
    assert alarms <= stats.binom.ppf(0.99, 20, 0.05)
