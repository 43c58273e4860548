"""The report's numbers, recomputed from a metrics.csv with pandas and scipy only, independent of edgepress."""

import math
from fractions import Fraction

import numpy as np
import pandas as pd
from scipy import stats

POINT = ["network", "method", "level"]
TRAINS_AGAIN = ("qat", "finetuning", "admm")
Z = stats.norm.ppf(0.975)


class Recomputed:
    """One data set of a table of metrics. ``value`` is accuracy, or the MSE."""

    def __init__(self, metrics: pd.DataFrame, dataset: str) -> None:
        rows = metrics[(metrics.dataset == dataset) & (metrics.status == "ok")].copy()
        self.error = bool(rows.accuracy.isna().all())
        rows["value"] = rows.mse if self.error else rows.accuracy
        self.examples = {split: self._examples(part) for split, part in rows.groupby("split")}
        self.constant = {split: self._constant(part) for split, part in rows.groupby("split")}
        self.seeds, self.points = {}, {}
        trained = {key: set(part.seed) for key, part in rows[rows.method == "fp32"].groupby(["network", "split"])}
        draws = rows.groupby(["network", "method"]).draw.nunique()
        for (*point, split), part in rows.groupby([*POINT, "split"], sort=False):
            by_seed = part.groupby("seed").value.mean()
            counts = part.groupby("seed").size()
            if set(by_seed.index) == trained[point[0], split] and (counts == draws[point[0], point[1]]).all():
                self.seeds[(*point, split)] = by_seed
                self.points.setdefault(tuple(point), part.iloc[0].to_dict() | part[["bytes", "bops"]].mean().to_dict())

    def _examples(self, part: pd.DataFrame) -> float:
        if self.error:
            return math.nan
        if "examples" in part:
            return part.examples.max()
        steps = np.diff(sorted({0.0, 1.0, *part.accuracy.round(12)}))
        return round(1 / steps.min())

    def _constant(self, part: pd.DataFrame) -> float:
        if self.error:
            return (part.mse / (1 - part.r2)).median()
        return part.majority.max() if "majority" in part else 0.0

    def mean(self, point: tuple, split: str) -> float:
        values = self.seeds[(*point, split)]
        return math.exp(np.log(values).mean()) if self.error else values.mean()

    def full(self, point: tuple) -> tuple:
        return next(other for other in self.points if other[0] == point[0] and other[1] == "fp32")

    def differences(self, point: tuple, other: tuple, split: str) -> pd.Series:
        """Seed by seed: of accuracies, or of the logarithms of errors."""
        first, second = self.seeds[(*point, split)], self.seeds[(*other, split)]
        return np.log(first) - np.log(second) if self.error else first - second

    def half(self, values: pd.Series, split: str, sampling: bool = True) -> float:
        """Half the width of the interval of a difference; NaN if unknown."""
        known = [stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)] if len(values) > 1 else []
        n, d = self.examples[split], abs(values.mean())
        if sampling and not self.error:
            known.append(Z * math.sqrt((max(d, 1 / n) - d * d) / n))
        return math.hypot(*known) if known else math.nan

    def change(self, point: tuple, split: str = "test", sampling: bool = True) -> tuple[float, float, float]:
        """Percentage points, or a ratio, with the interval clipped to possible accuracies."""
        values = self.differences(point, self.full(point), split)
        mean, half = values.mean(), self.half(values, split, sampling)
        if self.error:
            half = math.nan if half == 0 and mean else half
            return math.exp(mean), math.exp(mean - half), math.exp(mean + half)
        whole = self.mean(self.full(point), split)
        return 100 * mean, 100 * max(mean - half, -whole), 100 * min(mean + half, 1 - whole)

    def quality(self, point: tuple) -> tuple[float, float, float]:
        values = self.seeds[(*point, "test")]
        if self.error:
            mean, half = np.log(values).mean(), self.half(np.log(values), "test") or math.nan
            return math.exp(mean), math.exp(mean - half), math.exp(mean + half)
        over_seeds = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values) if len(values) > 1 else 0.0
        mean, n = values.mean(), self.examples["test"]
        wrong = min(mean, 1 - mean)
        half = math.hypot(over_seeds, Z * math.sqrt((max(wrong, 1 / n) - wrong**2) / n))
        return 100 * mean, 100 * max(mean - half, 0), 100 * min(mean + half, 1)

    def within(self, change: float) -> bool:
        return change <= 1.01 if self.error else change >= -1

    def works(self, point: tuple) -> bool:
        """At least half of what full precision gains over a constant answer is kept, on val."""
        whole, kept = self.mean(self.full(point), "val"), self.mean(point, "val")
        constant = self.constant["val"]
        if self.error:
            return kept <= max(whole, (constant + whole) / 2)
        return kept >= min(whole, (constant + whole) / 2)

    def closed(self, point: tuple) -> bool:
        return not any(word in self.points[point]["family"] for word in TRAINS_AGAIN)

    def of(self, network: str) -> list[tuple]:
        """The points of a network that were measured on val and test."""
        both = [point for point in self.points if point[0] == network]
        return [point for point in both if (*point, "val") in self.seeds and (*point, "test") in self.seeds]

    def gain(self, point: tuple) -> float:
        return -self.mean(point, "val") if self.error else self.mean(point, "val")

    def tied(self, chosen: tuple, pool: list[tuple]) -> int:
        """The number of other methods in the pool that do not differ significantly; identical results count once."""

        def results(point: tuple) -> tuple:
            values = [
                v for (*other, _), by_seed in sorted(self.seeds.items()) if tuple(other) == point for v in by_seed
            ]
            return self.points[point]["bytes"], *values

        seen, methods = {results(chosen)}, set()
        for point in pool:
            if point[1] == chosen[1] or results(point) in seen:
                continue
            seen.add(results(point))
            values = self.differences(point, chosen, "test")
            half = self.half(values, "test")
            if not abs(values.mean()) > half:
                methods.add(point[1])
        return len(methods)

    def smallest(self, network: str) -> tuple[tuple, bool, int]:
        """The point, whether test confirms it, and how many others of its size do not differ significantly."""
        good = [point for point in self.of(network) if self.closed(point)]
        good = [p for p in good if p[1] == "fp32" or self.within(self._worst_over_seeds(p))]
        chosen = min(good, key=lambda point: (self.points[point]["bytes"], -self.gain(point), point))
        most = 1.01 * self.points[chosen]["bytes"]
        end = self.change(chosen)[2 if self.error else 1]
        pool = [point for point in good if self.points[point]["bytes"] <= most]
        return chosen, chosen[1] == "fp32" or self.within(end), self.tied(chosen, pool)

    def _worst_over_seeds(self, point: tuple) -> float:
        values = self.differences(point, self.full(point), "val")
        over_seeds = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values) if len(values) > 1 else 0.0
        return math.exp(values.mean() + over_seeds) if self.error else 100 * (values.mean() - over_seeds)

    def best(self, pool: list[tuple], cost: str) -> tuple[tuple, bool, int]:
        """The best on val of those that work, of equals the cheapest; whether it works, and its ties."""
        usable = [point for point in pool if self.works(point)] or pool
        chosen = min(
            usable, key=lambda point: (-self.gain(point), *(self.points[point][of] for of in (cost, "bytes")), point)
        )
        return chosen, self.works(chosen), self.tied(chosen, usable)

    def at_bits(self, network: str, bits: float) -> tuple[tuple, bool, int]:
        """The best at a nominal number of bits, of methods with one code a weight."""

        def fits(point: tuple) -> bool:
            row = self.points[point]
            alone = pd.isna(row["act_bits"]) and pd.isna(row["sparsity_target"]) and point[1] != "fp32"
            return alone and row["bits"] == bits and "multipoint" not in row["family"] and self.closed(point)

        return self.best([point for point in self.of(network) if fits(point)], "bytes")

    def in_budget(self, network: str, division: str, cost: str, budget: str) -> tuple[tuple, bool, int] | None:
        """The best within a fraction of full precision's cost; None if nothing is."""
        points = self.of(network)
        limit = float(Fraction(budget)) * self.points[self.full(points[0])][cost]
        pool = [p for p in points if self.points[p][cost] <= limit and self.closed(p) == (division == "closed")]
        pool = [point for point in pool if point[1] != "fp32"]
        return self.best(pool, cost) if pool else None
