"""The cases of a claim: the verdict on each, and on all together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from edgepress.reporting.results import (
    MSE,
    TOLERANCE,
    complete,
    examples,
    per_seed,
    retrained,
    sampling_half_width,
    t_half_width,
)
from edgepress.reporting.steps import described

HOLDS, FAILS, OPEN = "holds", "does not hold", "cannot be told"
DEPENDS = "holds for some, not for others"
NETWORK = ["dataset", "network"]
ACCURACY_POINTS = "accuracy (points)"
_FEW_BITS = 3  # cases at this many bits or fewer are a separate group
_LEVEL = [*NETWORK, "method", "level"]

# From the lower and upper ends of intervals of differences in score, and whether they are errors, to verdicts.
Judge = Callable[[pd.Series, pd.Series, pd.Series], pd.Series]


@dataclass(frozen=True)
class Group:
    """A group of cases: its scope, the number of cases, how many support and contradict the claim by their intervals,
    and the verdict.
    """

    scope: str
    cases: int
    holds: int
    fails: int
    verdict: str


def scores(metrics: pd.DataFrame) -> pd.DataFrame:
    """One row per cell, level, split and seed of all data sets, averaged over draws, with a ``score`` that grows with
    quality: accuracy in percentage points, or minus the logarithm of the MSE. ``gained`` is the change of the score by
    compression, ``examples`` the number of test examples of the data set.

    ``method`` is the method's components joined by ``+``, independent of names of chains. One of several methods with
    the same components or identical networks is kept. Levels that lack a seed or draw are omitted, as in
    ``over_seeds``.
    """
    rows = _distinct(metrics)
    parts = [complete(per_seed(of_set)) for _, of_set in rows.groupby("dataset", sort=False)]
    table = pd.concat(parts, ignore_index=True)
    table["is_error"] = table.dataset.map(rows.groupby("dataset").accuracy.apply(lambda values: values.isna().all()))
    table["examples"] = table.dataset.map(examples(rows, "test"))
    for name, column, scale in (("score", "quality", 100), ("gained", "change", 1)):
        errors = -np.log(table[column].where(table.is_error))
        table[name] = errors.where(table.is_error, scale * table[column])
    table["retrained"] = retrained(table)
    return table[table.method != "fp32"]


def _distinct(metrics: pd.DataFrame) -> pd.DataFrame:
    """The rows with methods named by their steps, each network once."""
    named = described(metrics)
    first = named.groupby([*NETWORK, "steps", "level"], sort=False).method.transform("first")
    rows = named[named.method == first].assign(method=named.steps)
    measured = ["level", "split", "seed", "draw", "loss", "bytes"]
    hashes = rows.assign(networks=pd.util.hash_pandas_object(rows[measured], index=False))
    networks = hashes.groupby([*NETWORK, "method"], sort=False).networks.agg(lambda values: str(sorted(values)))
    kept = networks.reset_index().drop_duplicates([*NETWORK, "networks"])
    return rows.merge(kept[[*NETWORK, "method"]], on=[*NETWORK, "method"])


def judged(
    differences: pd.DataFrame, case: list[str], scored: pd.DataFrame, judge: Judge
) -> tuple[pd.DataFrame, list[Group]]:
    """One row per case with the mean over seeds of its ``difference`` in score and its 95 % interval, in the unit of
    the measure; and the groups of cases. ``differences`` has one row per case and seed.
    """
    sets = scored.drop_duplicates("dataset").set_index("dataset")[["is_error", "examples"]]
    groups = differences.groupby(case, sort=False).difference
    table = groups.agg(["mean", "std", "count"]).reset_index().join(sets, on="dataset")
    low, high = _interval(table)
    table["verdict"] = judge(low, high, table.is_error)
    ends = {"difference": table["mean"], "difference_low": low, "difference_high": high}
    ratios = {"difference": np.exp(-table["mean"]), "difference_low": np.exp(-high), "difference_high": np.exp(-low)}
    table["measure"] = np.where(table.is_error, MSE.axis_label, ACCURACY_POINTS)
    for name, values in ends.items():
        table[name] = values.where(~table.is_error, ratios[name])
    table = table.rename(columns={"count": "seeds"})
    return table[[*case, "measure", *ends, "seeds", "examples", "verdict"]], counted(table)


def _interval(table: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """The 95 % interval of each case's mean: Student's t over seeds, and the sampling error of the test set, which all
    seeds share, added in quadrature. For errors the latter is unknown. NaN for a single seed.
    """
    over_seeds = t_half_width(table["count"], table["std"])
    apart = (table["mean"].abs() / 100).where(~table.is_error)
    of_test_set = 100 * sampling_half_width(apart, table.examples)
    half = np.hypot(over_seeds, of_test_set.fillna(0))
    return table["mean"] - half, table["mean"] + half


def counted(table: pd.DataFrame) -> list[Group]:
    """The verdicts on groups of cases of ``judged``: those at few bits, and those at more. Cases of one seed do not
    count.

    A claim holds, or does not, if most cases of a group say so. Cases have seeds, networks and data in common, so
    intervals that exclude zero by chance are correlated, and their number is not binomial. A single one does with 5 %;
    a majority of a group does at most as often, less so the less its cases have in common. Without any effect, verdicts
    other than "cannot be told" occur in at most 5 % of runs for any correlation of all cases and, if correlation within
    a group is at most 0.9, for any correlation between the groups; the tests simulate this.
    """
    groups = []
    for scope, cases in _scopes(table[table.seeds > 1]):
        most = len(cases) // 2 + 1
        holds, fails = (int((cases.verdict == verdict).sum()) for verdict in (HOLDS, FAILS))
        told = HOLDS if holds >= most else FAILS if fails >= most else DEPENDS if holds + fails >= most else OPEN
        groups.append(Group(scope, len(cases), holds, fails, told))
    return groups


def _scopes(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The groups of cases, each with its bits in words; one group if cases have no bits, or if a group would be one
    case.
    """
    few = table.bits <= _FEW_BITS if "bits" in table else pd.Series(False, table.index)
    parts = [table[few], table[~few]] if min(few.sum(), (~few).sum()) > 1 else [table]
    return [(_bits(cases), cases) for cases in parts if len(cases)]


