"""The energy of training, and the number of inferences after which energy saved on a device pays for it.

From energy.csv and hardware.csv. Energies of training are in kWh, of inferences in µJ.
"""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from edgepress.levels import FLOAT_BITS, FULL_PRECISION, Level

_MICROJOULES = 3.6e12  # in a kWh
_PLACE = ["dataset", "network"]
_METHOD = [*_PLACE, "method", "level"]
_SURENESS = ["unavailable", "modelled", "measured"]  # a result is only as reliable as its weakest input


def training_bill(energy: pd.DataFrame) -> pd.DataFrame:
    """Energy in kWh and CO2 in grams of each method's trainings: in total and per seed.

    ``energy`` holds the rows of energy.csv. A sum with a missing training is NaN, with source ``unavailable``.
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
    """The number of inferences after which a method's energy savings pay for its training.

    A method adds the energy of fine-tuning, the mean over seeds. It saves the energy of an inference at the precision
    ``against`` minus that at its precision. Without quantized activations, a level uses float32 activations (w4 is
    looked up at w4a32). ``hardware`` holds the rows of hardware.csv. Failed trainings are omitted.

    ``inferences`` is NaN if unknown, and infinite if nothing is saved; ``reason`` says why.
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
    """The arithmetic precision of a level: operands that are not quantized are float32."""
    parsed = Level.parse(level)
    return str(Level(bits=parsed.bits or FLOAT_BITS, act_bits=parsed.act_bits or FLOAT_BITS))


def _reason(row: Any) -> str:
    """Why the number of inferences is not finite, or ''."""
    if math.isnan(row.added_kwh):
        return "the energy of its training is unknown"
    for name, energy in ((row.against, row.before_uj), (row.precision, row.after_uj)):
        if math.isnan(energy):
            return f"{name} was not simulated; add it to `hardware`"
    return "" if math.isfinite(row.inferences) else f"an inference takes as much energy as at {row.against}, or more"


def _least_sure(sources: pd.Series) -> str:
    return _SURENESS[min(map(_SURENESS.index, sources))]
