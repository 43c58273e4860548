"""Every number in the sentences of the first page and in the tables of choices, against an independent computation."""

import itertools
import re

import numpy as np
import pandas as pd
import pytest

from edgepress.reporting import summary, tables
from edgepress.reporting.costs import CostTables
from tests.unit.recomputed import Recomputed

EXAMPLES = {"val": 400, "test": 500}
MAJORITY = 0.3
SENTENCE = re.compile(
    r"\*\*(?P<network>.+)\*\* on \*\*(?P<dataset>.+)\*\*(: the smallest file | fits in )"
    r"(within 1 % of full precision on val, )?(?P<size>[\d.]+) (?P<unit>bytes|kB|MB), (?P<ratio>[\d.]+) times smaller "
    r"than float32, (?P<verdict>within 1 % of full precision|is not confirmed on test): (?P<change>[−+\d.]+)"
    r"( \[(?P<low>[−+\d.]+), (?P<high>[−+\d.]+)\])? (percentage points of accuracy on test|times the error on test) "
    r"\((geometric mean of )?(?P<seeds>\d+) seeds?(, (?P<examples>[\d,]+) examples)?\), by (?P<method>.+) at "
    r"(?P<level>[^;]+)(; no significant difference from (?P<tied>\d+) others? of about that size)?\."
)
# Of each method its family, the bytes of its levels, and the share of what full precision gains that these lose.
METHODS = {
    "midrise": ("nearest", {"w8": (900, 0.0), "w4": (500, 0.004), "w2": (260, 0.7)}),
    "nearest_uniform": ("nearest", {"w8": (900, 0.0), "w4": (500, 0.004), "w2": (260, 0.9)}),
    "nearest_normal": ("nearest", {"w8": (905, 0.001), "w4": (503, 0.03), "w2": (262, 0.8)}),
    "gptq": ("reconstruction", {"w8": (910, 0.0), "w4": (520, 0.001), "w2": (300, 0.6)}),
    "mixed": ("mixed", {"w8": (910, 0.0), "w4": (520, 0.001), "w2": (300, 0.6)}),  # the same as gptq, byte for byte
    "multipoint": ("multipoint", {"w2": (1200, 0.0)}),
    "magnitude": ("pruning", {"s50": (2000, 0.02), "s99": (120, 0.95)}),
    "lsq": ("qat", {"w2": (265, 0.01)}),
}


def table(seeds=(0, 1, 2), spread=0.002, columns=True) -> pd.DataFrame:
    """Metrics of a classification, whose accuracies come in steps of one example, and of a regression."""
    rows = []
    methods = {"fp32": ("fp32", {"w32": (4000, 0.0)}), **METHODS}
    for dataset, seed, split in itertools.product(("classes", "amounts"), seeds, EXAMPLES):
        for method, (family, levels) in methods.items():
            for level, (size, lost) in levels.items():
                twin = "gptq" if method == "mixed" else method
                noise = np.random.default_rng([seed, len(split), *f"{twin}{level}".encode()]).normal(0, spread)
                noise = 0.0 if method == "fp32" or lost == 0 else noise
                bits = int(level[1:]) if level[0] == "w" else np.nan
                row = {"dataset": dataset, "network": "net", "seed": seed, "method": method, "family": family}
                row |= {"level": level, "bits": bits, "act_bits": np.nan, "draw": 0, "split": split, "bytes": size}
                row |= {"sparsity_target": np.nan if level[0] == "w" else int(level[1:]) / 100, "status": "ok"}
                row |= {"bits_per_weight": size / 125, "compression_ratio": 4000 / size, "macs": 10, "sparsity": 0}
                row |= {"bops": 320 * (32 if np.isnan(bits) else bits), "examples": EXAMPLES[split]}
                accuracy = MAJORITY + (0.93 + 0.004 * seed - MAJORITY) * (1 - lost) + noise
                row["accuracy"] = (
                    round(accuracy * EXAMPLES[split]) / EXAMPLES[split] if dataset == "classes" else np.nan
                )
                row["majority"] = MAJORITY if dataset == "classes" else np.nan
                row["mse"] = np.nan if dataset == "classes" else 4 * (0.01 * (1 + seed) + lost) * (1 + noise)
                row["r2"] = 1 - row["mse"] / 4
                rows.append(row)
    frame = pd.DataFrame(rows).assign(loss=0.1, top5=np.nan, mae=0.1)
    frame["quality"] = frame.accuracy.fillna(frame.mse)
    return frame if columns else frame.drop(columns=["examples", "majority"])


def label(name: str) -> str:
    return name.replace("_", " ")


def number(text: str) -> float:
    return float(text.replace("−", "-").replace(",", ""))


