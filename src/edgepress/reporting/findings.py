"""Which claims about compression hold when trainings are repeated.

Each claim compares methods seed by seed, on test: differences are of the same trained network, so that how well a seed
trained cancels out, and their 95 % t-interval over seeds decides. What is chosen, a rival say, is chosen on val.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from edgepress.reporting import style
from edgepress.reporting.results import (
    CONFIDENCE,
    MSE,
    complete,
    one_code_a_weight,
    per_seed,
    retrained,
    t_interval,
    trained_on,
    weights_alone,
)

HOLDS, FAILS, OPEN = "holds", "does not hold", "cannot be told"
DEPENDS, ABSENT = "holds for some, not for others", "not in this run"
POINTS_TOLERATED, ERROR_TOLERATED = 1.0, 0.05  # a loss that counts as none: points of accuracy, part of the MSE
NETWORK = ["dataset", "network"]
_SCORE_TOLERATED = {False: POINTS_TOLERATED, True: float(np.log1p(ERROR_TOLERATED))}
_TOLERANCE = f"{POINTS_TOLERATED:g} point of accuracy, or {ERROR_TOLERATED:.0%} of the MSE"
_CLAIMED_BEST = "stochastic_uniform"
_CLAIMED_WORST = "normal"  # a codebook
_CONTROL = "random"


@dataclass(frozen=True)
class Finding:
    """A claim, what became of it, a sentence that says so with its numbers, and the table that they come from.

    A row of ``evidence`` is a case, a network or a network at a precision: ``difference`` with the ends of its
    interval, points of accuracy or a ratio of errors, and its own ``verdict``. ``name`` is that of figure and table.
    """

    name: str
    claim: str
    verdict: str
    sentence: str
    evidence: pd.DataFrame
    words: tuple[str, str] = (HOLDS, FAILS)  # what a case is called that speaks for the claim, or against it


def all_findings(metrics: pd.DataFrame) -> list[Finding]:
    """What became of every claim. One whose methods are not among ``metrics`` says so. All are about weights."""
    scored = scores(weights_alone(metrics))
    claims = (best_method, worst_prior, bits_needed, pruning_after, training_again, control)
    return [claim(scored) for claim in claims]


def scores(metrics: pd.DataFrame) -> pd.DataFrame:
    """A row a cell, level, split and seed of all data sets, its draws averaged, with a ``score`` that grows with
    quality: accuracy in points, or minus the logarithm of the MSE. ``gained`` is the score's change by compression.
    Levels that lack a seed or draw are left out, as in ``over_seeds``.
    """
    parts = [complete(per_seed(rows)) for _, rows in metrics.groupby("dataset", sort=False)]
    table = pd.concat(parts, ignore_index=True)
    errors = metrics.groupby("dataset").accuracy.apply(lambda values: values.isna().all())
    table["is_error"] = table.dataset.map(errors)
    for name, column, scale in (("score", "quality", 100), ("gained", "change", 1)):
        errors = -np.log(table[column].where(table.is_error))
        table[name] = errors.where(table.is_error, scale * table[column])
    table["retrained"] = retrained(table)
    return table[table.method != "fp32"]


def best_method(scored: pd.DataFrame) -> Finding:
    """Whether stochastic rounding to uniform levels is the best way to quantize."""
    claim = f"{style.label(_CLAIMED_BEST).capitalize()} is the best method of quantization after training"
    val, test = (_wide(_quantized(scored), split) for split in ("val", "test"))
    rivals = _rivals(val, _CLAIMED_BEST, [name for name in map(str, val) if name != _CLAIMED_BEST], strongest=True)
    evidence = _against(test, {_CLAIMED_BEST: rivals}, scored, favour=1)
    if evidence.empty:
        return _absent("best_method", claim, f"{style.label(_CLAIMED_BEST)} and another method on val and test")
    told = "the best other method of each network, chosen on val, mean over precisions"
    return _told("best_method", claim, evidence, f"Against {told}", ("better", "worse"))


def worst_prior(scored: pd.DataFrame) -> Finding:
    """Whether levels at the quantiles of a normal distribution are the worst of all codebooks."""
    claim = f"The {_CLAIMED_WORST} prior is the worst codebook"
    quantized = _quantized(scored)
    val, test = _wide(quantized, "val"), _wide(quantized, "test")
    rivals = {}
    for method in (name for name in map(str, test) if style.codebook(name) == _CLAIMED_WORST and name in val):
        others = [name for name in map(str, val) if name != method and style.rounding(name) == style.rounding(method)]
        rivals[method] = _rivals(val, method, others, strongest=False)
    evidence = _against(test, rivals, scored, favour=-1)
    if evidence.empty:
        return _absent("worst_prior", claim, f"a method with the {_CLAIMED_WORST} codebook and another to compare")
    told = "the worst other codebook of the same rounding, chosen on val, mean over precisions"
    return _told("worst_prior", claim, evidence, f"Against {told}", ("worse", "better"), "networks and roundings")


def bits_needed(scored: pd.DataFrame) -> Finding:
    """How few bits keep a network within the tolerance of full precision, by the method that is best on val."""
    claim = "How many bits keep full quality"
    quantized = _quantized(scored)
    val = _wide(quantized, "val")
    chosen = val.groupby([*NETWORK, "bits"]).mean().dropna(how="all").idxmax(axis=1)
    stacked = pd.Series(_wide(quantized, "test", "gained").stack(), name="difference")
    stacked.index = stacked.index.set_names("method", level=-1)
    gained = stacked.reset_index().join(chosen.rename("chosen"), on=[*NETWORK, "bits"])
    gained = gained[gained.method == gained.chosen]
    evidence = _evidence(gained, [*NETWORK, "bits", "chosen"], scored, _within)
    if evidence.empty:
        return _absent("bits_needed", claim, "a method that quantizes, measured on val and test")
    needed = fewest_bits(evidence)
    texts = []
    for (dataset, network), rows in evidence.groupby(NETWORK, sort=False):
        bits = needed[str(dataset), str(network)]
        row = rows[rows.bits == (rows.bits.max() if bits is None else bits)].iloc[0]
        how = f"({style.label(row.chosen)}: {difference(row)})"
        who = f"{style.label(dataset)} {style.label(network)}"
        texts.append(f"{who} {f'{bits:g} bits' if bits else f'not shown at {row.bits:g} bits'} {how}")
    ends = sorted({bits for bits in needed.values() if bits})
    verdict = f"{ends[0]:g} to {ends[-1]:g} bits" if len(ends) > 1 else f"{ends[0]:g} bits" if ends else OPEN
    verdict += "" if all(needed.values()) or not ends else ", on some networks more than was tried"
    sentence = f"The fewest bits from which on the interval of the loss lies within {_TOLERANCE}: {'; '.join(texts)}."
    return Finding("bits_needed", claim, verdict, sentence, evidence, ("kept", "lost"))


def fewest_bits(evidence: pd.DataFrame) -> dict[tuple[str, str], float | None]:
    """For each network, the fewest bits at which, and at all more, quality is kept; None where it is at none."""
    needed: dict[tuple[str, str], float | None] = {}
    for (dataset, network), rows in evidence.sort_values("bits", ascending=False).groupby(NETWORK, sort=False):
        kept = rows.bits[(rows.verdict == HOLDS).cummin()]
        needed[str(dataset), str(network)] = None if kept.empty else float(kept.min())
    return needed


def pruning_after(scored: pd.DataFrame) -> Finding:
    """Whether pruning a share of the weights of a quantized network costs nothing: the smallest share of the run."""
    chains = scored[scored.bits.notna() & scored.sparsity_target.notna() & ~scored.retrained]
    share = chains.sparsity_target.min()
    claim = f"Pruning {'a share' if chains.empty else f'{share:.0%}'} of the weights of a quantized network is free"
    chains = chains[chains.sparsity_target == share]
    quantizers = scored[scored.bits.notna() & scored.sparsity_target.isna()]
    test = _wide(pd.concat([chains, quantizers]), "test")
    pairs = {name: style.unchained(name) for name in chains.method.unique()}
    pairs = {chain: alone for chain, alone in pairs.items() if chain in test and alone in test and alone != chain}
    if not pairs:
        return _absent("pruning_after", claim, "a method both alone and in a chain with pruning")
    evidence = _evidence(_mean_difference(test, pairs), [*NETWORK, "bits"], scored, _free)
    told = f"Against the same method without pruning, mean over {_count(len(pairs), 'method')}, where a loss within "
    told += f"{_TOLERANCE} counts as none"
    words = ("free", "a loss")
    return _told("pruning_after", claim, evidence, told, words, "networks and precisions")


def training_again(scored: pd.DataFrame) -> Finding:
    """Whether training the network with its quantized weights beats quantizing it afterwards, at equal bits."""
    claim = "Training again with quantized weights is worth it"
    quantized = scored.bits.notna() & scored.sparsity_target.isna() & ~trained_on(scored)
    rows = scored[quantized]
    test = _wide(rows, "test")
    again = [name for name in rows.method[rows.retrained].unique() if name in test]
    pairs = {name: style.post_training(name) for name in again}
    twins = {name: alone for name, alone in pairs.items() if alone != name and alone in test}
    parts = [_mean_difference(test, twins).assign(method="same rounding")] if twins else []
    parts += [_over_best(rows, test, name).assign(method=name) for name in again if pairs[name] == name]
    if not parts:
        return _absent("training_again", claim, "a method that trains the network again")
    evidence = _evidence(pd.concat(parts), [*NETWORK, "method", "bits"], scored, _sign(1))
    if evidence.empty:
        return _absent("training_again", claim, "the same method without training again, or val to choose one")
    told = [f"against the same rounding after training, mean over {_count(len(twins), 'pair')}"] if twins else []
    others = [style.label(name) for name in again if pairs[name] == name]
    told += [f"{' and '.join(others)} against the best method after training, chosen on val"] if others else []
    against = f"At equal bits, {', and '.join(told)}"
    return _told("training_again", claim, evidence, against, ("better", "worse"), "networks and precisions")


def control(scored: pd.DataFrame) -> Finding:
    """Whether pruning at random, the control, loses to pruning by magnitude."""
    claim = "Pruning at random loses to pruning by magnitude"
    rows = scored[scored.bits.isna() & (scored.sparsity_target > 0) & ~scored.retrained]
    test = _wide(rows, "test", level="sparsity_target")
    others = [name for name in map(str, test) if name != _CONTROL]
    if _CONTROL not in test or not others:
        return _absent("control", claim, f"{_CONTROL} pruning and another")
    networks = test.groupby(NETWORK, sort=False).size().index
    evidence = _against(test, {name: pd.Series(_CONTROL, index=networks) for name in others}, scored, favour=1)
    told = "Methods that choose what they prune, against the control, mean over shares removed"
    return _told("control", claim, evidence, told, ("better", "worse"), "networks and methods")


def difference(row: pd.Series) -> str:
    """The difference of a case and its interval in words."""
    ends = row.difference, row.difference_low, row.difference_high
    if row.measure == MSE.axis_label:
        mean, low, high = (f"{value:#.3g}".rstrip(".") for value in ends)
        return f"{mean} times the MSE" + ("" if pd.isna(ends[1]) else f" [{low}, {high}]")
    mean, low, high = (signed(value, 2) for value in ends)
    return f"{mean} points" + ("" if pd.isna(ends[1]) else f" [{low}, {high}]")


def signed(value: float, digits: int) -> str:
    """A number with its sign, unless it rounds to 0."""
    text = f"{round(value, digits) + 0.0:+.{digits}f}".replace("-", "−")
    return text[1:] if round(value, digits) == 0 else text


def overall(verdicts: pd.Series, seeds: int) -> str:
    """The verdict on a claim from those of its cases.

    Of intervals of 95 %, one in forty lies beyond 0 on one side by chance; cases count where there are more of them
    than that explains.
    """

    def beyond_chance(count: int) -> bool:
        return count > 0 and stats.binom.sf(count - 1, len(verdicts), (1 - CONFIDENCE) / 2) < 1 - CONFIDENCE

    holds, fails = (beyond_chance(int((verdicts == verdict).sum())) for verdict in (HOLDS, FAILS))
    if holds and fails:
        return DEPENDS
    return HOLDS if holds else FAILS if fails else f"{OPEN} from {_count(seeds, 'seed')}"


def _quantized(scored: pd.DataFrame) -> pd.DataFrame:
    """The rows of methods that quantize after training, with one code a weight: equal bits are about equal bytes."""
    closed = scored.bits.notna() & scored.sparsity_target.isna() & ~scored.retrained
    return scored[closed & one_code_a_weight(scored)]


def _wide(scored: pd.DataFrame, split: str, value: str = "score", level: str = "bits") -> pd.DataFrame:
    """A row a network, level and seed on one split, a column a method."""
    rows = scored[scored.split == split]
    index = [*NETWORK, level, "seed"]
    wide = rows.pivot_table(index=index, columns="method", values=value, sort=False)
    return wide[[name for name in dict.fromkeys(rows.method) if name in wide]]


def _rivals(val: pd.DataFrame, method: str, others: list[str], strongest: bool) -> pd.Series:
    """For each network, the other method that is ahead of ``method`` most, or least, where both were measured."""
    if method not in val or not others:
        return pd.Series(dtype=object)
    ahead = val[others].sub(val[method], axis=0).groupby(NETWORK, sort=False).mean().dropna(how="all")
    return ahead.idxmax(axis=1) if strongest else ahead.idxmin(axis=1)


def _against(test: pd.DataFrame, rivals: dict[str, pd.Series], scored: pd.DataFrame, favour: int) -> pd.DataFrame:
    """The evidence on methods against their rivals on each network, mean over the levels that both have."""
    parts, measured = [], set(test.groupby(NETWORK).size().index)
    for method, chosen in rivals.items():
        for dataset, network, rival in chosen.reset_index().itertuples(index=False):
            if (dataset, network) not in measured:
                continue
            rows = test.xs((dataset, network), level=NETWORK)
            seeds = (rows[method] - rows[rival]).groupby("seed").mean().dropna()
            case = {"dataset": dataset, "network": network, "method": method, "against": rival}
            parts.append(seeds.rename("difference").reset_index().assign(**case))
    table = pd.concat(parts) if parts else pd.DataFrame(columns=[*NETWORK, "method", "against", "difference"])
    return _evidence(table, [*NETWORK, "method", "against"], scored, _sign(favour))


def _mean_difference(test: pd.DataFrame, pairs: dict[str, str]) -> pd.DataFrame:
    """The mean over pairs of methods of the first's score less the second's; a row a network, level and seed."""
    differences = pd.DataFrame({name: test[name] - test[other] for name, other in pairs.items()})
    return differences.mean(axis=1).dropna().rename("difference").reset_index()


def _over_best(rows: pd.DataFrame, test: pd.DataFrame, method: str) -> pd.DataFrame:
    """The score of a method less that of the one after training that is best on val, at each network and level."""
    val = _wide(_quantized(rows), "val")
    best = val.groupby([*NETWORK, "bits"]).mean().dropna(how="all").idxmax(axis=1).rename("best")
    scores = test[method].rename("score").dropna().reset_index().join(best, on=[*NETWORK, "bits"], how="inner")
    places = zip(*(scores[name] for name in [*NETWORK, "bits", "seed"]), strict=True)
    rival = [test[name].get(place) for place, name in zip(places, scores.best, strict=True)]
    return scores.assign(difference=scores.score - rival).dropna(subset="difference")


def _evidence(
    differences: pd.DataFrame, case: list[str], scored: pd.DataFrame, judge: Callable[[float, float, bool], str]
) -> pd.DataFrame:
    """A row a case: the mean over seeds of its difference in score and its interval, in the unit of the measure."""
    errors = scored.drop_duplicates("dataset").set_index("dataset").is_error
    rows = []
    for place, values in differences.groupby(case, sort=False).difference:
        is_error = bool(errors.loc[str(place[0])])
        mean, (low, high) = values.mean(), t_interval(values)
        ends = (np.exp(-mean), np.exp(-high), np.exp(-low)) if is_error else (mean, low, high)
        measure = MSE.axis_label if is_error else "accuracy (points)"
        verdict = judge(low, high, is_error)
        rows.append((*place, measure, *ends, len(values), verdict))
    columns = [*case, "measure", "difference", "difference_low", "difference_high", "seeds", "verdict"]
    return pd.DataFrame(rows, columns=columns)


def _sign(favour: int) -> Callable[[float, float, bool], str]:
    """A claim that the difference in score has the sign ``favour``."""

    def judge(low: float, high: float, is_error: bool) -> str:
        side = 1 if low > 0 else -1 if high < 0 else 0
        return HOLDS if side == favour else FAILS if side else OPEN

    return judge


def _within(low: float, high: float, is_error: bool) -> str:
    """A claim that no more is lost than is tolerated."""
    tolerated = -_SCORE_TOLERATED[is_error]
    return HOLDS if low >= tolerated else FAILS if high < tolerated else OPEN


def _free(low: float, high: float, is_error: bool) -> str:
    """A claim that nothing is lost: shown by a loss within the tolerance, refuted by any other that is none of
    chance.
    """
    return HOLDS if low >= -_SCORE_TOLERATED[is_error] else FAILS if high < 0 else OPEN


def _told(
    name: str, claim: str, evidence: pd.DataFrame, told: str, words: tuple[str, str], cases: str = "networks"
) -> Finding:
    """A finding whose sentence counts the cases and gives the clearest on either side."""
    seeds = int(evidence.seeds.min())
    counts = {verdict: evidence[evidence.verdict == verdict] for verdict in (HOLDS, FAILS, OPEN)}
    parts = [
        f"{word} on {len(counts[verdict])}" + ("" if word == "free" else _example(counts[verdict]))
        for verdict, word in zip((HOLDS, FAILS), words, strict=True)
    ]
    parts.append(f"{len(counts[OPEN])} cannot be told from {_count(seeds, 'seed')}")
    verdict = overall(evidence.verdict, seeds)
    return Finding(name, claim, verdict, f"{told}: of {len(evidence)} {cases}, {'; '.join(parts)}.", evidence, words)


def _example(cases: pd.DataFrame) -> str:
    """The case whose interval lies farthest from no difference, for each measure."""
    texts = []
    for measure, rows in cases.groupby("measure", sort=False):
        ends = rows[["difference_low", "difference_high"]]
        away = (ends.map(np.log) if measure == MSE.axis_label else ends).abs().min(axis=1)
        row = rows.iloc[away.argmax()]
        named = [style.label(row.dataset), style.label(row.network)]
        named += [f"at {row.bits:g} bits"] if "bits" in row else []
        named += [f"{style.label(row.method)}"] if "method" in row else []
        named += [f"against {style.label(row.against)}"] if "against" in row else []
        texts.append(f"{' '.join(named)}: {difference(row)}")
    return f" (most clearly {'; '.join(texts)})" if texts else ""


def _absent(name: str, claim: str, needed: str) -> Finding:
    columns = [*NETWORK, "measure", "difference", "difference_low", "difference_high", "seeds", "verdict"]
    sentence = f"Not in this run: it would need {needed}."
    return Finding(name, claim, ABSENT, sentence, pd.DataFrame(columns=columns))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def table(findings: Iterable[Finding]) -> pd.DataFrame:
    """A row a claim, with what became of it."""
    return pd.DataFrame([{"claim": f.claim, "verdict": f.verdict, "in_numbers": f.sentence} for f in findings])
