import math

import pandas as pd
import pytest

from edgepress.reporting.energy import payback, training_bill


def training(method, level, seed, kwh, source="modelled", **changes):
    row = {"dataset": "digits", "network": "cnn", "seed": seed, "method": method, "level": level, "seconds": 60.0}
    return {**row, "kwh": kwh, "co2e_g": 400 * kwh, "country": "DEU", "source": source, "status": "ok", **changes}


ENERGY = pd.DataFrame(
    [
        training("fp32", "w32", 0, 0.5),
        training("fp32", "w32", 1, 0.7, "measured"),
        training("lsq", "w4", 0, 0.10),
        training("lsq", "w4", 1, 0.14),
        training("lsq", "w4a8", 0, 0.2, "measured"),
        training("lsq", "w2", 0, float("nan"), "unavailable"),
        training("lsq", "w2", 1, 0.3),
    ]
)
HARDWARE = pd.DataFrame(
    [
        {"dataset": "digits", "network": "cnn", "level": level, "energy_uj": energy, "status": status}
        for level, energy, status in [
            ("w32a32", 200.0, "ok"),
            ("w8a8", 50.0, "ok"),
            ("w4a32", 80.0, "ok"),
            ("w4a8", 200.0, "ok"),
            ("w4a4", float("nan"), "skipped"),
        ]
    ]
)


def bill(method, level):
    rows = training_bill(ENERGY)
    return rows[(rows.method == method) & (rows.level == level)].iloc[0]


def test_the_bill_of_all_seeds_and_of_one():
    row = bill("lsq", "w4")
    assert (row.seeds, row.seconds, row.kwh, row.kwh_a_training) == pytest.approx((2, 120.0, 0.24, 0.12))
    assert (row.co2e_g, row.co2e_g_a_training) == pytest.approx((96.0, 48.0))
    assert (row.country, row.source) == ("DEU", "modelled")
    assert len(training_bill(ENERGY)) == 4


def test_a_bill_is_as_sure_as_its_least_sure_training():
    assert bill("fp32", "w32").source == "modelled"
    assert bill("lsq", "w4a8").source == "measured"


def test_a_bill_that_lacks_a_training_is_unavailable():
    row = bill("lsq", "w2")
    assert row.source == "unavailable" and row.seeds == 2 and row.seconds == 120.0
    assert math.isnan(row.kwh) and math.isnan(row.kwh_a_training) and math.isnan(row.co2e_g)


def paid(level, against="w32a32"):
    rows = payback(ENERGY, HARDWARE, against)
    return rows[rows.level == level].iloc[0]


def test_payback_by_hand():
    """.12 kWh are 4.32e11 µJ; an inference takes 80 instead of 200."""
    row = paid("w4")
    assert (row.precision, row.against) == ("w4a32", "w32a32")
    assert (row.saved_uj, row.added_kwh) == pytest.approx((120.0, 0.12))
    assert row.inferences == pytest.approx(4.32e11 / 120)
    assert (row.source, row.reason) == ("modelled", "")
    assert "fp32" not in set(payback(ENERGY, HARDWARE).method)


def test_what_saves_nothing_is_never_paid_back():
    row = paid("w4a8")
    assert row.inferences == math.inf and row.reason == "an inference takes as much energy as at w32a32, or more"
    assert paid("w4", "w8a8").inferences == math.inf


def test_what_is_not_known_says_why():
    row = paid("w2")
    assert math.isnan(row.inferences) and row.source == "unavailable"
    assert row.reason == "the energy of its training is unknown"
    more = pd.concat([ENERGY, pd.DataFrame([training("lsq", "w4a4", 0, 0.1), training("lsq", "w3", 0, 0.1)])])
    reasons = payback(more, HARDWARE).set_index("level").reason
    assert reasons["w4a4"] == "w4a4 was not simulated; add it to `hardware`"
    assert reasons["w3"] == "w3a32 was not simulated; add it to `hardware`"
    assert paid("w4", "w2a2").reason == "w2a2 was not simulated; add it to `hardware`"


def test_a_training_is_paid_back_on_its_own_network():
    other = HARDWARE.assign(network="dnn_simple", energy_uj=1.0)
    assert payback(ENERGY, pd.concat([other, HARDWARE])).equals(payback(ENERGY, HARDWARE))


def test_a_training_that_gave_no_network_is_billed_but_pays_nothing_back():
    lost = training("lsq", "w4", 2, 0.06, status="failed")
    energy = pd.concat([ENERGY, pd.DataFrame([lost, {**lost, "level": "w1", "status": "skipped"}])])
    rows = payback(energy, HARDWARE)
    assert "w1" not in set(rows.level)
    assert rows[rows.level == "w4"].added_kwh.item() == pytest.approx(0.12)
    assert training_bill(energy).set_index(["method", "level"]).kwh["lsq", "w4"] == pytest.approx(0.3)
