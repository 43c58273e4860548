import numpy as np
import pytest
import torch

from edgepress.datasets import (
    SPLITS,
    Prepared,
    drawn_rows,
    evenly_spread,
    min_max_scaler,
    scale,
    split_and_scale,
    standard_scaler,
)


def numbered(rows=100):
    """Inputs that tell their row, and classes that are its last digit."""
    return np.stack([np.arange(rows), np.full(rows, 7.0)], axis=1).astype(float), np.arange(rows) % 10


def no_scaler(train):
    return np.zeros(train.shape[1]), np.ones(train.shape[1])


@pytest.mark.parametrize("rows, sizes", [(100, [60, 20, 20]), (569, [341, 114, 114]), (7, [4, 2, 1])])
def test_every_row_is_in_one_split(rows, sizes):
    data = split_and_scale("toy", *numbered(rows), 0, no_scaler)
    assert [len(data.inputs[split]) for split in SPLITS] == [len(data.targets[split]) for split in SPLITS] == sizes
    assert sorted(torch.cat([data.inputs[split][:, 0] for split in SPLITS]).tolist()) == list(range(rows))
    for split in SPLITS:
        assert torch.equal(data.inputs[split][:, 0].long() % 10, data.targets[split])


def test_the_split_seed_decides_the_split():
    first, again, other = (split_and_scale("toy", *numbered(), seed, no_scaler) for seed in (3, 3, 4))
    assert torch.equal(first.inputs["train"], again.inputs["train"])
    assert not torch.equal(first.inputs["train"], other.inputs["train"])
    assert first.inputs["train"][:, 0].tolist() != sorted(first.inputs["train"][:, 0].tolist())


def test_scalers_learn_from_the_training_rows_alone():
    inputs, targets = numbered()
    data = split_and_scale("toy", inputs, targets, 0, standard_scaler)
    assert data.inputs["train"].double().mean(dim=0).tolist() == pytest.approx([0, 0], abs=1e-6)
    assert data.inputs["train"][:, 0].double().std(correction=0).item() == pytest.approx(1, abs=1e-6)
    everything = torch.cat([data.inputs[split][:, 0] for split in SPLITS]).double()
    assert abs(float(everything.std(correction=0)) - 1) > 1e-4
    scaled = split_and_scale("toy", inputs, targets, 0, min_max_scaler)
    assert (float(scaled.inputs["train"].min()), float(scaled.inputs["train"].max())) == (0, 1)
    outside = torch.cat([scaled.inputs[split][:, 0] for split in ("val", "test")])
    assert float(outside.max()) > 1 or float(outside.min()) < 0


@pytest.mark.parametrize("scaler", [standard_scaler, min_max_scaler])
def test_a_constant_column_becomes_0(scaler):
    data = split_and_scale("toy", *numbered(), 0, scaler)
    assert {float(x) for split in SPLITS for x in data.inputs[split][:, 1]} == {0.0}


def test_types_and_tasks():
    inputs, labels = numbered()
    classes = split_and_scale("toy", inputs, labels, 0, no_scaler)
    assert (classes.task, classes.outputs, classes.input_shape) == ("classification", 10, (2,))
    assert classes.inputs["val"].dtype == torch.float32 and classes.targets["val"].dtype == torch.int64
    amounts = split_and_scale("toy", inputs, labels * 0.5, 0, no_scaler)
    assert (amounts.task, amounts.outputs) == ("regression", 1)
    assert amounts.targets["val"].dtype == torch.float32


def test_a_prepared_data_set_survives_its_file(classes, amounts, tmp_path):
    for data in (classes, amounts, classes.only("val")):
        data.save(tmp_path / "data.safetensors")
        back = Prepared.load(tmp_path / "data.safetensors")
        assert (back.name, back.task, back.outputs) == (data.name, data.task, data.outputs)
        assert list(back.inputs) == list(back.targets) == list(data.inputs)
        for split in data.inputs:
            assert torch.equal(back.inputs[split], data.inputs[split])
            assert torch.equal(back.targets[split], data.targets[split])
            assert back.targets[split].dtype == data.targets[split].dtype


def test_only_gives_no_other_split(classes):
    visible = classes.only("train", "val")
    assert list(visible.inputs) == list(visible.targets) == ["train", "val"]
    visible.targets["val"] = None
    assert classes.targets["val"] is not None
    assert list(classes.inputs) == list(SPLITS)


@pytest.mark.parametrize("count", [1, 3, 256, 257, 511, 767, 1000, 54_000])
def test_rows_are_spread_over_all(count):
    rows = evenly_spread(torch.arange(count), 256)
    apart = rows.diff()
    assert len(rows) == min(count, 256) and rows[0] == 0
    assert count <= 256 or int(rows[-1]) + int(apart.max()) >= count - 1
    assert count == 1 or int(apart.max()) - int(apart.min()) <= 1


def test_rows_are_drawn_from_all_classes_however_these_alternate():
    for count in (1, 511, 512, 513, 800, 1024, 2048, 54_000):
        rows = drawn_rows(count, 512)
        assert len(rows.unique()) == len(rows) == min(count, 512) and 0 <= int(rows[0]) <= int(rows[-1]) < count
        assert torch.equal(rows, drawn_rows(count, 512)) and torch.equal(rows, rows.sort().values)
        for classes in (2, 4, 10) if count > 1000 else ():
            shares = torch.bincount(rows % classes, minlength=classes) / 512
            assert float((shares - 1 / classes).abs().max()) < 0.1
    assert not torch.equal(drawn_rows(2048, 512, seed=1), drawn_rows(2048, 512, seed=2))


def test_a_column_that_is_constant_but_for_rounding_is_not_scaled_up():
    inputs = np.full((30, 1), 0.1)
    inputs[25] = 0.2
    parts = {"train": np.arange(20), "val": np.arange(20, 25), "test": np.arange(25, 30)}
    data = scale("toy", inputs, np.arange(30) % 2, parts, standard_scaler)
    assert all(float(part.abs().max()) < 1 for part in data.inputs.values())
