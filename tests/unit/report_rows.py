"""Rows of metrics with known results, for the tests of the report."""

import itertools

import numpy as np
import pandas as pd

from edgepress.levels import Level
from edgepress.reporting import findings

BITS = (8, 4, 2)
SEEDS = (0, 1, 2)
NOISE = {0: -0.01, 1: 0.0, 2: 0.012}  # of a seed, the same for all methods: paired differences do not see it
FAMILY = {"lsq": "qat", "magnitude": "pruning", "random": "pruning"}


def family(method: str) -> str:
    if method.endswith("_prune20"):
        return family(method.removesuffix("_prune20")) + "_then_pruning"
    return FAMILY.get(method, method.split("_")[0])


def rows(lost, dataset="toy", network="net", error=False, splits=("train", "val", "test")) -> pd.DataFrame:
    """Rows of metrics. ``lost`` gives for each method its points of accuracy lost at 8, 4 and 2 bits, or its shares
    removed; or a function of split, seed and place that does. As errors, 10 points are a factor of e.
    """
    table = []
    for method, points in {"fp32": (0,), **lost}.items():
        for split, seed, place in itertools.product(splits, SEEDS, range(1 if method == "fp32" else len(BITS))):
            value = points(split, seed, place) if callable(points) else points[place]
            accuracy, mse = 0.8 + NOISE[seed] - value / 100, np.exp(value / 10 + 10 * NOISE[seed])
            level = level_of(method, place)
            table.append(
                {
                    "seed": seed,
                    "method": method,
                    "family": family(method),
                    "steps": consists_of(method),
                    "level": str(level),
                    "bits": level.bits,
                }
                | {"sparsity_target": level.sparsity, "split": split, "loss": mse if error else 1 - accuracy}
                | {"accuracy": np.nan if error else accuracy, "mse": mse if error else np.nan}
                | {"bytes": 100 + 10 * (level.bits or 20), "bits_per_weight": level.bits or 32}
            )
    frame = pd.DataFrame(table).astype({"bits": float, "sparsity_target": float})
    constant = {"compression_ratio": 2.0, "sparsity": 0.0, "macs": 100, "bops": 102400, "act_bits": np.nan, "draw": 0}
    constant["examples"] = 10**12  # so many that the test set adds nothing to intervals
    return frame.assign(dataset=dataset, network=network, quality=frame.accuracy.fillna(frame.mse), **constant)


def consists_of(method: str) -> str:
    return method.replace("_prune20", "+magnitude")


def level_of(method: str, place: int) -> Level:
    if method in ("magnitude", "random"):
        return Level(sparsity=(0.25, 0.5, 0.9)[place])
    return Level(bits=32 if method == "fp32" else BITS[place], sparsity=0.2 if method.endswith("_prune20") else None)


def noisy(mean: float, spread: float):
    """As many points lost as said, more or less, whichever way the seed has it."""
    return lambda split, seed, place: mean + spread * (-1, 0, 1.5)[seed]


def about(mean: float):
    return noisy(mean, 0.05)


def everything(**options) -> pd.DataFrame:
    after_training = {"midrise": 2, "nearest_uniform": 1, "nearest_normal": 5, "stochastic_uniform": 3}
    after_training |= {"stochastic_normal": 6, "dithered_uniform": 2, "multipoint": 0.1, "magnitude": 2, "random": 20}
    chains = {"nearest_uniform_prune20": 1.3, "stochastic_uniform_prune20": 9}
    trained_again = {"qat_midrise": 0.2, "qat_nearest_uniform": 0.4, "lsq": 0.1}
    lost = {name: about(points) for name, points in (after_training | chains | trained_again).items()}
    return rows(lost, **options)


def two_datasets() -> pd.DataFrame:
    """Two data sets; of the second, one network lacks train and the other has test alone, and no QAT."""
    no_train = everything(dataset="amounts", network="no_train", error=True, splits=("val", "test"))
    test_only = everything(dataset="amounts", network="test_only", error=True, splits=("test",))
    return pd.concat([everything(), no_train, test_only[test_only.family != "qat"]], ignore_index=True)


def verdicts(metrics: pd.DataFrame) -> dict[str, str]:
    return {finding.name: finding.verdict for finding in findings.all_findings(metrics)}
