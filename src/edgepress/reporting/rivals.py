"""Points of a data set that do not differ significantly from a chosen one."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from edgepress.reporting.results import (
    ACCURACY,
    MSE,
    Quality,
    complete,
    examples,
    per_seed,
    quality_of,
    sampling_half_width,
    t_half_width,
)

_POINT = ["network", "method", "level"]


@dataclass(frozen=True)
class Rivals:
    """The quality of every point of one data set: one row per network, method and level, one column per split and seed;
    logarithms for errors. ``examples`` is the number of test examples, NaN if unknown.
    """

    quality: Quality
    scores: pd.DataFrame
    examples: float

    @classmethod
    def of(cls, rows: pd.DataFrame) -> Rivals:
        """The rivals in the metrics of one data set."""
        quality = quality_of(rows)
        seeds = complete(per_seed(rows, quality)).astype(dict.fromkeys(_POINT, str))
        scores = seeds.pivot_table(index=_POINT, columns=["split", "seed"], values="quality", sort=False)
        known = examples(rows, "test").max() if quality is ACCURACY else np.nan
        return cls(quality, scores.apply(np.log) if quality is MSE else scores, float(known))

    def not_told_apart(self, chosen: Mapping[Hashable, Any], pool: pd.DataFrame) -> int:
        """The number of other methods in ``pool``, rows of the same network, with a level whose quality on test does
        not differ significantly from that of ``chosen``: the 95 % interval of the mean difference, over seeds and test
        examples, contains 0. With one seed, errors never differ significantly.

        Points with identical qualities and bytes count once, and not at all if they equal the chosen one.
        """
        others = pool[pool.method != chosen["method"]]
        own = self._scores([chosen]).assign(bytes=chosen["bytes"])
        scores = self._scores(others.to_dict("records")).assign(bytes=others.bytes.to_numpy())
        repeated = pd.concat([own, scores]).duplicated().to_numpy()[1:]
        on_test = [place for place in own.columns if place[0] == "test"]
        apart = scores.loc[~repeated, on_test] - own[on_test].to_numpy()
        mean: pd.Series = apart.mean(axis=1)
        half = t_half_width(apart.count(axis=1), apart.T.std(ddof=1))
        if self.quality is ACCURACY:
            sampling = sampling_half_width(mean.abs(), self.examples)
            half = np.hypot(half.fillna(0.0 if self.examples > 0 else np.nan), sampling.fillna(0.0))
        untold = ~(mean.abs() > half)
        return int(untold[untold].index.get_level_values("method").nunique())

    def _scores(self, points: Sequence[Mapping[Hashable, Any]]) -> pd.DataFrame:
        places = [tuple(str(point[name]) for name in _POINT) for point in points]
        scores = self.scores.reindex(pd.MultiIndex.from_tuples(places, names=_POINT))
        return scores.set_axis(self.scores.columns.to_flat_index(), axis=1)
