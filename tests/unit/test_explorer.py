"""Data of the explorer on the first page, from a synthetic run with known values."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from edgepress import registry
from edgepress.reporting import explorer, pages, results, style
from edgepress.reporting.steps import described
from tests.browser import generated


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return generated.write(tmp_path_factory.mktemp("run") / "generated")


@pytest.fixture(scope="module")
def data(folder) -> dict:
    return explorer.data(results.load(folder / "metrics.csv"), folder)


def of(found: dict, column: list, network: str = "net") -> dict[tuple[str, str], float]:
    """A column of a data set by method and level, of one of its networks."""
    place = [network["name"] for network in found["networks"]].index(network)
    names = zip(found["network"], found["method"], found["level"], column, strict=True)
    return {(found["methods"][method], level): value for where, method, level, value in names if where == place}


def test_every_point_has_its_quality_on_every_split(data, folder):
    digits, _ = data["datasets"]
    metrics = results.load(folder / "metrics.csv")
    means = results.over_seeds(metrics[metrics.dataset == "digits"])
    assert len(digits["level"]) == len(means) / 2
    for split in ("val", "test"):
        columns = [of(digits, column) for column in digits["quality"]["accuracy"][split]]
        for row in means[(means.split == split) & (means.network == "net")].itertuples():
            expected = [100 * row.quality, 100 * row.quality_low, 100 * row.quality_high]
            assert [column[row.method, row.level] for column in columns] == pytest.approx(expected, rel=1e-5)


def test_costs_are_joined_by_what_they_depend_on(data):
    digits, amounts = data["datasets"]
    energy, latency = (of(digits, digits["costs"][name]) for name in ("energy_uj", "latency_128"))
    assert energy["fp32", "w32"] == energy["magnitude", "s90"] == 32 * 32 / 100
    assert energy["round_activations", "w8a8"] == 8 * 8 / 100
    assert energy["lsq", "w4"] is None  # w4a32 was not simulated
    assert latency.pop(("round_activations", "w8a8")) == 128
    assert set(latency.values()) == {256}  # float32 activations make all arithmetic float32
    assert set(amounts["costs"]) == {"bytes", "bits_per_weight", "bits", "sparsity", "bops"}
    assert list(data["axes"])[:2] == ["bytes", "bits_per_weight"] and "training_wh" not in data["axes"]


def test_a_narrower_network_has_no_cost_of_the_whole_one(folder):
    metrics = results.load(folder / "metrics.csv")
    narrow = metrics.method == "magnitude"
    metrics.loc[narrow, "macs"] /= 2
    energy = explorer.data(metrics, folder)["datasets"][0]
    energy = of(energy, energy["costs"]["energy_uj"])
    assert energy["magnitude", "s90"] is None and energy["random", "s90"] == 32 * 32 / 100


def test_training_again_adds_to_the_training_of_the_network(folder, tmp_path):
    rows = "dataset,network,seed,method,level,seconds,kwh,co2e_g,country,source,status\n"
    for method, level, kwh in (("fp32", "w32", 0.001), ("lsq", "w4", 0.002)):
        rows += f"digits,net,0,{method},{level},1,{kwh},0,DEU,modelled,ok\n"
    (tmp_path / "energy.csv").write_text(rows)
    digits = explorer.data(results.load(folder / "metrics.csv"), tmp_path)["datasets"][0]
    spent = of(digits, digits["costs"]["training_wh"])
    assert (spent["random", "s50"], spent["lsq", "w4"], spent["lsq", "w2"]) == (1, 3, None)
    assert set(of(digits, digits["costs"]["training_wh"], "small").values()) == {None}


def test_methods_that_train_again_are_hollow_and_chains_crosses(data):
    symbols = {method["name"]: method["symbol"] for method in data["methods"]}
    assert symbols["lsq"].endswith("-open") and not symbols["nearest_uniform"].endswith("-open")
    assert symbols["round_activations"] == "cross"


@pytest.mark.parametrize("colour", ["#000000", "#332288", "#E69F00"])
def test_colours_can_be_read_on_the_dark_page(colour):
    light = explorer.on_dark(colour)
    parts = [int(light[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    paper = 0.0091  # the luminance of page.css's #14181d
    assert (0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] + 0.05) / (paper + 0.05) >= 4.5


def test_data_cannot_end_the_script_that_holds_it(data):
    hostile = {"name": "</script><b>", "numbers": [1.5, None]}
    assert "<" not in pages.embedded(hostile) and json.loads(pages.embedded(hostile)) == hostile
    with pytest.raises(ValueError):
        pages.embedded([float("nan")])
    assert json.loads(pages.embedded(data)) == data


def test_every_marker_of_a_method_has_a_symbol_that_the_key_can_draw():
    drawn = (Path(explorer.__file__).parent / "pages/plot.js").read_text(encoding="utf-8")
    steps = [*registry.methods(), "fp32", "midrise+magnitude", "onnxruntime"]
    families = ["peer" if name in registry.peers() else "f" for name in steps]
    for row in described(pd.DataFrame({"method": "mine", "family": families, "steps": steps})).itertuples():
        symbol = explorer._SYMBOLS[style.marker(row)]
        assert re.search(rf'"?{symbol}"?: "M', drawn), f"{row.steps}: {symbol}"
