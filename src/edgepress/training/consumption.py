"""The energy that a training takes on this machine, by codecarbon, offline.

``measured`` is what a counter of the machine says: RAPL's of the processor, NVML's of a GPU. Both count all that the
machine does meanwhile, other jobs too. ``modelled`` is what codecarbon makes of the time that the process computes and
of what such a processor draws, and of the memory there is. ``unavailable`` is a counter that reads 0, and with it the
sum. CO2 is energy × the mean intensity of the country's electricity.

codecarbon is an extra; this module imports without it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from edgepress.files import write_atomically
from edgepress.metrics import to_csv

COLUMNS = (
    "dataset", "network", "seed", "method", "level", "seconds", "kwh", "source", "cpu_kwh", "cpu_source", "gpu_kwh",
    "gpu_source", "ram_kwh", "ram_source", "co2e_g", "country", "cpu", "gpu", "status", "reason",
)  # fmt: skip
INSTALL = "pip install --requirement envs/requirements-energy.lock"
_SECONDS_BETWEEN_READINGS = 5


@contextmanager
def metered(
    table: str | None, settings: Mapping[str, str] | None, identity: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """Take the energy of what happens inside, and write it, a row that begins with ``identity``, to ``table``.

    ``settings`` name the ``country``. What is given can be noted in the row: its ``status``, where it is not ok.
    Without a table nothing is done, and nothing is written where an error ends what happens inside. Raises ValueError
    where codecarbon does not know the country.
    """
    noted = {"status": "ok"}
    if not table or not settings:
        yield noted
        return
    with measured(settings) as taken:
        yield noted
    write_atomically(table, to_csv([{**identity, "country": settings["country"], **taken, **noted}], COLUMNS))


@contextmanager
def measured(settings: Mapping[str, str] | None) -> Iterator[dict[str, Any]]:
    """Take the energy of what happens inside; what is given holds the columns of ``figures`` once that has ended.

    ``settings`` as in ``metered``; without them it is unavailable.
    """
    taken: dict[str, Any] = {}
    if not settings:
        taken |= unavailable("the config asks for no `energy`")
        yield taken
        return
    try:
        tracker = _started(settings["country"])
    except ModuleNotFoundError as error:
        taken |= unavailable(f"{error.name} is not installed: {INSTALL}")
        yield taken
    else:
        try:
            yield taken
        finally:
            tracker.stop()
        taken |= _read(tracker)


def _started(country: str) -> Any:
    from codecarbon import OfflineEmissionsTracker
    from codecarbon.input import DataSource

    if country not in DataSource().get_global_energy_mix_data():
        # codecarbon would go on with the mean of the world.
        raise ValueError(f"codecarbon knows no electricity of the country '{country}'; name another in `energy`")
    tracker = OfflineEmissionsTracker(
        country_iso_code=country,
        tracking_mode="process",
        measure_power_secs=_SECONDS_BETWEEN_READINGS,
        output_methods=[],
        allow_multiple_runs=True,
        log_level="error",
    )
    tracker.start()
    return tracker


def _read(tracker: Any) -> dict[str, Any]:
    from codecarbon.core.cpu import is_rapl_available

    reading = getattr(tracker, "final_emissions_data", None)  # codecarbon logs its own errors and goes on
    return (
        unavailable("codecarbon failed; the log says why") if reading is None else figures(reading, is_rapl_available())
    )


def unavailable(reason: str) -> dict[str, Any]:
    """The figures of a training whose energy is not known."""
    return {"source": "unavailable", "reason": reason}


def figures(reading: Any, counts_cpu: bool) -> dict[str, Any]:
    """The columns that a reading, codecarbon's EmissionsData, gives; ``counts_cpu`` says whether RAPL is there.

    Energies are in kWh, CO2 in grams. A GPU that is not there has none, and no source.
    """
    sources = {"cpu": "measured" if counts_cpu else "modelled", "gpu": "measured", "ram": "modelled"}
    if not reading.gpu_count:
        del sources["gpu"]
    row: dict[str, Any] = {"seconds": reading.duration, "cpu": reading.cpu_model, "gpu": reading.gpu_model}
    for part in sources:
        energy = getattr(reading, f"{part}_energy")
        if energy > 0:
            row[f"{part}_kwh"] = energy
        else:
            sources[part] = "unavailable"
        row[f"{part}_source"] = sources[part]
    silent = [part for part, source in sources.items() if source == "unavailable"]
    if silent:
        return row | unavailable(f"the counter of {' and '.join(silent)} reads 0")
    total = {"kwh": sum(row[f"{part}_kwh"] for part in sources), "co2e_g": 1000 * reading.emissions}
    return row | total | {"source": "modelled" if "modelled" in sources.values() else "measured"}
