"""Costs of levels, choices within budgets, and figures of gains, from rows with known results."""

import itertools
import math

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import torch

from edgepress.codebooks import normal, symmetric
from edgepress.encodings import Dense, PerChannel, Quantized
from edgepress.levels import Level
from edgepress.packing import Compressed
from edgepress.reporting import costs, figures, packed, results, tables
from edgepress.reporting.costs import CostTables

mpl.use("Agg")
pytestmark = pytest.mark.usefixtures("closed_figures")
MACS = 1000
EXAMPLES = 10_000
# method: (family, level, bytes, points lost, bits a weight × bits an activation, MACs)
LEVELS = [
    ("fp32", "fp32", "w32", 4000, 0.0, 32 * 32, MACS),
    ("gptq", "reconstruction", "w8", 1100, 0.1, 8 * 32, MACS),
    ("gptq", "reconstruction", "w4", 600, 1.0, 4 * 32, MACS),
    ("mixed", "mixed", "w4", 610, 0.5, 4.4 * 32, MACS),
    ("magnitude", "pruning", "s50", 2200, 0.2, 32 * 32, MACS),
    ("channels_l1", "channels", "s50", 2000, 3.0, 32 * 32, MACS / 2),
    ("gptq_activations", "activations_then_reconstruction", "w8a8", 1150, 0.3, 8 * 8, MACS),
    ("gptq_activations", "activations_then_reconstruction", "w4a8", 650, 1.3, 4 * 8, MACS),
    ("normal_activations", "activations_then_nearest", "w8a8", 1150, 0.2, 8 * 8, MACS),
    ("lsq", "qat", "w4", 590, 0.2, 4 * 32, MACS),
    ("their_int8", "peer", "w8a8", 1300, 0.4, 8 * 8, MACS),
    ("their_int4", "peer", "w4a8", 900, 2.0, 4 * 32, MACS),
]
STEPPED = {("toy", "net", "gptq_activations", level) for level in ("w8a8", "w4a8")}


def metrics(levels=LEVELS) -> pd.DataFrame:
    table = []
    for (method, family, level, size, lost, bits, macs), seed, split in itertools.product(
        levels, (0, 1, 2), ("val", "test")
    ):
        parsed = Level.parse(level)
        table.append(
            {"seed": seed, "method": method, "family": family, "level": level, "split": split, "bytes": size}
            | {"bits": parsed.bits, "act_bits": parsed.act_bits, "sparsity_target": parsed.sparsity}
            | {"accuracy": 0.9 + 0.01 * seed - lost / 100, "macs": macs, "bops": macs * bits, "mse": np.nan}
        )
    frame = pd.DataFrame(table).astype({"bits": float, "act_bits": float, "sparsity_target": float})
    constant = {"bits_per_weight": 1.0, "compression_ratio": 2.0, "sparsity": 0.0, "draw": 0}
    constant |= {"examples": EXAMPLES, "majority": 0.1}
    return frame.assign(dataset="toy", network="net", quality=frame.accuracy, **constant)


def timed(level, batch, median, status="ok", reason=None, peer=None, mode=None, **said):
    """A row of latency.csv; in ``said`` what integers were computed by, and how well."""
    row = dict.fromkeys(("instructions", "products"), None)
    row |= dict.fromkeys(("integer_layers", "float_layers", "accuracy", "r2", "max_code_difference"), math.nan)
    row |= said | {"mode": mode}
    row |= {"dataset": "toy", "network": "net", "peer": peer, "level": level, "batch": batch, "median_ms": median}
    row |= {"q1_ms": median, "q3_ms": median, "source": "measured" if status == "ok" else None}
    return {**row, "status": status, "reason": reason}


def simulated(level, energy, status="ok", reason=None):
    row = {"dataset": "toy", "network": "net", "level": level, "energy_uj": energy, "source": "modelled"}
    parts = {"compute_uj": 0.25 * energy, "dram_uj": 0.75 * energy}
    return {**row, **parts, "status": status, "reason": reason}


