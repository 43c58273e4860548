"""The simulator against counts by hand, on tiny layers."""

import math
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from torch import nn

from edgepress import registry
from edgepress.costs import hardware
from edgepress.costs.energy import energy_per_mac
from edgepress.costs.hardware import Accelerator, CannotSimulateError, Shape, columns, inference, row
from edgepress.costs.operations import layer_macs, observed
from edgepress.levels import precision
from edgepress.metrics import to_csv

EDGE = Accelerator(Path(__file__).parents[2] / "hardware" / "edge_array.yaml")
PRECISIONS = ["w8a8", "w8a4", "w4a8", "w4a4", "w2a8", "w2a2", "w32a32", "w4a32"]
NARROWING = ["w32a32", "w8a8", "w4a8", "w4a4", "w2a2"]


@pytest.fixture
def zigzag():
    pytest.importorskip("zigzag")


def small() -> nn.Sequential:
    """Every kind of layer, two of them equal: a convolution, depthwise ones, a strided one, and a Linear."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.Conv2d(8, 8, 3, padding=1, groups=8),
        nn.Conv2d(8, 8, 3, padding=1, groups=8),
        nn.Conv2d(8, 12, 1, stride=2),
        nn.Flatten(),
        nn.Linear(12 * 4 * 4, 5),
    )


@pytest.mark.parametrize(
    ("name", "sizes", "registers", "sums"),
    [
        ("w8a8", [16, 16], 8, 32),
        ("w4a8", [32, 16], 4, 28),
        ("w8a4", [16, 32], 8, 28),
        ("w4a4", [32, 32], 4, 24),
        ("w2a2", [64, 64], 2, 20),
        ("w3a8", [42, 16], 3, 27),
        ("w32a32", [4, 4], 32, 32),
        ("w4a32", [4, 4], 4, 32),  # float32 multipliers, 4-bit registers
    ],
)
def test_the_array_follows_the_precision(name, sizes, registers, sums):
    level = precision(name)
    description = EDGE.at(level.bits, level.act_bits)
    assert description["operational_array"]["sizes"] == sizes
    assert description["operational_array"]["unit_energy"] == energy_per_mac(level.bits, level.act_bits)
    weights, accumulators = (description["memories"][name] for name in ("weight_registers", "accumulators"))
    assert weights["size"] == weights["ports"][0]["bandwidth_max"] == registers
    assert weights["r_cost"] == pytest.approx(0.01 * registers / 8)
    assert accumulators["size"] == 32 * sums
    assert accumulators["w_cost"] == pytest.approx(0.38 * sums / 32)
    for outside in ("buffer", "dram"):
        assert description["memories"][outside] == EDGE.description["memories"][outside]


def test_the_description_is_what_it_says_at_8_bits():
    at_8_bits, described = EDGE.at(8, 8), EDGE.description
    assert at_8_bits["memories"] == described["memories"]
    array = at_8_bits["operational_array"]
    assert array == described["operational_array"] | {"unit_energy": pytest.approx(0.3)}


def test_shapes_of_layers():
    calls = observed(small(), (1, 7, 7)).calls
    shapes = [Shape.of(call) for call in calls]
    assert shapes[0].loops() == {"B": 1, "K": 8, "G": 1, "OX": 7, "OY": 7, "C": 1, "FX": 3, "FY": 3}
    assert shapes[1] == shapes[2]
    assert shapes[1].loops() == {"B": 1, "K": 1, "G": 8, "OX": 7, "OY": 7, "C": 1, "FX": 3, "FY": 3}
    assert (shapes[3].stride, shapes[3].input, shapes[3].output) == ((2, 2), (7, 7), (4, 4))
    assert shapes[4].loops() == {"B": 1, "K": 5, "G": 1, "OX": 1, "OY": 1, "C": 192, "FX": 1, "FY": 1}


def test_shapes_of_other_layers():
    (line,) = observed(nn.Sequential(nn.Conv1d(2, 4, 3, stride=2)), (2, 9)).calls
    assert Shape.of(line).loops() == {"B": 1, "K": 4, "G": 1, "OX": 4, "OY": 1, "C": 2, "FX": 3, "FY": 1}
    (rows,) = observed(nn.Sequential(nn.Linear(4, 7)), (6, 4)).calls
    assert Shape.of(rows).loops() == {"B": 1, "K": 7, "G": 1, "OX": 1, "OY": 6, "C": 4, "FX": 1, "FY": 1}
    (cube,) = observed(nn.Sequential(nn.Conv3d(1, 2, 2)), (1, 3, 3, 3)).calls
    with pytest.raises(CannotSimulateError, match=r"three-dimensional convolution of 0\.weight"):
        Shape.of(cube)


@pytest.mark.parametrize("name", PRECISIONS)
def test_macs_and_their_energy_are_ours(zigzag, name):
    network, level = small(), precision(name)
    macs = sum(layer_macs(network, (1, 7, 7)).values())
    cost = inference(network, (1, 7, 7), level, EDGE)
    assert cost.macs == macs
    assert cost.energy["compute"] == pytest.approx(macs * energy_per_mac(level.bits, level.act_bits))
    assert cost.cycles >= macs / (16 * 16 * 64 / (level.bits * level.act_bits))
    assert list(cost.energy) == EDGE.parts and all(value > 0 for value in cost.energy.values())


@pytest.mark.parametrize("name", ["resnet8", "ds_cnn", "cnn"])
def test_shapes_of_networks_count_our_macs(name):
    """Without simulating: ZigZag's count is the product of the loops."""
    entry = registry.networks()[name]
    network = entry.load()((1, 28, 28), 10, "classification", **entry.args)
    counted = sum(math.prod(Shape.of(call).loops().values()) for call in observed(network, (1, 28, 28)).calls)
    assert counted == sum(layer_macs(network, (1, 28, 28)).values())


