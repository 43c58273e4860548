"""The numbers of results/reference/README.md, recomputed from the committed CSVs without pandas and without the code
that wrote them."""

import csv
import gzip
import re
from pathlib import Path
from statistics import fmean

import pytest

from edgepress.reporting import reference

FOLDER = Path(__file__).parents[2] / "results" / "reference"
README = (FOLDER / "README.md").read_text(encoding="utf-8")


def rows_of(path):
    with gzip.open(path, "rt", newline="") if path.suffix == ".gz" else path.open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["split"] == "test" and row["status"] == "ok"]


@pytest.fixture(scope="module")
def accuracies():
    """By network, method and level: the accuracy of each seed, of its first draw."""
    found = {}
    for row in rows_of(FOLDER / "study/fashion_mnist/metrics.csv.gz"):
        if row["draw"] == "0":
            found.setdefault((row["network"], row["method"], row["level"]), {})[row["seed"]] = float(row["accuracy"])
    return found


def table(name):
    """The cells of a table, row by row, without its head."""
    (text,) = re.findall(rf"<!-- {name}: begin -->\n(.*?)<!-- {name}: end -->", README, re.S)
    return [[cell.strip() for cell in line.strip("|\n").split("|")] for line in text.splitlines()[2:]]


def number(cell):
    return float(re.match(r"[+−-]?[\d,]*\.?\d*", cell)[0].replace("−", "-").replace(",", ""))


@pytest.mark.parametrize(
    "name, networks, wanted",
    [
        ("small networks", reference.SMALL, reference._SMALL_ROWS),
        ("large networks", reference.LARGE, reference._LARGE_ROWS),
    ],
)
def test_changes_are_differences_to_full_precision_seed_by_seed(name, networks, wanted, accuracies):
    first, *lines = table(name)
    for place, network in enumerate(networks, 1):
        whole = accuracies[network, "fp32", "w32"]
        assert number(first[place]) == pytest.approx(fmean(whole.values()), abs=5.1e-5)
        for cells, (method, level) in zip(lines, wanted, strict=True):
            each = accuracies[network, method, level]
            change = 100 * fmean(accuracy - whole[seed] for seed, accuracy in each.items())
            assert number(cells[place]) == pytest.approx(change, abs=0.0051), (network, method, level)


def test_seeds_and_their_mean(accuracies):
    for network, method, level, *values in table("seeds"):
        each = accuracies[network.strip("`"), method.strip("`"), level]
        expected = [*(each[seed] for seed in "012"), fmean(each.values())]
        assert [float(value) for value in values] == pytest.approx(expected, abs=5.1e-5)


def test_peers():
    rows = rows_of(FOLDER / "study/fashion_mnist/peers.csv")
    known = {(row["network"], row["level"], row["method"]): row for row in rows}
    shown = table("peers")
    assert len({tuple(cells[:3]) for cells in shown}) == len(shown) > 20
    for network, level, method, accuracy, adds, size, tensors, bops in shown:
        row = known[network.strip("`"), level, method.strip("`")]
        assert float(accuracy) == pytest.approx(float(row["accuracy"]), abs=5.1e-5)
        assert (adds, number(size), number(tensors)) == (row["add_bits"], int(row["bytes"]), int(row["tensor_bytes"]))
        assert number(bops) == round(int(row["bops"]) / 1e6)


def test_rows_without_a_network_are_counted():
    with gzip.open(FOLDER / "study/fashion_mnist/metrics.csv.gz", "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    skipped = [row for row in rows if row["status"] == "skipped"]
    cells = table("rows")[0]
    assert cells[1] == f"{len(rows):,}" and cells[2].startswith(f"{len(skipped)} skipped: " if skipped else "none")