THEIR_FILE = "no runtime computes its file"
NO_KERNEL = "onnxruntime has no kernel for 4-bit weights and 8-bit activations"
DEFAULT = {"instructions": "avx2", "products": "inexact", "integer_layers": 4, "float_layers": 1, "accuracy": 0.25}
DEFAULT |= {"max_code_difference": 115}
EXACT = DEFAULT | {"products": "exact", "accuracy": 0.9, "max_code_difference": 1}
LATENCY = pd.DataFrame(
    [
        *(timed("w32", batch, median) for batch, median in ((1, 8.0), (128, 90.0))),
        *(timed("w8a8", *at, mode="default", **DEFAULT) for at in ((1, 2.0), (128, 30.0))),
        *(timed("w8a8", *at, mode="exact", **EXACT) for at in ((1, 3.0), (128, 45.0))),
        timed("w4a8", 1, math.nan, "unavailable", NO_KERNEL),
        timed("w8a8", 1, 2.5, peer="their_int8", mode="default"),
        timed("w8a8", 1, 3.5, peer="their_int8", mode="exact"),
        timed("w4a8", 1, math.nan, "unavailable", THEIR_FILE, peer="their_int4"),
    ]
)
HARDWARE = pd.DataFrame([simulated("w32a32", 100.0), simulated("w8a8", 20.0), simulated("w4a32", 40.0)])
ENERGY = pd.DataFrame(
    [
        {"dataset": "toy", "network": "net", "seed": seed, "method": method, "level": level, "seconds": 60.0}
        | {"kwh": kwh, "co2e_g": 400 * kwh, "country": "DEU", "source": source, "status": "ok"}
        for method, level, seed, kwh, source in [
            ("fp32", "w32", 0, 0.5, "modelled"),
            ("fp32", "w32", 1, 0.7, "measured"),
            ("lsq", "w4", 0, 0.06, "modelled"),
            ("lsq", "w2", 0, math.nan, "unavailable"),
        ]
    ]
)
TAKEN = CostTables(LATENCY, HARDWARE, ENERGY, STEPPED)


@pytest.fixture(scope="module")
def joined() -> pd.DataFrame:
    return TAKEN.join(results.over_seeds(metrics()))


@pytest.fixture
def nothing_taken(tmp_path) -> CostTables:
    return CostTables.load(tmp_path, metrics()[lambda rows: rows.act_bits.isna()])


@pytest.mark.parametrize(
    ("method", "level", "latency", "energy"),
    [
        ("fp32", "w32", 8.0, 100.0),
        ("gptq", "w4", 8.0, 40.0),  # weights alone: computed in float32
        ("magnitude", "s50", 8.0, 100.0),  # zeros are multiplied like others
        ("lsq", "w4", 8.0, 40.0),
        ("gptq_activations", "w8a8", 2.0, 20.0),
        ("their_int8", "w8a8", 2.5, 20.0),  # of its own file, on its own runtime
    ],
)
def test_a_level_costs_what_its_arithmetic_does(joined, method, level, latency, energy):
    rows = joined[(joined.method == method) & (joined.level == level)]
    assert set(rows.latency_ms) == {latency} and set(rows.latency_ms_source) == {"measured"}
    assert set(rows.energy_uj) == {energy} and set(rows.energy_uj_source) == {"modelled"}
    assert set(rows.latency_ms_reason) == set(rows.energy_uj_reason) == {""}