@pytest.fixture(scope="module")
def pointwise() -> dict:
    """The costs of a 1 × 1 convolution of 16 to 32 channels on 8 × 8, which fits in the buffer, by precision."""
    pytest.importorskip("zigzag")
    network = nn.Sequential(nn.Conv2d(16, 32, 1))
    return {name: inference(network, (16, 8, 8), precision(name), EDGE) for name in NARROWING}


@pytest.mark.parametrize(("name", "weight_bits", "act_bits"), [("w8a8", 8, 8), ("w4a8", 4, 8), ("w32a32", 32, 32)])
def test_dram_by_hand(pointwise, name, weight_bits, act_bits):
    """All that fits in the buffer crosses to DRAM once: 16 × 8 × 8 inputs, twice as many outputs, and the weights."""
    crossing = (16 + 32) * 8 * 8 * act_bits + 16 * 32 * weight_bits
    assert pointwise[name].energy["dram"] == pytest.approx(crossing / 64 * 1300)


def test_fewer_bits_take_less(pointwise):
    costs = [pointwise[name] for name in NARROWING]
    for more, fewer in pairwise(costs):
        assert sum(fewer.energy.values()) < sum(more.energy.values())
        assert fewer.cycles < more.cycles
        for part in ("compute", "buffer", "dram"):
            assert fewer.energy[part] < more.energy[part]


def test_layers_of_equal_shapes_are_simulated_once(zigzag, monkeypatch):
    simulated, layer = [], hardware.layer
    monkeypatch.setattr(hardware, "layer", lambda shape, *rest: simulated.append(shape) or layer(shape, *rest))
    inference(small(), (1, 7, 7), precision("w8a8"), EDGE)
    assert len(simulated) == len(set(simulated)) == 4


def test_a_row_adds_up(zigzag):
    found = row(nn.Sequential(nn.Linear(6, 4)), (6,), precision("w4a8"), EDGE)
    assert found["energy_uj"] == pytest.approx(sum(found[f"{part}_uj"] for part in EDGE.parts))
    assert (found["level"], found["bits"], found["act_bits"], found["macs"]) == ("w4a8", 4, 8, 24)
    assert (found["source"], found["status"], found["accelerator"]) == ("modelled", "ok", "edge_array")
    assert to_csv([found], columns(EDGE)).startswith("dataset,network,level,bits,act_bits,accelerator,macs,energy_uj,")


def test_without_the_simulator_a_row_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "zigzag.stages.main", None)
    monkeypatch.setitem(sys.modules, "zigzag", None)
    found = row(nn.Sequential(nn.Linear(6, 4)), (6,), precision("w8a8"), EDGE)
    assert (found["status"], found["source"]) == ("skipped", "unavailable")
    assert "pip install --requirement envs/requirements-hardware.lock" in found["reason"]
    assert "energy_uj" not in found and to_csv([found], columns(EDGE))


def test_what_the_simulator_has_no_loops_for_is_skipped():
    found = row(nn.Sequential(nn.Conv3d(1, 2, 2)), (1, 3, 3, 3), precision("w8a8"), EDGE)
    assert found["status"] == "skipped" and "three-dimensional" in found["reason"]
