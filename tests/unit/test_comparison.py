"""Two runs beside each other."""

from html.parser import HTMLParser

import numpy as np
import pytest

from edgepress import metrics
from edgepress.reporting import comparison
from edgepress.reporting.comparison import DIFFERS, GAINED, IDENTICAL, LOST, ONLY_AFTER, ONLY_BEFORE, UNSURE, WITHIN


def rows(seeds=5, method="midrise", level="w4", noise=0.002, seed=0, regression=False, **changed):
    """The rows of a cell on val and test, with noise of its own."""
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
    with pytest.raises(ValueError, match=r"other.csv is no metrics.csv of a run: it has no column network, method"):
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
    """Of 200 cells about ten miss 0 by chance: they are told, and judged as what they are."""
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


def test_seeds_that_moved_alike_may_have_done_so_by_chance(compared):
    """Accuracy comes in steps: of 114 rows one more is right, on each of three seeds."""
    before = [baseline(), rows(seeds=3, accuracy=0.9)]
    result = compared(before, [baseline(), rows(seeds=3, accuracy=0.9 + 1 / 114)])
    assert verdict(result) == WITHIN and not result.beyond_noise
    sure = compared([baseline(), rows(seeds=8, accuracy=0.9)], [baseline(), rows(seeds=8, accuracy=0.8)])
    assert verdict(sure) == DIFFERS and sure.beyond_noise