@pytest.mark.parametrize(
    ("method", "level", "cost", "why"),
    [
        ("gptq", "w8", "energy_uj", "`hardware` in the config does not name"),
        ("mixed", "w4", "energy_uj", "bits differ from the level"),
        ("channels_l1", "s50", "energy_uj", "without its pruned channels"),
        ("channels_l1", "s50", "latency_ms", "without its pruned channels"),
        ("gptq_activations", "w4a8", "latency_ms", NO_KERNEL),
        ("gptq_activations", "w4a8", "energy_uj", "`hardware` in the config does not name"),
        ("normal_activations", "w8a8", "latency_ms", "multiples of a scale"),
        ("normal_activations", "w8a8", "energy_uj", "multiples of a scale"),
        ("their_int4", "w4a8", "latency_ms", THEIR_FILE),
        ("their_int4", "w4a8", "energy_uj", "in more bits than the level"),
    ],
)
def test_what_was_not_taken_is_unavailable_and_says_why(joined, method, level, cost, why):
    (row,) = joined[(joined.method == method) & (joined.level == level) & (joined.split == "test")].to_dict("records")
    assert math.isnan(row[cost]) and row[f"{cost}_source"] == "unavailable"
    assert why in row[f"{cost}_reason"]
    assert any(why in remark for remark in costs.remarks(joined, TAKEN))


def test_costs_that_a_run_did_not_take_are_a_sentence_and_no_axis(nothing_taken):
    without = nothing_taken.join(results.over_seeds(metrics()))
    assert costs.taken(without) == [costs.BYTES, costs.BOPS]
    told = list(costs.remarks(without, nothing_taken))
    assert [text.split(" was")[0] for text in told] == ["Latency", "The energy of inferences"]
    figure = figures.gains(metrics(), nothing_taken, "toy")
    assert [axes.get_xlabel() for axes in figure.axes] == ["size of the file", "bit operations"]


def chosen(decided, cost, division="closed"):
    rows = decided[(decided.cost == cost) & (decided.division == division)]
    return {row.budget: f"{row.method} {row.level}".strip() for row in rows.itertuples()}


def test_the_best_within_each_budget_of_each_division():
    decided = tables.decide(metrics(), TAKEN)
    assert chosen(decided, "bytes") == {"1/2": "gptq w8", "1/4": "mixed w4", "1/8": "none", "1/16": "none"}
    assert chosen(decided, "bytes", "open") == {"1/2": "lsq w4", "1/4": "lsq w4", "1/8": "none", "1/16": "none"}
    assert chosen(decided, "latency (ms)")["1/4"] == "gptq_activations w8a8"
    assert set(chosen(decided, "latency (ms)", "open").values()) == {"none"}
    assert chosen(decided, "energy (µJ)")["1/2"] == "gptq_activations w8a8"
    assert chosen(decided, "BOPs")["1/16"] == "normal_activations w8a8"


def test_a_choice_says_what_it_costs_how_that_is_known_and_the_interval_on_test():
    decided = tables.decide(metrics(), TAKEN)
    (row,) = decided[(decided.cost == "latency (ms)") & (decided.budget == "1/4")][:1].to_dict("records")
    assert (row["limit"], row["spent"], row["source"], row["seeds"]) == (2.0, 2.0, "measured", 3)
    assert row["test"] == pytest.approx(90.7)
    of_seeds, of_examples = 4.3027 / math.sqrt(3), 196 * math.sqrt(0.907 * 0.093 / EXAMPLES)
    assert (row["test_high"] - row["test"]) == pytest.approx(math.hypot(of_seeds, of_examples), rel=1e-4)
    assert row["change"] == pytest.approx(-0.3)
    none = decided[decided.method == "none"]
    assert none.test.isna().all() and none.spent.isna().all() and set(none.source) <= {"measured", "modelled"}


def test_a_choice_is_made_on_val():
    rows = metrics()
    flattered = (rows.method == "gptq") & (rows.level == "w4") & (rows.split == "test")
    rows.loc[flattered, ["accuracy", "quality"]] = 1.0
    assert chosen(tables.decide(rows, TAKEN), "bytes")["1/4"] == "mixed w4"
    rows.loc[rows.split == "val", "split"] = "train"
    assert tables.decide(rows, TAKEN).empty