def _bits(cases: pd.DataFrame) -> str:
    if "bits" not in cases:
        return ""
    ends = dict.fromkeys((f"{cases.bits.min():g}", f"{cases.bits.max():g}"))
    return f"at {'–'.join(ends)} bits"


def overall(groups: list[Group], seeds: str) -> str:
    """The verdict on a claim, with the numbers of cases."""
    parts: list[str] = []
    for group in groups:
        word = f"{OPEN} from {seeds}" if group.verdict == OPEN else group.verdict
        word = "" if parts and group.verdict == groups[0].verdict else word
        counts = {HOLDS: f"{group.holds} of {group.cases}", FAILS: f"{group.fails} of {group.cases} against it"}
        both = f"{group.holds} of {group.cases} for it, {group.fails} against it"
        parts.append(f"{' '.join(filter(None, (word, group.scope)))}: {counts.get(group.verdict, both)}")
    return "; ".join(parts) or f"{OPEN} from {seeds}"


def sign(favour: int) -> Judge:
    """Judges the claim that the difference in score has the sign ``favour``."""

    def judge(low: pd.Series, high: pd.Series, is_error: pd.Series) -> pd.Series:
        return _verdicts(low > 0, high < 0) if favour > 0 else _verdicts(high < 0, low > 0)

    return judge


def within(low: pd.Series, high: pd.Series, is_error: pd.Series) -> pd.Series:
    """Judges the claim that the loss is within the tolerance."""
    return _verdicts(low >= -_tolerated(is_error), high < -_tolerated(is_error))


def free(low: pd.Series, high: pd.Series, is_error: pd.Series) -> pd.Series:
    """Judges the claim that nothing is lost: a loss within the tolerance supports it, any other significant loss
    contradicts it.
    """
    return _verdicts(low >= -_tolerated(is_error), high < 0)


def _tolerated(is_error: pd.Series) -> pd.Series:
    return is_error.map({True: float(np.log1p(TOLERANCE)), False: 100 * TOLERANCE})


def _verdicts(holds: pd.Series, fails: pd.Series) -> pd.Series:
    return pd.Series(np.select([holds, fails], [HOLDS, FAILS], OPEN), holds.index)
