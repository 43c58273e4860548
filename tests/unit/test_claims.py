"""What claims count: methods by their components, correlated cases, and the reliability of intervals."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from edgepress import metrics as tables
from edgepress.reporting import evidence, findings, results, steps, style
from edgepress.reporting.evidence import DEPENDS, FAILS, HOLDS, OPEN
from edgepress.spec import COLUMNS, TRAINED

BITS = (8, 4, 3, 2)


def measured(folder, lost, seeds=3, examples=10_000, columns=tuple(tables.COLUMNS), networks=("net",)):
    """A run's metrics, read from a file. ``lost`` gives for each method its steps and points of accuracy lost."""
    rows = []
    for network in networks:
        for method, (chain, points) in {"fp32": ("fp32", 0.0), **lost}.items():
            pruned = "magnitude" in chain or "random" in chain
            for bits in (32,) if method == "fp32" else BITS:
                for seed in range(seeds):
                    right = round(examples * (0.9 - (points + 0.03 * seed * (points > 0)) / 100))
                    for split in ("val", "test"):
                        row = {"dataset": "toy", "network": network, "seed": seed, "method": method, "family": "f"}
                        row |= {"steps": chain, "level": f"w{bits}{'s20' * pruned}", "bits": bits, "draw": 0}
                        row |= {"sparsity_target": 0.2 if pruned else None, "split": split, "examples": examples}
                        row |= {"loss": points + seed, "accuracy": right / examples, "bytes": 100 + bits, "macs": 1}
                        row |= {"bits_per_weight": bits, "compression_ratio": 1, "sparsity": 0, "status": "ok"}
                        rows.append({name: row.get(name) for name in columns})
    (folder / "metrics.csv").write_text(tables.to_csv(rows, columns), encoding="utf-8")
    return results.load(folder / "metrics.csv")


def claim(metrics, name):
    return next(finding for finding in findings.all_findings(metrics) if finding.name == name)


CHAINS = {
    "nearest_uniform": ("nearest_uniform", 1.0),
    "gptq": ("gptq", 0.1),
    "mine": ("nearest_uniform+magnitude", 1.1),
    "gptq_beaten": ("nearest_uniform+magnitude", 1.1),
    "nearest_uniform_first": ("magnitude+nearest_uniform", 30.0),
    "nearest_uniform_control": ("nearest_uniform+random", 40.0),
}


@pytest.mark.parametrize("told_by", ["column", "manifest"])
def test_chains_count_by_their_steps_whatever_their_names(tmp_path, told_by):
    """A chain that prunes after nearest_uniform loses 0.1 points to it, not 1 point to gptq."""
    columns = [name for name in tables.COLUMNS if told_by == "column" or name not in ("steps", "examples")]
    if told_by == "manifest":
        of_run = {name: {"steps": chain.split("+")} for name, (chain, _) in CHAINS.items() if "+" in chain}
        beaten = {"gptq_beaten": of_run.pop("gptq_beaten"), **of_run}
        config = {"chains": {"mine": {"steps": ["gptq"]}}, "overrides": {"toy/net": {"chains": beaten}, "toy": {}}}
        tables_of = {"config": config, "own": {}}
        (tmp_path / "manifest.json").write_text(pd.Series(tables_of).to_json())
    for names in (["mine"], ["gptq_beaten"], list(CHAINS)):
        lost = {name: CHAINS[name] for name in dict.fromkeys(["nearest_uniform", "gptq", *names])}
        finding = claim(measured(tmp_path, lost, columns=columns), "pruning_after")
        assert finding.evidence.difference.tolist() == pytest.approx([-0.1] * len(BITS))
        assert "mean over 1 method," in finding.sentence


@pytest.mark.parametrize("name", ["gptq_more", "mine"])
def test_claims_about_quantizers_know_no_chain_that_does_more(tmp_path, name):
    lost = {"stochastic_uniform": ("stochastic_uniform", 2.0), "nearest_uniform": ("nearest_uniform", 3.0)}
    more = {name: ("gptq+magnitude", 0.0), "small": ("gptq+huffman", 0.0)}
    assert claim(measured(tmp_path, lost | more), "best_method").evidence.against.tolist() == ["nearest_uniform"]
    alone = {name: ("gptq", 0.0)}
    assert claim(measured(tmp_path, lost | alone), "best_method").evidence.against.tolist() == ["gptq"]


def test_a_chain_of_one_step_is_that_method_and_counts_once(tmp_path):
    lost = {"nearest_uniform": ("nearest_uniform", 2.0), "again": ("nearest_uniform", 2.0)}
    twins = {"qat_1": ("qat_nearest_uniform", 1.0), "qat_midrise_but_not": ("lsq", 0.5)}
    finding = claim(measured(tmp_path, lost | twins), "training_again")
    assert set(finding.evidence.method) == {"same rounding", "lsq"} and "mean over 1 pair" in finding.sentence


def test_what_a_method_is_comes_from_its_settings():
    assert steps.after_training("qat_midrise+huffman") == "midrise+huffman" and steps.after_training("lsq") == "lsq"
    named = pd.DataFrame({"method": ["a", "gptq", "stochastic_of_mine", "stochastic_uniform"], "family": "f"})
    named = steps.described(named.assign(steps=["activations_mse+gptq", *named.method[1:]]))
    chain, gptq, unknown, stochastic = (style.look(row) for row in named.itertuples())
    assert chain == gptq and unknown != stochastic  # a plugin that is not known here
    told = named.assign(codebook="normal", rounding="stochastic", granularity="channel", when=TRAINED, options="")
    row = next(steps.described(told).iloc[2:].itertuples())
    assert style.hue(row) == "normal" and style.look(row)["marker"] == style.CHANNEL_MARKER  # but its table tells of it
    assert results.retrained(told).all() and not results.retrained(named).any()