def test_choices_are_written_and_read_at_a_glance(tmp_path):
    decided = tables.decide(metrics(), TAKEN)
    tables.write(decided, tmp_path / "decide")
    read = tables.glance(pd.read_csv(tmp_path / "decide.csv"))
    pd.testing.assert_frame_equal(read, tables.glance(decided))
    assert list(read.columns) == ["dataset", "network", "division", "cost", "measure", *tables.BUDGETS]
    first = read[(read.cost == "bytes") & (read.division == "closed")].iloc[0]
    assert first["1/4"] == "mixed w4\n90.5 [88.0, 93.0]" and first["1/16"] == "none"
    assert "none" in (tmp_path / "decide.md").read_text()
    # pandas gives a column of numbers and gaps the type object if the first of the joined tables is all gaps.
    shown = tables.readable(decided.astype({"limit": object, "spent": object}))
    assert shown.equals(tables.readable(decided)) and "nan" not in shown.spent.tolist()
    assert "mixed" in (tmp_path / "decide.tex").read_text()


def test_points_peers_and_fronts_are_drawn_against_each_cost():
    figure = figures.gains(metrics(), TAKEN, "toy")
    figure.canvas.draw()
    assert [axes.get_xlabel() for axes in figure.axes] == [cost.label for cost in costs.COSTS]
    latency = figure.axes[2]
    points = {tuple(point) for group in latency.collections for point in np.round(group.get_offsets(), 6)}
    assert {(2.0, 90.7), (2.5, 90.6), (8.0, 91.0)} <= points and {x for x, _ in points} == {2.0, 2.5, 8.0}
    front = latency.lines[0].get_xydata()
    assert front.tolist() == [pytest.approx([2.0, 90.7]), pytest.approx([8.0, 91.0])]
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "another library" in labels and len(labels) == len(set(labels))


def layer(bits: int, kind=symmetric) -> PerChannel:
    weights = torch.linspace(-1, 1, 6).reshape(2, 3)
    return PerChannel.of(weights, [kind(row, bits) for row in weights])


def write(folder, method, level, *layers, seed=0):
    tensors = {f"layer{place}.weight": encoding for place, encoding in enumerate(layers)}
    path = folder / f"toy/net/seed{seed}/{method}/{level}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(Compressed({**tensors, "layer0.bias": Dense(torch.zeros(2))}).to_bytes())


def asked(*places):
    columns = ["dataset", "network", "method", "level", "seed", "bits"]
    return pd.DataFrame([("toy", "net", *place) for place in places], columns=columns)


def test_bits_of_layers_are_those_of_the_files(tmp_path):
    write(tmp_path, "mixed", "w4", layer(6), layer(3))
    write(tmp_path, "mixed", "w4", layer(5), layer(3), seed=1)
    found = packed.layer_bits(tmp_path, asked(("mixed", "w4", 0, 4.0), ("mixed", "w4", 1, 4.0)))
    assert found[["seed", "layer", "weights", "bits"]].values.tolist() == [
        [0, "layer0", 6, 6],
        [0, "layer1", 6, 3],
        [1, "layer0", 6, 5],
        [1, "layer1", 6, 3],
    ]
    texts = [text.get_text() for text in figures.layer_bits(found, "toy").axes[0].texts]
    assert texts == ["5–6", "3"]


def test_integer_kernels_take_equal_steps_alone(tmp_path):
    tensor = Quantized(torch.zeros(2, 3, dtype=torch.uint8), symmetric(torch.ones(6), 8))
    files = {"steps": [layer(8), tensor], "normal": [layer(8, normal), tensor], "mixed": [layer(8), layer(4)]}
    for method, layers in files.items():
        write(tmp_path, method, "w8a8", *layers)
    found = packed.on_steps(tmp_path, asked(*((method, "w8a8", 0, 8.0) for method in files)))
    assert found == {("toy", "net", "steps", "w8a8")}


