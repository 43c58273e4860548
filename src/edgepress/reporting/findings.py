"""Which claims about compression hold when trainings are repeated.

Each claim compares methods seed by seed, on test: differences are of the same trained network, so that how well a seed
trained cancels out, and their 95 % t-interval over seeds decides. What is chosen, a rival say, is chosen on val. What a
method is, its steps and settings say, never its name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from edgepress.reporting import steps, style
from edgepress.reporting.evidence import (
    FAILS,
    HOLDS,
    NETWORK,
    OPEN,
    Group,
    free,
    judged,
    overall,
    scores,
    sign,
    within,
)
from edgepress.reporting.numbers import counted, signed
from edgepress.reporting.results import MSE, TOLERATED, one_code_a_weight, trained_on, weights_alone

ABSENT = "not in this run"
_CLAIMED_BEST = "stochastic_uniform"
_CLAIMED_WORST = "normal"  # a codebook


@dataclass(frozen=True)
class Finding:
    """A claim, what became of it, a sentence that says so with its numbers, and the table that they come from.

    A row of ``evidence`` is a case, a network or a network at a precision: ``difference`` with the ends of its
    interval, points of accuracy or a ratio of errors (a geometric mean over seeds), and its own ``verdict``. ``name``
    is that of figure and table.
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


def best_method(scored: pd.DataFrame) -> Finding:
    """Whether stochastic rounding to uniform levels is the best way to quantize."""
    claim = f"{style.label(_CLAIMED_BEST).capitalize()} is the best method of quantization after training"
    val, test = (_wide(_quantized(scored), split) for split in ("val", "test"))
    rivals = _rivals(val, _CLAIMED_BEST, [name for name in map(str, val) if name != _CLAIMED_BEST], strongest=True)
    differences = _against(test, {_CLAIMED_BEST: rivals})
    if differences.empty:
        return _absent("best_method", claim, f"{style.label(_CLAIMED_BEST)} and another method on val and test")
    found = judged(differences, [*NETWORK, "method", "against"], scored, sign(1))
    told = "Against the best other method of each network, chosen on val, mean over precisions"
    return _told("best_method", claim, found, told, ("better", "worse"))


def worst_prior(scored: pd.DataFrame) -> Finding:
    """Whether levels at the quantiles of a normal distribution are the worst of all codebooks."""
    claim = f"The {_CLAIMED_WORST} prior is the worst codebook"
    quantized = _quantized(scored)
    val, test = _wide(quantized, "val"), _wide(quantized, "test")
    rivals, specs = {}, {name: spec for name, spec in steps.specs(scored).items() if spec.rounds and name in val}
    for method in (name for name in map(str, test) if name in specs and specs[name].codebook == _CLAIMED_WORST):
        same = replace(specs[method], codebook="")
        others = [name for name, spec in specs.items() if name != method and replace(spec, codebook="") == same]
        rivals[method] = _rivals(val, method, others, strongest=False)
    differences = _against(test, rivals)
    if differences.empty:
        return _absent("worst_prior", claim, f"a method with the {_CLAIMED_WORST} codebook and another to compare")
    found = judged(differences, [*NETWORK, "method", "against"], scored, sign(-1))
    told = "Against the worst other codebook of the same rounding, chosen on val, mean over precisions"
    return _told("worst_prior", claim, found, told, ("worse", "better"), "networks and roundings")


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
    if gained.empty:
        return _absent("bits_needed", claim, "a method that quantizes, measured on val and test")
    evidence, _ = judged(gained, [*NETWORK, "bits", "chosen"], scored, within)
    needed = fewest_bits(evidence)
    texts = []
    for (dataset, network), rows in evidence[evidence.seeds > 1].groupby(NETWORK, sort=False):
        bits = needed[str(dataset), str(network)]
        row = rows[rows.bits == (rows.bits.max() if bits is None else bits)].iloc[0]
        how = f"({style.label(row.chosen)}: {difference(row)})"
        who = f"{style.label(dataset)} {style.label(network)}"
        texts.append(f"{who} {f'{bits:g} bits' if bits else f'not shown at {row.bits:g} bits'} {how}")
    ends = sorted({bits for bits in needed.values() if bits})
    verdict = f"{ends[0]:g} to {ends[-1]:g} bits" if len(ends) > 1 else f"{ends[0]:g} bits" if ends else OPEN
    verdict += "" if all(needed.values()) or not ends else ", on some networks more than was tried"
    sentence = f"The fewest bits from which on the interval of the loss lies within {TOLERATED}: "
    sentence += f"{'; '.join(texts) or 'of no network'}. {_basis(evidence)}"
    return Finding("bits_needed", claim, verdict, sentence, evidence, ("kept", "lost"))