def test_methods_that_gave_the_same_networks_and_cases_of_one_seed_do_not_count(tmp_path):
    metrics = measured(tmp_path, {"nearest_uniform": ("nearest_uniform", 1.0)}, networks=("net", "one"))
    rows = metrics[(metrics.network == "net") | (metrics.seed == 0)]
    rows = rows.assign(sparsity_target=np.where(rows.method == "fp32", np.nan, 0.5))
    rows.loc[rows.method != "fp32", "bits"] = np.nan
    pruned = rows[rows.method != "fp32"].drop(columns=[*COLUMNS])  # those of nearest_uniform
    others = {"random": 0.2, "magnitude": 0.0, "magnitude_global": 0.0, "obs": 0.0}
    parts = [
        pruned.assign(method=name, steps=name, accuracy=pruned.accuracy - worse, loss=pruned.loss + worse)
        for name, worse in others.items()
    ]
    finding = claim(pd.concat([rows[rows.method == "fp32"], *parts]), "control")
    assert finding.verdict == "holds: 1 of 1" and set(finding.evidence.method) == {"magnitude"}
    assert "1 case of one seed has none" in finding.sentence and "obs" not in finding.sentence


@pytest.mark.parametrize("examples", [100, 10_000])
def test_an_interval_is_never_narrower_than_the_sampling_error_of_the_test_set(tmp_path, examples):
    """All seeds alike: what is left is the test set, on which so many examples at least came out otherwise."""
    metrics = measured(tmp_path, {"nearest_uniform": ("nearest_uniform", 0.0)}, examples=examples)
    worse = metrics.assign(accuracy=metrics.accuracy - 0.02 * (metrics.method != "fp32"))
    (case,) = claim(worse, "bits_needed").evidence.query("bits == 8").itertuples()
    half = 196 * np.sqrt((0.02 - 0.02**2) / examples)
    assert (case.difference, case.difference_high - case.difference) == pytest.approx((-2, half), rel=1e-3)
    assert case.examples == examples and f"{examples:,} examples" in claim(worse, "bits_needed").sentence


def of_seeds(values, bits=None):
    """The verdicts of the cases of each run with these differences, of shape (runs, cases, seeds)."""
    runs, _, seeds = values.shape
    places = np.indices(values.shape)
    table = pd.DataFrame({"dataset": "d", "run": places[0].ravel(), "case": places[1].ravel()})
    table["difference"], case = values.ravel(), ["dataset", "run", "case"]
    if bits is not None:
        table["bits"], case = np.tile(np.repeat(bits, seeds), runs), [*case, "bits"]
    scored = pd.DataFrame({"dataset": ["d"], "is_error": [False], "examples": [np.nan]})
    judged, _ = evidence.judged(table, case, scored, evidence.sign(1))
    return [evidence.counted(of_run) for _, of_run in judged.groupby("run")]


def without_effect(runs, cases, correlation):
    """Differences of three seeds, with a mean of 0, that correlate between cases."""
    drawn = np.random.default_rng(cases)
    shared = np.sqrt(correlation) * drawn.standard_normal((runs, 1, 3))
    return shared + np.sqrt(1 - correlation) * drawn.standard_normal((runs, cases, 3))


@pytest.mark.parametrize("correlation", [0, 0.5, 0.9, 1])
@pytest.mark.parametrize("cases", [1, 2, 5, 24])
def test_without_any_effect_a_claim_is_told_in_one_run_of_twenty_at_most(cases, correlation):
    """Cases share seeds, so they correlate; half of them are at few bits."""
    groups = of_seeds(without_effect(400, cases, correlation), np.resize([2, 4], cases))
    told = [any(group.verdict != OPEN for group in of_run) for of_run in groups]
    assert sum(told) <= stats.binom.ppf(0.99, len(told), 0.05)


@pytest.mark.parametrize("correlation", [0, 0.9])
def test_a_clear_effect_is_told(correlation):
    for effect, verdict in ((8, HOLDS), (-8, FAILS)):
        told = [of_run[0].verdict for of_run in of_seeds(effect + without_effect(100, 12, correlation))]
        assert told.count(verdict) > 0.9 * len(told)


@pytest.mark.parametrize(
    ("means", "bits", "verdict"),
    [
        ([9] * 3, None, "holds: 3 of 3"),
        ([9] * 5 + [0] * 4, None, "holds: 5 of 9"),
        ([9] * 4 + [0] * 4, None, "cannot be told from 3 seeds: 4 of 8 for it, 0 against it"),
        ([9] * 3 + [-9] * 3, None, f"{DEPENDS}: 3 of 6 for it, 3 against it"),
        ([9, 9, 0, 0, -9], [2, 3, 4, 6, 8],
         "holds at 2–3 bits: 2 of 2; cannot be told from 3 seeds at 4–8 bits: 0 of 3 for it, 1 against it"),
        ([-9, -9, -9, -9], [2, 2, 8, 8], "does not hold at 2 bits: 2 of 2 against it; at 8 bits: 2 of 2 against it"),
        ([9, 9, 9], [2, 4, 8], "holds at 2–8 bits: 3 of 3"),  # one case at few bits is no group
    ],
)  # fmt: skip
def test_a_verdict_says_of_which_cases_it_is(means, bits, verdict):
    values = np.add.outer(np.array(means, float), [-0.5, 0.1, 0.4])
    (groups,) = of_seeds(values[None], bits)
    assert evidence.overall(groups, "3 seeds") == verdict