def check_sentences(metrics: pd.DataFrame) -> int:
    """Compare every sentence with the recomputation; how many name a file."""
    named = 0
    sentences = list(summary.sentences(metrics))
    expected = {}
    for dataset in metrics.dataset.unique():
        again = Recomputed(metrics, dataset)
        for network in dict.fromkeys(point[0] for point in again.points):
            if again.of(network):
                expected[label(network), label(dataset)] = (again, *again.smallest(network))
    assert len(sentences) == len(expected)
    for sentence in sentences:
        found = SENTENCE.fullmatch(sentence)
        if found is None:
            network, dataset = re.match(r"\*\*(.+)\*\* on \*\*(.+)\*\*: no smaller file is", sentence).groups()
            assert expected[network, dataset][1][1] == "fp32"
            continue
        named += 1
        again, chosen, shown, tied = expected[found["network"], found["dataset"]]
        row, (change, low, high) = again.points[chosen], again.change(chosen)
        assert (found["verdict"] == "within 1 % of full precision") == shown, sentence
        assert found["method"] == label(chosen[1])
        size, unit = number(found["size"]), {"bytes": 1, "kB": 1e3, "MB": 1e6}[found["unit"]]
        assert size == pytest.approx(row["bytes"] / unit, abs=0.5 if unit == 1 else 0.0501)
        assert number(found["ratio"]) == pytest.approx(row["compression_ratio"], abs=0.0501)
        for text, value in (("change", change), ("low", low), ("high", high)):
            if found[text]:
                assert number(found[text]) == pytest.approx(value, abs=0.000501 if again.error else 0.00501), sentence
        assert (found["low"] is None) == np.isnan(low)
        assert int(found["seeds"]) == len(again.seeds[(*chosen, "test")])
        assert again.error or number(found["examples"]) == again.examples["test"]
        assert int(found["tied"] or 0) == tied, sentence
    return named


def check_row(row, again: Recomputed, chosen: tuple, good: bool, tied: int, instead: str) -> None:
    """Compare a row of a table of choices with the recomputed choice."""
    assert (row[instead] or row["method"], row["level"]) == chosen[1:] if "level" in row else True
    assert (row[instead] == "") == good
    assert row["tied"] == tied, (chosen, row)
    for name, values in (("test", again.quality(chosen)), ("change", again.change(chosen))):
        for end, value in zip(("", "_low", "_high"), values, strict=True):
            if not (name == "change" and end and chosen[1] == "fp32"):
                assert row[name + end] == pytest.approx(value, rel=1e-6, abs=1e-7, nan_ok=True), (chosen, name + end)


def check_tables(metrics: pd.DataFrame, decide: bool = True) -> None:
    for row in tables.smallest_within_one_percent(metrics).to_dict("records"):
        again = Recomputed(metrics, row["dataset"])
        check_row(row, again, *again.smallest(row["network"]), "candidate")
    for row in tables.best_at_each_precision(metrics).to_dict("records"):
        again = Recomputed(metrics, row["dataset"])
        chosen, good, tied = again.at_bits(row["network"], row["bits"])
        check_row(row | {"level": chosen[2]}, again, chosen, good, tied, "least_bad")
        assert row["bits_per_weight"] == pytest.approx(again.points[chosen]["bits_per_weight"], rel=0.05)
    if not decide:
        return
    nothing = pd.DataFrame(columns=["dataset", "network", "peer", "level", "mode", "batch", "status"])
    for row in tables.decide(metrics, CostTables(nothing, nothing, nothing)).to_dict("records"):
        again = Recomputed(metrics, row["dataset"])
        cost = {"bytes": "bytes", "BOPs": "bops"}[row["cost"]]
        found = again.in_budget(row["network"], row["division"], cost, row["budget"])
        if found is None:
            assert row["method"] == tables.NONE and pd.isna(row["test"])
        else:
            check_row(row, again, *found, "least_bad")
            assert row["spent"] == pytest.approx(again.points[found[0]][cost])


@pytest.mark.parametrize(
    "metrics",
    [table(), table(spread=0.0), table(seeds=(0,)), table(columns=False), table(spread=0.02)],
    ids=["three seeds", "seeds that move alike", "one seed", "an older table", "noise"],
)
def test_sentences_and_tables_are_what_other_code_computes(metrics):
    check_sentences(metrics)
    check_tables(metrics)


def test_some_sentences_name_a_file_that_test_shows_and_some_do_not():
    assert check_sentences(table()) == 2
    told = [sentence for spread in (0.002, 0.02) for sentence in summary.sentences(table(spread=spread))]
    assert any("fits in" in sentence for sentence in told) and any("not confirmed" in sentence for sentence in told)