def fewest_bits(evidence: pd.DataFrame) -> dict[tuple[str, str], float | None]:
    """For each network of several seeds, the fewest bits at which, and at all more, quality is kept; None where it is
    at none.
    """
    needed: dict[tuple[str, str], float | None] = {}
    ordered = evidence[evidence.seeds > 1].sort_values("bits", ascending=False)
    for (dataset, network), rows in ordered.groupby(NETWORK, sort=False):
        kept = rows.bits[(rows.verdict == HOLDS).cummin()]
        needed[str(dataset), str(network)] = None if kept.empty else float(kept.min())
    return needed


def pruning_after(scored: pd.DataFrame) -> Finding:
    """Whether pruning a share of the weights of a quantized network costs nothing: the smallest share of the run."""
    chains = scored[scored.bits.notna() & (scored.sparsity_target > 0) & ~scored.retrained]
    chains = chains[chains.method.map(steps.prunes_last).astype(bool)]
    share = chains.sparsity_target.min()
    claim = f"Pruning {'a share' if chains.empty else f'{share:.0%}'} of the weights of a quantized network is free"
    chains = chains[chains.sparsity_target == share]
    quantizers = scored[scored.bits.notna() & scored.sparsity_target.isna()]
    test = _wide(pd.concat([chains, quantizers]), "test")
    pairs = {name: steps.without_pruning(name) for name in chains.method.unique()}
    pairs = {chain: alone for chain, alone in pairs.items() if chain in test and alone in test}
    differences = _mean_difference(test, pairs)
    if differences.empty:
        return _absent("pruning_after", claim, "a method both alone and in a chain with pruning after it")
    found = judged(differences, [*NETWORK, "bits"], scored, free)
    told = f"Against the same method without pruning, mean over {counted(len(pairs), 'method')}, where a loss within "
    told += f"{TOLERATED} counts as none"
    return _told("pruning_after", claim, found, told, ("free", "a loss"), "networks and precisions")


def training_again(scored: pd.DataFrame) -> Finding:
    """Whether training the network with its quantized weights beats quantizing it afterwards, at equal bits."""
    claim = "Fine-tuning with quantized weights is worth it"
    quantized = scored.bits.notna() & scored.sparsity_target.isna() & ~trained_on(scored)
    rows = scored[quantized]
    test = _wide(rows, "test")
    again = [name for name in rows.method[rows.retrained].unique() if name in test]
    pairs = {name: steps.after_training(name) for name in again}
    twins = {name: alone for name, alone in pairs.items() if alone != name and alone in test}
    parts = [_mean_difference(test, twins).assign(method="same rounding")] if twins else []
    parts += [_over_best(rows, test, name).assign(method=name) for name in again if pairs[name] == name]
    if not parts:
        return _absent("training_again", claim, "a method that fine-tunes the network")
    differences = pd.concat(parts)
    if differences.empty:
        return _absent("training_again", claim, "the same method without fine-tuning, or val to choose one")
    found = judged(differences, [*NETWORK, "method", "bits"], scored, sign(1))
    told = [f"against the same rounding after training, mean over {counted(len(twins), 'pair')}"] if twins else []
    others = [style.label(name) for name in again if pairs[name] == name]
    told += [f"{' and '.join(others)} against the best method after training, chosen on val"] if others else []
    against = f"At equal bits, {', and '.join(told)}"
    return _told("training_again", claim, found, against, ("better", "worse"), "networks and precisions")


def control(scored: pd.DataFrame) -> Finding:
    """Whether pruning at random, the control, loses to pruning by magnitude."""
    claim = "Pruning at random loses to pruning by magnitude"
    rows = scored[scored.bits.isna() & (scored.sparsity_target > 0) & ~scored.retrained]
    test = _wide(rows, "test", level="sparsity_target")
    specs = steps.specs(rows)
    scores = {name: (specs[name].option("score"), specs[name].option("pattern")) for name in map(str, test)}
    others = [name for name, score in scores.items() if score == ("magnitude", None) and len(steps.of(name)) == 1]
    if steps.CONTROL not in test or not others:
        return _absent("control", claim, f"{steps.CONTROL} pruning and pruning by magnitude")
    networks = test.groupby(NETWORK, sort=False).size().index
    differences = _against(test, {name: pd.Series(steps.CONTROL, index=networks) for name in others})
    if differences.empty:
        return _absent("control", claim, f"{steps.CONTROL} pruning and pruning by magnitude at the same shares")
    found = judged(differences, [*NETWORK, "method", "against"], scored, sign(1))
    told = "Methods that prune by magnitude, against the control, mean over shares removed"
    return _told("control", claim, found, told, ("better", "worse"), "networks and methods")


def difference(row: pd.Series) -> str:
    """The difference of a case and its interval in words."""
    ends = row.difference, row.difference_low, row.difference_high
    if row.measure == MSE.axis_label:
        mean, low, high = (f"{value:#.3g}".rstrip(".") for value in ends)
        return f"{mean} times the MSE" + ("" if pd.isna(ends[1]) else f" [{low}, {high}]")
    mean, low, high = (signed(value, 2) for value in ends)
    return f"{mean} points" + ("" if pd.isna(ends[1]) else f" [{low}, {high}]")


