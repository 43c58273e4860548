"""The page on microcontrollers, from a devices.csv with known numbers."""

import itertools

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from edgepress.cells import CellConfig
from edgepress.reporting import declared, devices, figures, index, tables
from edgepress.reporting.figures import size
from edgepress.targets.c import measure
from edgepress.targets.c.parts import PARTS
from tests.unit.test_report_sentences import table
from tests.unit.test_reporting import NOTEBOOKS

mpl.use("Agg")
SMALL, MIDDLE, LARGE = PARTS.values()
METRICS = table()
# Of each file: flash, RAM, instructions with DSP kernels on a Cortex-M4F.
FILES = {
    ("gptq", "w8"): (MIDDLE.flash, SMALL.ram, 900),
    ("midrise", "w4"): (SMALL.flash, SMALL.ram, 800),
    ("midrise", "w2"): (SMALL.flash // 4, 1000, 700),
    ("lsq", "w2"): (SMALL.flash // 3, SMALL.ram + 1, 600),
}


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


def measured(tmp_path, files=FILES, **changes) -> pd.DataFrame:
    """A devices.csv as a run writes it, read back: two kernels on a Cortex-M4F, and a Cortex-M3."""
    rows = []
    for dataset, ((method, level), (flash, ram, count)) in itertools.product(("classes", "amounts"), files.items()):
        row = {"dataset": dataset, "network": "net", "seed": 0, "method": method, "level": level, "status": "ok"}
        row |= {"arithmetic": "float32", "board": "mps2-an386", "packed_bytes": flash - 10, "flash": flash}
        row |= {"text": 6, "tables": 4, "weights": flash - 10, "ram": ram, "macs": 10, "decoding": 0.5}
        row |= {"device_rows": 32, "device_difference": 0.0, "host_rows": 500, "host_difference": 0.0}
        row |= {"accuracy": 0.5} if dataset == "classes" else {"r2": 0.25}
        for cpu, kernel, times in (
            ("Cortex-M4F", "portable", 2),
            ("Cortex-M4F", "dsp", 1),
            ("Cortex-M3", "portable", 3),
        ):
            build = {"cpu": cpu, "kernel": kernel, "instructions": times * count}
            rows.append(row | build | {"instructions_per_mac": times * count / 10} | changes)
    pd.DataFrame(rows, columns=list(measure.COLUMNS)).to_csv(tmp_path / "devices.csv", index=False)
    return devices.load(tmp_path)


def fits(rows: pd.DataFrame, dataset: str, division: str = "closed") -> dict[str, str]:
    found = devices.best_that_fits(METRICS, rows)
    found = found[(found.dataset == dataset) & (found.division == division)]
    return dict(zip(found.part, found.method, strict=True))


def test_the_build_with_the_fewest_instructions_counts(tmp_path):
    rows = measured(tmp_path)
    built = devices.builds(rows)
    assert len(built) == 2 * len(FILES) and set(built.kernel) == {"dsp"} and set(built.cpu) == {"Cortex-M4F"}
    assert set(devices.builds(rows, "Cortex-M3").instructions) == {3 * count for _, _, count in FILES.values()}


def test_quality_on_test_is_that_of_the_c_code_of_the_seed_that_ran(tmp_path):
    built = devices.builds(measured(tmp_path))
    computed = devices.as_computed(METRICS, built)
    assert set(computed.seed) == {0} and set(computed.method) == {"fp32", *(method for method, _ in FILES)}
    for dataset, quality in (("classes", 0.5), ("amounts", 4 * 0.75)):  # the variance is 4
        means = devices.means(computed, built, dataset)
        test = means[(means.split == "test") & (means.method != "fp32")]
        assert test.quality.tolist() == pytest.approx([quality] * len(FILES))
        before = METRICS[(METRICS.dataset == dataset) & (METRICS.split == "val") & (METRICS.seed == 0)]
        lsq = means[(means.method == "lsq") & (means.split == "val")]
        assert lsq.quality.item() == pytest.approx(before[before.method == "lsq"].quality.item())
        assert lsq[["flash", "ram", "instructions"]].iloc[0].tolist() == list(FILES["lsq", "w2"])
        assert means[means.method == "fp32"].flash.isna().all()


@pytest.mark.parametrize("dataset", ["classes", "amounts"])
def test_the_best_on_val_of_what_fits_flash_and_ram(tmp_path, dataset):
    rows = measured(tmp_path)
    best = fits(rows, dataset)
    assert list(best) == list(PARTS)
    assert best[SMALL.name] == "midrise"  # to the byte; gptq's flash is too large
    assert best[MIDDLE.name] == best[LARGE.name]
    assert fits(rows, dataset, "open") == {SMALL.name: devices.NONE_FITS, MIDDLE.name: "lsq", LARGE.name: "lsq"}
    larger = {name: (flash + 1, ram, count) for name, (flash, ram, count) in FILES.items() if name[1] != "w2"}
    assert fits(measured(tmp_path, larger), dataset)[SMALL.name] == devices.NONE_FITS


def test_what_fits_and_does_not_work_is_not_recommended(tmp_path):
    only = {name: sizes for name, sizes in FILES.items() if name == ("midrise", "w2")}
    found = devices.best_that_fits(METRICS, measured(tmp_path, only))
    classes = found[found.dataset == "classes"]
    assert set(classes.method) == {tables.NONE_WORKS} and set(classes.least_bad) == {"midrise"}


def test_tables_are_readable_and_shown_on_the_first_page(tmp_path):
    rows = measured(tmp_path)
    for name, found in (
        ("devices_fit", devices.best_that_fits(METRICS, rows)),
        ("devices_builds", devices.all_builds(rows)),
    ):
        tables.write(found, tmp_path / f"tables/{name}")
        text = (tmp_path / f"tables/{name}.md").read_text(encoding="utf-8")
        assert "nan" not in text.lower() and f"{SMALL.flash:,}" in text
    titles = dict(index._tables(METRICS, tmp_path))
    assert "Best method that fits a microcontroller" in titles
    assert index._table("fits", titles["Best method that fits a microcontroller"])["rows"]


@pytest.mark.parametrize("dataset", ["classes", "amounts"])
def test_figures_show_what_was_measured(tmp_path, dataset):
    rows = measured(tmp_path)
    axes = figures.on_microcontrollers(METRICS, rows, dataset).axes
    assert [panel.get_xlabel() for panel in axes] == [cost.label for cost in devices.COSTS]
    (bars,) = figures.flash(rows, dataset).axes
    widths = np.array([patch.get_width() for patch in bars.patches]).reshape(3, -1)
    assert widths.sum(axis=0).tolist() == [flash for flash, _, _ in FILES.values()]
    assert [text.get_text() for text in bars.get_yticklabels()] == [" ".join(name) for name in FILES]


def test_labels_of_ticks_are_apart():
    for most, low in itertools.product((3, 4, 6), np.geomspace(1, 10, 30)):
        for span in (2, 3, 4, 10, 50, 1000):
            axes = plt.figure().add_subplot()
            axes.set(xscale="log", xlim=(1e4 * low, 1e4 * low * span))
            size.ticks(axes, devices.FLASH, most)
            ends = np.log(axes.get_xlim())
            places = (np.log(axes.get_xticks()) - ends[0]) / (ends[1] - ends[0])
            assert 1 <= len(places) <= most and (np.diff(places) >= 1 / most - 1e-9).all()
            plt.close("all")


def test_what_was_not_measured_is_a_sentence_with_its_reason(tmp_path):
    lost = measured(tmp_path, status="skipped", reason="qemu-system-arm missing: install it", flash=None)
    for dataset in ("classes", "amounts"):
        rows = lost[lost.dataset == dataset]
        (sentence,) = devices.remarks(rows)
        assert sentence.startswith(
            "Skipped: gptq, midrise, lsq at w8, w4, w2 of net on Cortex-M4F, Cortex-M3: qemu-system"
        )
        for figure in (figures.on_microcontrollers(METRICS, lost, dataset), figures.flash(lost, dataset)):
            assert "no network ran" in figure.axes[0].texts[0].get_text()
    assert devices.best_that_fits(METRICS, lost).empty and devices.all_builds(lost).empty
    tables.write(devices.best_that_fits(METRICS, lost), tmp_path / "tables/devices_fit")
    (sentence,) = set(devices.remarks(measured(tmp_path)[lambda rows: rows.dataset == "classes"]))
    assert "12 builds of 4 files ran" in sentence and "0 on the device (at least 32 inputs each)" in sentence


def test_a_run_whose_devices_failed_has_an_empty_page(tmp_path):
    rows = devices.load(tmp_path)
    assert list(devices.remarks(rows)) == ["Nothing was measured."]
    assert devices.best_that_fits(METRICS, rows).empty
    assert figures.flash(rows, "classes").axes and figures.on_microcontrollers(METRICS, rows, "classes").axes


def test_the_page_is_of_data_sets_with_a_file_to_measure():
    notebook = declared(NOTEBOOKS / "devices.ipynb")
    asked = {"methods": ["nearest_uniform"], "bits": [4], "chains": {}}
    offers = {
        name: CellConfig(**asked, devices=levels).offers for name, levels in (("a", ["w4"]), ("b", ["w3"]), ("c", []))
    }
    assert list(notebook.shown(offers)) == ["a"]
    assert set(notebook.reads) == {"devices"} and notebook.table_names(offers) == ["devices_fit", "devices_builds"]