def test_energy_is_stacked_to_its_sum():
    hardware = pd.concat([HARDWARE, pd.DataFrame([simulated("w4a4", math.nan, "skipped", "no")])])
    axes = figures.breakdown(hardware, "toy").axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["w32a32", "w8a8", "w4a32"]
    ends = {round(bar.get_y(), 3): bar.get_x() + bar.get_width() for bar in axes.patches}
    assert list(ends.values()) == pytest.approx([100.0, 20.0, 40.0])
    assert [text.get_text() for text in axes.texts] == ["100", "20  ÷ 5.0", "40  ÷ 2.5"]


def test_a_simulation_that_was_skipped_draws_no_bar():
    skipped = pd.DataFrame([simulated("w8a8", math.nan, "skipped", "zigzag is not installed")])
    assert not figures.breakdown(skipped, "toy").axes[0].patches


def test_the_bill_of_trainings_and_when_they_are_paid_back(nothing_taken):
    bill = tables.trainings(TAKEN).set_index(["method", "level"])
    assert bill.kwh["fp32", "w32"] == pytest.approx(1.2) and bill.source["fp32", "w32"] == "modelled"
    assert bill.inferences["lsq", "w4"] == pytest.approx(0.06 * 3.6e12 / 60)  # 100 µJ become 40
    assert bill.source["lsq", "w2"] == "unavailable" and "unknown" in bill.reason["lsq", "w2"]
    assert math.isnan(bill.inferences["fp32", "w32"])
    told = costs.bill(bill.reset_index())
    assert told == "The energy of 3 trainings: 1.26 kWh and 504 g CO2e, modelled; for 1 more it is unknown."
    alone = CostTables(nothing_taken.latency, nothing_taken.hardware, ENERGY)
    reason = tables.trainings(alone).set_index(["method", "level"]).reason["lsq", "w4"]
    assert reason == "w32a32 was not simulated; add it to `hardware`"
    assert "nan" not in tables.readable(tables.trainings(alone)).to_markdown()


def test_latency_is_told_with_what_has_no_kernel():
    table = tables.latency(TAKEN)
    theirs = table[table.peer == "their int8"].iloc[0]
    assert (theirs.level, theirs.times) == ("w8a8", "3.20 ×")
    exact = table[(table.peer == "") & (table["mode"] == "exact")].set_index(["level", "batch"])
    assert exact.times["w8a8", "1"] == "2.67 ×"
    assert list(exact.loc[("w8a8", "1"), ["instructions", "products", "layers", "quality", "code difference"]]) == [
        *("avx2", "exact", "4 + 1", "0.9000", "1")
    ]
    table = table[(table.peer == "") & (table["mode"] != "exact")].set_index(["level", "batch"])
    assert table.times["w8a8", "1"] == "4.00 ×" and table.times["w8a8", "128"] == "3.00 ×"
    assert table.ms["w8a8", "1"] == "2.00 [2.00, 2.00]"
    assert (table.source["w4a8", ""], table.reason["w4a8", ""]) == ("unavailable", NO_KERNEL)
    assert table.ms["w4a8", ""] == table.times["w4a8", ""] == ""


def test_a_cpu_that_saturates_is_told_once_a_file_with_what_it_costs(joined):
    (told,) = costs.saturation(LATENCY)
    for words in ("(avx2)", "net at w8a8 has accuracy 0.250 there and 0.900 in the exact mode", "up to 115"):
        assert words in told
    assert told in costs.remarks(joined, TAKEN)
    assert not list(costs.saturation(LATENCY.assign(products="exact")))


def test_one_mode_alone_is_compared_with_other_costs():
    kept = costs.in_default_mode(LATENCY)
    assert set(kept["mode"].dropna()) == {"default"} and set(kept.level) == set(LATENCY.level)
    assert not kept.duplicated(["dataset", "network", "peer", "level", "batch"]).any()