def _quantized(scored: pd.DataFrame) -> pd.DataFrame:
    """The rows of methods, of one step each, that quantize after training, with one code a weight: equal bits are about
    equal bytes.
    """
    alone = scored.method.map(lambda method: len(steps.of(method)) == 1).astype(bool)
    closed = scored.bits.notna() & scored.sparsity_target.isna() & ~scored.retrained
    return scored[closed & alone & one_code_a_weight(scored)]


def _wide(scored: pd.DataFrame, split: str, value: str = "score", level: str = "bits") -> pd.DataFrame:
    """One row per network, level and seed on one split, one column per method."""
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


def _against(test: pd.DataFrame, rivals: dict[str, pd.Series]) -> pd.DataFrame:
    """Methods less their rivals on each network, mean over the levels that both have: a row a case and seed."""
    parts, measured = [], set(test.groupby(NETWORK).size().index)
    for method, chosen in rivals.items():
        for dataset, network, rival in chosen.reset_index().itertuples(index=False):
            if (dataset, network) not in measured:
                continue
            rows = test.xs((dataset, network), level=NETWORK)
            seeds = (rows[method] - rows[rival]).groupby("seed").mean().dropna()
            case = {"dataset": dataset, "network": network, "method": method, "against": rival}
            parts.append(seeds.rename("difference").reset_index().assign(**case))
    return pd.concat(parts) if parts else pd.DataFrame(columns=["difference"])


def _mean_difference(test: pd.DataFrame, pairs: dict[str, str]) -> pd.DataFrame:
    """The mean over pairs of methods of the first's score less the second's; one row per network, level and seed."""
    differences = pd.DataFrame({name: test[name] - test[other] for name, other in pairs.items()}, index=test.index)
    return differences.mean(axis=1).dropna().rename("difference").reset_index()


def _over_best(rows: pd.DataFrame, test: pd.DataFrame, method: str) -> pd.DataFrame:
    """The score of a method less that of the one after training that is best on val, at each network and level."""
    val = _wide(_quantized(rows), "val")
    best = val.groupby([*NETWORK, "bits"]).mean().dropna(how="all").idxmax(axis=1).rename("best")
    scores = test[method].rename("score").dropna().reset_index().join(best, on=[*NETWORK, "bits"], how="inner")
    places = zip(*(scores[name] for name in [*NETWORK, "bits", "seed"]), strict=True)
    rival = [test[name].get(place) for place, name in zip(places, scores.best, strict=True)]
    return scores.assign(difference=scores.score - rival).dropna(subset="difference")


def _told(
    name: str,
    claim: str,
    found: tuple[pd.DataFrame, list[Group]],
    told: str,
    words: tuple[str, str],
    cases: str = "networks",
) -> Finding:
    """A finding whose sentence counts the cases and gives the clearest on either side."""
    evidence, groups = found
    counted = evidence[evidence.seeds > 1]
    counts = {verdict: counted[counted.verdict == verdict] for verdict in (HOLDS, FAILS, OPEN)}
    parts = [
        f"{word} on {len(counts[verdict])}" + ("" if word == "free" else _example(counts[verdict]))
        for verdict, word in zip((HOLDS, FAILS), words, strict=True)
    ]
    parts.append(f"{len(counts[OPEN])} {OPEN}")
    sentence = f"{told}: of {len(counted)} {cases}, {'; '.join(parts)}. {_basis(evidence)}"
    return Finding(name, claim, overall(groups, _seeds(evidence)), sentence, evidence, words)


def _seeds(evidence: pd.DataFrame) -> str:
    """The number of seeds of the cases that count."""
    counted = evidence.seeds[evidence.seeds > 1]
    return "1 seed" if counted.empty else f"{_range(counted)} seeds"


def _basis(evidence: pd.DataFrame) -> str:
    """What the intervals are of: how many seeds and examples, what does not count, and which mean it is."""
    told = f"Intervals are over {_seeds(evidence)}"
    known = evidence.examples.dropna()
    told += f" and test sets of {_range(known)} examples" if len(known) else ""
    left_out = int((evidence.seeds == 1).sum())
    told += f"; {counted(left_out, 'case')} of one seed {'has' if left_out == 1 else 'have'} none" if left_out else ""
    told += "; ratios of MSE are geometric means" if (evidence.measure == MSE.axis_label).any() else ""
    return f"{told}."


def _range(numbers: pd.Series) -> str:
    return " to ".join(dict.fromkeys((f"{numbers.min():,.0f}", f"{numbers.max():,.0f}")))


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
    ends = ["difference", "difference_low", "difference_high"]
    columns = [*NETWORK, "measure", *ends, "seeds", "examples", "verdict"]
    sentence = f"Not in this run: it would need {needed}."
    return Finding(name, claim, ABSENT, sentence, pd.DataFrame(columns=columns))


def table(findings: Iterable[Finding]) -> pd.DataFrame:
    """A row a claim, with what became of it."""
    return pd.DataFrame([{"claim": f.claim, "verdict": f.verdict, "in_numbers": f.sentence} for f in findings])
