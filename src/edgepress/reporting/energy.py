"""What trainings cost in energy, and when a method's training is paid back by what it saves a device.

From energy.csv and hardware.csv. Energies of trainings are in kWh, of inferences in µJ.
"""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from edgepress.levels import FLOAT_BITS, FULL_PRECISION, Level

_MICROJOULES = 3.6e12  # in a kWh
_PLACE = ["dataset", "network"]
_METHOD = [*_PLACE, "method", "level"]
_SURENESS = ["unavailable", "modelled", "measured"]  # a figure is as sure as the least sure that went into it


def training_bill(energy: pd.DataFrame) -> pd.DataFrame:
    """What the trainings of each method took: energy in kWh and CO2 in grams, of all seeds together and of one.

    ``energy`` holds the rows of energy.csv. A sum that lacks a training is NaN, and its source ``unavailable``.
    """
    groups = energy.groupby(_METHOD, sort=False)
    bill = pd.DataFrame({name: groups[name].sum(min_count=1) for name in ("seconds", "kwh", "co2e_g")})
    bill["kwh_a_training"] = groups.kwh.mean()
    bill["co2e_g_a_training"] = groups.co2e_g.mean()
    bill["seeds"] = groups.size()
    bill["country"] = groups.country.first()
    bill["source"] = groups.source.agg(_least_sure)
    unknown = bill.source == "unavailable"
    bill.loc[unknown, ["kwh", "co2e_g", "kwh_a_training", "co2e_g_a_training"]] = float("nan")
    return bill.reset_index()


def payback(energy: pd.DataFrame, hardware: pd.DataFrame, against: str = FULL_PRECISION) -> pd.DataFrame:
    """After how many inferences the training that a method adds has been paid back by what it saves in each.

    What a method adds is the energy of training the network again, the mean over seeds; what it saves is the energy
    of an inference at the precision ``against`` less that at the method's own. A method that leaves activations as
    they are is looked up at float32 activations, w4 at w4a32. ``hardware`` holds the rows of hardware.csv. Trainings
    that gave no network are left out.

    ``inferences`` is NaN where it cannot be said, and infinite where nothing is saved; ``reason`` says why.
    """
    trainings = training_bill(energy[(energy.method != "fp32") & (energy.status == "ok")])
    trainings = trainings.rename(columns={"kwh_a_training": "added_kwh"})
    trainings = trainings.assign(precision=trainings.level.map(_precision), against=against)
    inference = hardware[hardware.status == "ok"].set_index([*_PLACE, "level"]).energy_uj
    table = trainings.join(inference.rename("before_uj"), on=[*_PLACE, "against"])
    table = table.join(inference.rename("after_uj"), on=[*_PLACE, "precision"])
    table["saved_uj"] = table.before_uj - table.after_uj
    ratio = table.added_kwh * _MICROJOULES / table.saved_uj
    table["inferences"] = ratio.where(~(table.saved_uj <= 0) | table.added_kwh.isna(), math.inf)
    table["source"] = ["unavailable" if math.isnan(count) else "modelled" for count in table.inferences]
    table["reason"] = [_reason(row) for row in table.itertuples()]
    columns = ["precision", "against", "seeds", "added_kwh", "saved_uj", "inferences", "source", "reason"]
    return table[[*_METHOD, *columns]].reset_index(drop=True)


def _precision(level: str) -> str:
    """The precision of the arithmetic at a method's level: operands that the method leaves alone are float32."""
    parsed = Level.parse(level)
    return str(Level(bits=parsed.bits or FLOAT_BITS, act_bits=parsed.act_bits or FLOAT_BITS))


def _reason(row: Any) -> str:
    """Why there is no finite number of inferences, or ''."""
    if math.isnan(row.added_kwh):
        return "the energy of its training is not known"
    for name, energy in ((row.against, row.before_uj), (row.precision, row.after_uj)):
        if math.isnan(energy):
            return f"{name} was not simulated; name it in `hardware`"
    return "" if math.isfinite(row.inferences) else f"an inference takes no less than at {row.against}"


def _least_sure(sources: pd.Series) -> str:
    return _SURENESS[min(map(_SURENESS.index, sources))]
