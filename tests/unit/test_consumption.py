"""How energy figures are named; what codecarbon itself says is codecarbon's to test."""

import sys
from types import SimpleNamespace

import pytest

from edgepress.metrics import from_csv
from edgepress.training import consumption
from edgepress.training.consumption import figures, metered

IDENTITY = {"dataset": "digits", "network": "cnn", "seed": 0, "method": "fp32", "level": "w32"}
GERMANY = {"country": "DEU"}


def reading(**changes) -> SimpleNamespace:
    """What codecarbon says after a training: 3 kWh in all, where there is no GPU."""
    usual = {"duration": 60.0, "cpu_energy": 2.0, "gpu_energy": 0.0, "ram_energy": 1.0, "emissions": 1.5}
    return SimpleNamespace(**{**usual, "gpu_count": 0, "cpu_model": "a CPU", "gpu_model": "", **changes})


def test_a_processor_without_a_counter_is_modelled():
    row = figures(reading(), counts_cpu=False)
    assert (row["kwh"], row["source"], row["cpu_kwh"], row["cpu_source"]) == (3.0, "modelled", 2.0, "modelled")
    assert (row["ram_kwh"], row["ram_source"], row["co2e_g"], row["seconds"]) == (1.0, "modelled", 1500.0, 60.0)
    assert "gpu_kwh" not in row and "gpu_source" not in row


def test_a_sum_is_as_sure_as_its_least_sure_part():
    row = figures(reading(gpu_count=1, gpu_energy=4.0), counts_cpu=True)
    assert [row[f"{part}_source"] for part in ("cpu", "gpu", "ram")] == ["measured", "measured", "modelled"]
    assert (row["kwh"], row["source"]) == (7.0, "modelled")


@pytest.mark.parametrize(
    ("changes", "silent"),
    [
        ({"cpu_energy": 0.0}, "cpu"),
        ({"gpu_count": 2}, "gpu"),
        ({"cpu_energy": 0.0, "gpu_count": 1}, "cpu and gpu"),
    ],
)
def test_a_counter_that_reads_0_is_unavailable_and_so_is_the_sum(changes, silent):
    row = figures(reading(**changes), counts_cpu=True)
    assert row["source"] == "unavailable" and "kwh" not in row and "co2e_g" not in row
    assert row["reason"] == f"the counter of {silent} reads 0"
    for part in silent.split(" and "):
        assert row[f"{part}_source"] == "unavailable" and f"{part}_kwh" not in row
    assert row["ram_kwh"] == 1.0


def test_without_a_table_nothing_is_measured(monkeypatch):
    monkeypatch.setattr(consumption, "_started", lambda country: pytest.fail("measured"))
    for table in (None, []):
        with metered(table, None, IDENTITY):
            pass


def test_without_codecarbon_a_row_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "codecarbon", None)
    with metered(str(tmp_path / "energy.csv"), GERMANY, IDENTITY) as noted:
        noted["status"] = "skipped"
    (row,) = from_csv(tmp_path / "energy.csv")
    assert row["status"] == "skipped" and list(row) == list(consumption.COLUMNS)
    assert (row["source"], row["kwh"], row["method"], row["country"]) == ("unavailable", "", "fp32", "DEU")
    assert "pip install --requirement envs/requirements-energy.lock" in row["reason"]


def test_an_error_goes_through_and_leaves_no_table(tmp_path, monkeypatch):
    stopped = []
    monkeypatch.setattr(consumption, "_started", lambda country: SimpleNamespace(stop=lambda: stopped.append(country)))
    with pytest.raises(ArithmeticError), metered(str(tmp_path / "energy.csv"), GERMANY, IDENTITY):
        raise ArithmeticError("training diverged")
    assert stopped == ["DEU"] and not list(tmp_path.iterdir())


def test_codecarbon_gives_figures(tmp_path):
    pytest.importorskip("codecarbon")
    with metered(str(tmp_path / "energy.csv"), GERMANY, IDENTITY):
        sum(number * number for number in range(3_000_000))
    (row,) = from_csv(tmp_path / "energy.csv")
    assert row["source"] in ("measured", "modelled") and row["status"] == "ok"
    parts = [float(row[f"{part}_kwh"] or 0) for part in ("cpu", "gpu", "ram")]
    assert float(row["kwh"]) == pytest.approx(sum(parts)) and float(row["kwh"]) > 0
    assert 10 < float(row["co2e_g"]) / float(row["kwh"]) < 1000  # grams a kWh, of a European country


def test_an_unknown_country_ends_before_anything_is_trained(tmp_path):
    pytest.importorskip("codecarbon")
    with pytest.raises(ValueError, match="'XXX'"), metered(str(tmp_path / "energy.csv"), {"country": "XXX"}, IDENTITY):
        pytest.fail("trained")
