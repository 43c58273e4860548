"""Costs of an inference at each level of a method: bytes, bit operations, latency and energy.

Bytes and bit operations come from metrics.csv. Latency and energy depend on the arithmetic, so they are looked up by
the precision in which a level computes. If it computes otherwise, they are unknown, with a reason.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from edgepress import registry
from edgepress.levels import FLOAT_BITS, Level
from edgepress.reporting import style
from edgepress.reporting.results import NAMES, read_table

_INPUT_BITS = 8  # minimum bits of the network's input
_MOST_NAMES = 4  # methods listed in a sentence
_KEY = ["dataset", "network", "method", "level"]
_TABLES = {
    "latency": ("peer", "level", "mode", "instructions", "products", "batch", "status"),
    "hardware": ("level", "energy_uj", "status"),
    "energy": ("status",),
}


@dataclass(frozen=True)
class Cost:
    """A cost of an inference: its column, its label on an axis and name in a table and, if it is not in metrics.csv,
    the table that has it, the column there, and the batch size of the timed inference; whether it is a number of bytes.
    """

    column: str
    label: str
    name: str
    table: str = ""
    taken_from: str = ""
    batch: int | None = None
    in_bytes: bool = False


BYTES = Cost("bytes", "size of the file", "bytes", in_bytes=True)
BOPS = Cost("bops", "bit operations", "BOPs")
LATENCY = Cost(
    "latency_ms", "latency (ms)", "latency (ms)", "latency", "median_ms", 1
)  # devices process one example at a time
ENERGY = Cost("energy_uj", "energy (µJ)", "energy (µJ)", "hardware", "energy_uj")
COSTS = (BYTES, BOPS, LATENCY, ENERGY)
NOT_ASKED = {
    "latency": "Latency was not measured. Set `latency: [w32, w8a8]` in the config; it needs the extra `deploy`.",
    "hardware": "The energy of inferences was not simulated. Set, say, `hardware: [w8a8, w4a8, w4a4, w4a32]` in "
    "the config; it needs the extra `hardware`.",
    "energy": "The energy of training was not measured. Set, for example, `energy: {country: DEU}` in the config; it "
    "needs the extra `energy`.",
}


@dataclass(frozen=True)
class CostTables:
    """The cost tables of a run, empty if not measured, and the levels of methods whose files hold weights as multiples
    of a scale, in equal bits in all layers, as integer kernels need them.
    """

    latency: pd.DataFrame
    hardware: pd.DataFrame
    energy: pd.DataFrame
    on_steps: Collection[tuple[str, ...]] = frozenset()

    @classmethod
    def load(cls, run_folder: str | Path, metrics: pd.DataFrame) -> CostTables:
        """Load the tables from the folder of a run; ``metrics`` tell which packed files exist."""
        latency, hardware, energy = (_table(Path(run_folder), name) for name in ("latency", "hardware", "energy"))
        quantized = metrics[metrics.act_bits.notna() & (metrics.family != registry.PEER)]
        if quantized.empty or (latency.empty and hardware.empty):
            return cls(latency, hardware, energy)
        from edgepress.reporting.packed import on_steps  # and with it torch

        return cls(latency, hardware, energy, on_steps(run_folder, quantized))

    def join(self, means: pd.DataFrame, costs: Iterable[Cost] = (LATENCY, ENERGY)) -> pd.DataFrame:
        """The rows of ``over_seeds`` with these costs, their ``<cost>_source`` and, if unknown, ``<cost>_reason``.
        Bytes and bit operations also get a source.
        """
        whole = means.network.map(means[means.method == "fp32"].groupby("network").macs.first())
        joined = means.assign(bytes_source="measured", bops_source="modelled")
        for cost in costs:
            known = self._known(cost)
            level_of = self._timed if cost.table == "latency" else self._simulated
            levels = map(level_of, means.itertuples(), whole)
            found = [_look_up(cost, known, *pair) for pair in zip(means.itertuples(), levels, strict=True)]
            for place, name in enumerate(("", "_source", "_reason")):
                joined[f"{cost.column}{name}"] = [values[place] for values in found]
        return joined

    def _known(self, cost: Cost) -> dict[tuple[str, ...], Any]:
        """The rows of the table of a cost, by data set, network, peer ('' for ours) and level."""
        table = getattr(self, cost.table)
        if cost.batch is not None:
            table = in_default_mode(table[table.batch == cost.batch])
        peers = table.peer.fillna("") if "peer" in table else [""] * len(table)
        keys = zip(table.dataset, table.network, peers, table.level, strict=True)
        return dict(zip(keys, table.itertuples(), strict=True))

    def _timed(self, row: Any, macs: float) -> Level | str:
        """The level of latency.csv at which the runtime computes a row, or the reason why there is none."""
        if row.family == registry.PEER:
            return Level.parse(row.level)  # its own file
        if row.macs < macs:
            return "the network without its pruned channels was not timed"
        if pd.isna(row.act_bits):
            return Level(FLOAT_BITS)  # weights are decoded, and zeros are multiplied, too
        return self._integers(row) or Level(_bits(row), int(row.act_bits))

    def _simulated(self, row: Any, macs: float) -> Level | str:
        """The precision at which the accelerator computes a row, or the reason why there is none."""
        if row.macs < macs:
            return "the network without its pruned channels was not simulated"
        if pd.notna(row.act_bits):
            return self._integers(row) or Level(_bits(row), int(row.act_bits))
        if not math.isclose(row.bops, row.macs * _bits(row) * FLOAT_BITS):
            return "layers whose bits differ from the level were not simulated"
        return Level(_bits(row), FLOAT_BITS)

    def _integers(self, row: Any) -> str:
        """Why integer kernels do not compute a row with quantized activations, or ''."""
        if row.family == registry.PEER:
            most = row.macs * row.bits * max(row.act_bits, _INPUT_BITS)
            return "" if row.bops <= most else "some of its layers compute in more bits than the level"
        if tuple(getattr(row, name) for name in _KEY) in self.on_steps:
            return ""
        return "its file does not hold weights as multiples of a scale in equal bits, as integer kernels need them"


def in_default_mode(latency: pd.DataFrame) -> pd.DataFrame:
    """The rows of latency.csv in the runtime's default mode, one per file and batch, to compare with other costs. Rows
    without a mode are float32, or another runtime's.
    """
    return latency[latency["mode"].fillna("default") == "default"]


def _bits(row: Any) -> int:
    return FLOAT_BITS if pd.isna(row.bits) else int(row.bits)


def _table(run_folder: Path, name: str) -> pd.DataFrame:
    """A table of costs, without rows if the run did not measure them; columns that an older table lacks are empty."""
    path = run_folder / f"{name}.csv"
    types = {column: str if column in NAMES else float for column in ("dataset", "network", *_TABLES[name])}
    if not path.exists():
        return pd.DataFrame(columns=list(types)).astype(types)
    table = read_table(path)
    lacking = {column: kind for column, kind in types.items() if column not in table}
    return table.assign(**dict.fromkeys(lacking, None)).astype(lacking | dict.fromkeys(lacking, object))


def _look_up(cost: Cost, known: Mapping[Any, Any], row: Any, level: Level | str) -> tuple[float, str, str]:
    """The cost of a row at a level, its source, and why it is unknown. A reason may replace the level."""
    if isinstance(level, str):
        return math.nan, "unavailable", level
    peer = row.method if cost.table == "latency" and row.family == registry.PEER else ""
    found = known.get((row.dataset, row.network, peer, str(level)))
    if found is None:
        return math.nan, "unavailable", f"`{cost.table}` in the config does not name the precision"
    if found.status != "ok":
        return math.nan, "unavailable", found.reason
    return getattr(found, cost.taken_from), found.source, ""


def taken(joined: pd.DataFrame) -> list[Cost]:
    """The costs known for a network in full precision, so that others can be compared with it."""
    reference = joined[joined.method == "fp32"]
    return [cost for cost in COSTS if reference[cost.column].notna().any()]


def remarks(joined: pd.DataFrame, tables: CostTables) -> Iterator[str]:
    """Sentences on a data set's costs: where this CPU saturates, costs that were not measured, and rows with unknown
    cost.
    """
    yield from saturation(tables.latency[tables.latency.dataset.isin(joined.dataset)])
    for cost in (LATENCY, ENERGY):
        if getattr(tables, cost.table).empty:
            yield NOT_ASKED[cost.table]
            continue
        unknown = joined[(joined.split == "test") & joined[cost.column].isna()]
        for reason, rows in unknown.groupby(f"{cost.column}_reason", sort=False):
            networks: dict[str, list[str]] = {}
            for network, of_network in rows.groupby("network", sort=False):
                networks.setdefault(told(of_network), []).append(style.label(network))
            who = "; ".join(f"{told} of {', '.join(names)}" for told, names in networks.items())
            yield f"No {cost.label.split(' (')[0]}, because {reason}: {who}."


def saturation(latency: pd.DataFrame) -> Iterator[str]:
    """A sentence for each file whose products saturate in the default mode on this CPU, with its quality in both
    modes.
    """
    files = latency.fillna({"peer": ""}).drop_duplicates(keys := ["dataset", "network", "peer", "level", "mode"])
    saturated = files[(files["mode"] == "default") & (files.products == "inexact") & (files.status == "ok")]
    both = saturated.merge(files[files["mode"] == "exact"], on=keys[:-1], suffixes=("", "_exact"))
    for row in both.to_dict("records"):
        name, label = ("r2", "R²") if pd.isna(row["accuracy"]) else ("accuracy", "accuracy")
        whose = f" by {style.label(row['peer'])}" if row["peer"] else ""
        yield (
            f"8-bit products saturate in ONNX Runtime's default mode on this CPU ({row['instructions']}): "
            f"{style.label(row['network'])} at {row['level']}{whose} has {label} {row[name]:.3f} there and "
            f"{row[f'{name}_exact']:.3f} in the exact mode, as on ARM; activation codes are off by up to "
            f"{row['max_code_difference']:.0f}."
        )


def told(rows: pd.DataFrame) -> str:
    """Methods and levels in brief."""
    methods, levels = (list(rows[name].unique()) for name in ("method", "level"))
    names = ", ".join(map(style.label, methods)) if len(methods) <= _MOST_NAMES else f"{len(methods)} methods"
    return f"{names} at {', '.join(levels)}"


def bill(trainings: pd.DataFrame) -> str:
    """A sentence on the energy of all trainings, from ``tables.trainings``."""
    known = trainings[trainings.source != "unavailable"]
    unknown = trainings.seeds.sum() - known.seeds.sum()
    if known.empty:
        return f"The energy of the run's {unknown:,} trainings is unknown."
    took = f"{known.kwh.sum():.3g} kWh and {known.co2e_g.sum():.3g} g CO2e, {' and '.join(dict.fromkeys(known.source))}"
    rest = f"; for {unknown:,} more it is unknown" if unknown else ""
    return f"The energy of {known.seeds.sum():,} trainings: {took}{rest}."
