"""The methods still make of committed networks what ``reference.yaml`` says.

A change that is meant changes the table, too: ``python -m tests.conformance.table``. The networks whose data are
fetched are for `make test-conformance`; the others are part of the ordinary tests.
"""

from itertools import groupby

import pytest
import torch

from edgepress import metrics, registry, sources
from edgepress.reporting.results import read_table
from edgepress.sweep import Bench

from . import table

# Sums in another order change the last bits of float32, and with them a code here and there: what a CPU computes may
# differ from what another one did by so many points of accuracy, most in few bits and where a network trains again.
POINTS = {"w2": 0.03, "w4a4": 0.02, "w4s50": 0.03}
OTHERWISE = 0.01
TRAINED_POINTS = 0.05
# Bytes are exact but where their number depends on values: Huffman's codes, deflated layouts that have steps in them
# (activations, trained steps), points that are added until an error is small enough, zeros that a mask leaves out.
BYTES_SHARE = 0.01

KNOWN = table.load()
CELLS = [
    pytest.param(
        *(network, name),
        marks=[pytest.mark.xdist_group(network), *([pytest.mark.fetched] if table.is_fetched(network) else [])],
    )
    for network in table.NETWORKS
    for name in table.cells(network)
]


def stays_exact(name: str) -> bool:
    """Whether the bytes of a method do not depend on the last bits of what it computes."""
    steps = [registry.built_in("methods")[step] for step in table.CHAINS.get(name, [name]) if step != "fp32"]
    return not any(step.examples or step.retrains for step in steps)


@pytest.mark.parametrize("network, name", CELLS)
def test_a_method_makes_of_a_network_what_the_table_says(network, name):
    if why := table.why_not_here(network):
        pytest.skip(why)
    peer = registry.built_in("peers").get(name)
    if peer and peer.missing:
        pytest.skip(peer.why_missing)
    torch.set_num_threads(1)
    levels = table.cells(network)[name]
    expected, found = KNOWN[network][name], table.measure(network, name, levels)
    assert list(found) == list(expected) == levels
    trains = not peer and name != "fp32" and name not in table.CHAINS and registry.built_in("methods")[name].retrains
    for level, row in found.items():
        assert row.keys() == expected[level].keys(), (level, row)
        if "bytes" not in row:
            continue
        points = TRAINED_POINTS if trains else POINTS.get(level, OTHERWISE)
        assert row["accuracy"] == pytest.approx(expected[level]["accuracy"], abs=points), level
        within = 0 if not peer and stays_exact(name) else BYTES_SHARE * expected[level]["bytes"]
        assert row["bytes"] == pytest.approx(expected[level]["bytes"], abs=within), level


def test_the_table_has_every_method_in_order():
    assert list(KNOWN) == list(table.NETWORKS), table.AGAIN
    for network, methods in KNOWN.items():
        assert list(methods) == list(table.cells(network)), (network, table.AGAIN)
    assert table.text(KNOWN) == table.REFERENCE.read_text(encoding="utf-8"), table.AGAIN


def test_a_network_without_its_data_is_skipped_with_a_reason(monkeypatch, tmp_path):
    monkeypatch.setenv(sources.MIRROR_VARIABLE, str(tmp_path))
    assert "fashion-mnist/train-images-idx3-ubyte.gz is in no mirror" in table.why_not_here("fashion_mnist/ds_cnn")
    assert table.why_not_here("digits/cnn") is None


def test_rows_do_not_depend_on_what_ran_before():
    """Another order, another process: the same rows, in the order of levels, draws and splits."""
    trained = table.bench("breast_cancer/dnn_complex").trained
    names = ["stochastic_uniform", "gptq", "random", "magnitude"]

    def tables(names):
        bench = Bench(trained, ["val", "test"], torch.device("cpu"))
        levels = {"random": ["s50", "s25"], "magnitude": ["s50", "s25"]}
        swept = {name: bench.sweep(name, levels.get(name, ["w4", "w2"]), draws=2) for name in names}
        return {name: metrics.to_csv(row for each in results for row in each.rows) for name, results in swept.items()}

    assert tables(names) == tables(names[::-1])


@pytest.mark.parametrize("run", ["fashion_mnist", "tabular"])
def test_rows_of_a_run_stand_in_order(run):
    """Data sets, networks, seeds and levels of methods are blocks; in the last come draws, and splits of each."""
    wanted = ["dataset", "network", "seed", "method", "level", "draw", "split"]
    rows = read_table(table.STUDY.parent / run / "metrics.csv.gz", usecols=wanted)
    for depth in (1, 2, 3, 5):  # methods that train again are jobs, level by level
        columns = wanted[:depth]
        blocks = [key for key, _ in groupby(rows[columns].itertuples(index=False, name=None))]
        assert len(blocks) == len(set(blocks)), columns
    order = {"train": 0, "val": 1, "test": 2}
    places = list(zip(rows.draw, rows.split.map(order), strict=True))
    blocks = groupby(zip(rows[columns].itertuples(index=False, name=None), places, strict=True), lambda pair: pair[0])
    for key, block in blocks:
        inside = [place for _, place in block]
        assert inside == sorted(inside), key
