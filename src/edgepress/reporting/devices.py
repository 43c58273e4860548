"""Compressed networks on microcontrollers: quality, flash, RAM and instructions of the C code. From devices.csv."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from edgepress.reporting import numbers, selection, style, tables
from edgepress.reporting.costs import Cost, told
from edgepress.reporting.results import over_seeds, read_table, retrained
from edgepress.reporting.rivals import Rivals

if TYPE_CHECKING:
    from edgepress.targets.c.parts import Part

CPU = "Cortex-M4F"  # of figures, and of all microcontrollers in targets.c.parts
FLASH = Cost("flash", "flash", "flash", in_bytes=True)
RAM = Cost("ram", "RAM", "RAM", in_bytes=True)
INSTRUCTIONS = Cost("instructions", "instructions per inference", "instructions")
COSTS = (FLASH, RAM, INSTRUCTIONS)
NONE_FITS = "none fits"
_FILE = ["dataset", "network", "method", "level"]
_TRAINING = ["dataset", "network", "seed"]
_TEXTS = ("arithmetic", "board", "cpu", "kernel", "status", "reason")
_NUMBERS = (
    *("packed_bytes", "flash", "text", "weights", "tables", "ram", "instructions", "instructions_per_mac", "decoding"),
    *("device_rows", "device_difference", "host_rows", "host_difference", "accuracy", "r2"),
)
_BUILDS = [
    *("dataset", "network", "method", "level", "arithmetic", "cpu", "kernel"),
    *("flash", "ram", "instructions", "instructions_per_mac", "decoding", "from_exact", "test_quality"),
]
_PLACE = ["part", "part_ram", "part_flash", "division"]
_CHOSEN = [*_PLACE, "method", "least_bad", "level", "flash", "ram", "instructions"]


def load(run_folder: str | Path) -> pd.DataFrame:
    """The rows of the devices.csv of a run; none if it is missing, as after a failed run."""
    path = Path(run_folder) / "devices.csv"
    columns = ["dataset", "network", "seed", "method", "level", *_TEXTS, *_NUMBERS]
    rows = read_table(path) if path.exists() else pd.DataFrame(columns=columns)
    return rows.astype(dict.fromkeys(_TEXTS, "string") | dict.fromkeys(_NUMBERS, float))


def builds(devices: pd.DataFrame, cpu: str = CPU) -> pd.DataFrame:
    """One row per packed file that runs on a CPU: the build with the fewest instructions."""
    ran = devices[(devices.status == "ok") & (devices.cpu == cpu)]
    return ran.sort_values("instructions", kind="stable").drop_duplicates(_FILE).sort_index()


def as_computed(metrics: pd.DataFrame, built: pd.DataFrame) -> pd.DataFrame:
    """The rows of metrics of the packed files in ``built``, and of full precision, with the seed and draw that ran.
    Quality on test is that of the C code, on all test inputs.
    """
    ran = metrics.merge(built[_TRAINING].drop_duplicates(), on=_TRAINING)
    ran = ran[ran.draw == 0] if "draw" in ran else ran
    found = built[[*_FILE, "accuracy", "r2"]].rename(columns={"accuracy": "c_accuracy", "r2": "c_r2"})
    rows = ran.merge(found.assign(built=True), on=_FILE, how="left")
    rows = rows[rows.built.notna() | (rows.method == "fp32")].copy()
    computed = rows.built.notna() & (rows.split == "test")
    rows.loc[computed & rows.c_accuracy.notna(), "accuracy"] = rows.c_accuracy
    if "r2" in rows:
        variance = (rows.mse / (1 - rows.r2)).groupby([rows.dataset, rows.split]).transform("median")
        rows.loc[computed & rows.c_r2.notna(), "mse"] = (1 - rows.c_r2) * variance
    return rows.drop(columns=["c_accuracy", "c_r2", "built"])


def means(computed: pd.DataFrame, built: pd.DataFrame, dataset: str) -> pd.DataFrame:
    """The rows of ``over_seeds`` of one data set with the columns of ``COSTS``; ``computed`` is ``as_computed``."""
    columns = [cost.column for cost in COSTS]
    costs = built.set_index(_FILE)[columns].astype(float)
    return over_seeds(computed[computed.dataset == dataset]).join(costs, on=_FILE)


def best_that_fits(metrics: pd.DataFrame, devices: pd.DataFrame) -> pd.DataFrame:
    """The best method on val for each network and microcontroller of ``PARTS`` whose flash and RAM hold it, of equals
    the one with the fewest instructions, with its quality on test.

    Divisions are those of ``tables.decide``. The method is ``none fits`` if no measured file fits, and ``none works``
    if none that fits works (``results.WORKS``); then ``least_bad`` is the best of them.
    """
    from edgepress.targets.c.parts import PARTS  # and with it torch

    built = builds(devices)
    computed = as_computed(metrics, built)
    found = [pd.DataFrame(columns=["dataset", "network", *_CHOSEN])]
    for dataset, rows in computed.groupby("dataset", sort=False):
        rivals = Rivals.of(rows)
        points = selection.val_beside_test(means(computed, built, str(dataset)), rivals.quality)
        points = points[points.method != "fp32"]
        division = retrained(points).map({False: "closed", True: "open"})
        chosen = [
            _choose(pool, part, str(name), rivals)
            for (_, name), pool in points.groupby([points.network, division], sort=False)
            for part in PARTS.values()
        ]
        if chosen:
            table = pd.DataFrame(chosen, columns=[*points.columns, "tied", *_PLACE])
            table = tables.without_rejected(table, "works", tables.NONE_WORKS, "least_bad")
            found.append(tables.with_quality(table, str(dataset), rivals.quality, _CHOSEN, changed=True))
    return pd.concat(found[1:] or found, ignore_index=True)


def _choose(pool: pd.DataFrame, part: Part, division: str, rivals: Rivals) -> Mapping[Any, Any]:
    """The best of the files of one network that fit a microcontroller."""
    place = dict(zip(_PLACE, (part.name, part.ram, part.flash, division), strict=True))
    fitting = pool[(pool.flash <= part.flash) & (pool.ram <= part.ram)]
    if fitting.empty:
        return {"network": pool.network.iloc[0], "method": NONE_FITS, "level": "", "works": True, **place}
    return {**selection.best(fitting, rivals, INSTRUCTIONS.column), **place}


def all_builds(devices: pd.DataFrame) -> pd.DataFrame:
    """One row per packed file and build that ran. ``test_quality`` is accuracy, or R² for regression, and
    ``from_exact`` the largest difference from exact arithmetic, on the device or on this machine.
    """
    ran = devices[(devices.status == "ok") & devices.board.notna()]
    difference = ran[["device_difference", "host_difference"]].astype(float).max(axis=1)
    return ran.assign(from_exact=difference, test_quality=ran.accuracy.fillna(ran.r2))[_BUILDS].reset_index(drop=True)


def remarks(devices: pd.DataFrame) -> Iterator[str]:
    """Sentences on a data set: whether numbers were exact, and which files were not measured, and why."""
    if devices.empty:
        yield "Nothing was measured."
    for arithmetic, rows in devices[devices.status == "ok"].groupby("arithmetic", sort=False):
        ran = rows[rows.board.notna()]
        if len(ran):
            yield (
                f"In {arithmetic}: {numbers.counted(len(ran), 'build')} of "
                f"{numbers.counted(len(ran.drop_duplicates(_FILE)), 'file')} ran. Largest difference from exact "
                f"arithmetic: {ran.device_difference.max():.3g} on the device (at least "
                f"{numbers.counted(ran.device_rows.min(), 'input')} each), {ran.host_difference.max():.3g} in the "
                f"same C on this machine (at least {numbers.counted(ran.host_rows.min(), 'input')} each)."
            )
    missing = devices[devices.status != "ok"].fillna({"reason": "no reason is known"})
    for (network, status, reason), rows in missing.groupby(["network", "status", "reason"], sort=False):
        yield f"{style.label(status).capitalize()}: {told(rows)} of {style.label(network)}{_cpus_of(rows)}: {reason}."


def _cpus_of(rows: pd.DataFrame) -> str:
    """On which CPUs, unless none was tried."""
    cpus = rows.cpu.dropna().unique()
    return f" on {', '.join(cpus)}" if len(cpus) else ""
