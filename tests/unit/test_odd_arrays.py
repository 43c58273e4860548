"""Realistic arrays and classes: read correctly, or one sentence that says what is wrong and what to do."""

import numpy as np
import pytest
import torch

from edgepress import datasets
from edgepress.datasets import SPLITS, DataError
from edgepress.datasets._classes import divide_by_class

from .small_data import arrays, prepared

CLASSES = np.arange(40) % 4


def refused(file: str, **options) -> str:
    with pytest.raises(DataError) as error:
        prepared("npz", file, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, *shape), dtype=np.uint8)


def in_order(data, order: dict[str, np.ndarray]) -> torch.Tensor:
    inputs = torch.empty(sum(map(len, order.values())), *data.input_shape)
    for split in SPLITS:
        inputs[order[split]] = data.inputs[split]
    return inputs


def test_channels_come_first_or_last(folder):
    order = datasets.divide(40, 0)
    for channels in (1, 2, 3, 4, 6):
        for height, width in ((8, 8), (9, 7), (32, 16)):
            x = pixels(height, width, channels)
            options = {"input": "image", "scaling": "none", "task": "regression"}  # drawn as ``divide`` does
            for layout in (None, "channels_last"):
                last = prepared("npz", arrays(folder / "a.npz", x=x), layout=layout, **options)
                expected = torch.from_numpy(np.moveaxis(x, 3, 1).astype(np.float32))
                assert torch.equal(in_order(last, order), expected), x.shape
            for layout in (None, "channels_first"):
                first = prepared("npz", arrays(folder / "a.npz", x=np.moveaxis(x, 3, 1)), layout=layout, **options)
                assert torch.equal(in_order(first, order), expected), x.shape


def test_shapes_that_can_be_either_are_refused_until_they_are_told(folder):
    for shape in ((3, 32, 3), (4, 4, 4), (2, 8, 3), (4, 4, 3), (1, 9, 1), (8, 8, 8), (6, 9, 6)):
        file = arrays(folder / "a.npz", x=pixels(*shape))
        message = refused(file, input="image")
        assert f"x has the shape {(40, *shape)}, whose channels may be first or last; set `layout: " in message
        assert prepared("npz", file, input="image", layout="channels_first").input_shape == shape
        assert prepared("npz", file, input="image", layout="channels_last").input_shape == (shape[2], *shape[:2])


def test_rows_of_the_splits_have_one_shape(folder):
    file = arrays(folder / "a.npz", x=None, y=None, x_train=pixels(8, 8, 3), y_train=CLASSES,
                  x_test=pixels(3, 8, 8), y_test=CLASSES)  # fmt: skip
    assert "rows of its splits have the shapes (3, 8, 8) and (8, 8, 3)" in refused(file, input="image")


def test_arrays_that_are_not_read_are_said(folder, capsys):
    prepared("npz", arrays(folder / "a.npz", **dict.fromkeys(("names", "x_extra", "x_val", "y_val"), np.zeros(3))))
    assert "a.npz: skipped 4 arrays: names, x_extra, x_val, y_val" in capsys.readouterr().out


def test_numbers_of_classes_may_have_gaps(folder, capsys):
    for labels in ((0, 2, 5, 6), (1, 2, 3, 4), (10, 20, 30, 40)):
        y = np.array(labels)[CLASSES]
        for kind in (np.int64, np.uint8, np.float32):
            data = prepared("npz", arrays(folder / "a.npz", y=y.astype(kind)))
            numbers = ", ".join(f"{label} → {number}" for number, label in enumerate(labels))
            assert data.outputs == 4
            assert f"a.npz: y: its 4 classes are numbered {numbers}" in capsys.readouterr().out
        kept = prepared("npz", arrays(folder / "a.npz", y=y), classes=50)
        assert kept.outputs == 50 and set(torch.cat(list(kept.targets.values())).tolist()) == set(labels)
        assert "numbered" not in capsys.readouterr().out
    assert "y has the class 3, but `classes: 3` are numbered from 0 to 2" in refused(
        arrays(folder / "a.npz"), classes=3
    )
    assert prepared("npz", arrays(folder / "a.npz", y=CLASSES > 1)).outputs == 2  # True and False


def test_a_class_that_train_lacks_is_refused_and_one_that_test_lacks_is_said(folder, capsys):
    x, few = np.random.default_rng(0).normal(size=(40, 3)), np.minimum(CLASSES, 2)
    given = {"x": None, "y": None, "x_train": x, "x_test": x}
    message = refused(arrays(folder / "a.npz", **given, y_train=few, y_test=CLASSES))
    assert "a.npz: y: test has rows of 1 class that train has none of: 3 (10); add some to train" in message
    message = refused(arrays(folder / "a.npz", **given, y_train=few, y_test=few, x_val=x, y_val=CLASSES))
    assert "a.npz: y: val has rows of 1 class that train has none of: 3 (10)" in message
    prepared("npz", arrays(folder / "a.npz", **given, y_train=CLASSES, y_test=few))
    assert "test has no rows of 1 of the 4 classes, so it does not measure 3" in capsys.readouterr().out


def test_each_class_is_in_each_split_by_its_share():
    numbers = np.random.default_rng(1)
    for counts in ([500, 7], [3, 3, 3], [1000, 30, 5, 3], [8] * 12, [100, 1], [50, 2, 2, 9]):
        classes = numbers.permutation(np.repeat(np.arange(len(counts)), counts))
        for val, test in ((0.2, 0.2), (0.1, 0.5), (0.1, 0)):
            for seed in range(5):
                parts = divide_by_class("a", classes, [str(n) for n in range(len(counts))], seed, val, test)
                assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(sum(counts)))
                of = {split: np.bincount(classes[rows], minlength=len(counts)) for split, rows in parts.items()}
                for label, rows in enumerate(counts):
                    if rows < 2 + (test > 0):
                        assert of["train"][label] == rows
                        continue
                    assert of["train"][label] and of["val"][label] and (of["test"][label] or not test)
                    for split, share in (("val", val), ("test", test)):
                        assert abs(of[split][label] - share * rows) <= 1, (counts, split, label)


def test_few_rows_change_their_split_for_that():
    classes = np.arange(3000) % 2
    plain, parts = datasets.divide(3000, 4), divide_by_class("a", classes, ["0", "1"], 4, 0.2, 0.2)
    assert [len(rows) for rows in parts.values()] == [len(rows) for rows in plain.values()] == [1800, 600, 600]
    for split in SPLITS:
        assert len(set(plain[split]) & set(parts[split])) > 0.9 * len(plain[split])
        assert np.bincount(classes[parts[split]]).tolist() == [len(parts[split]) // 2] * 2
        assert abs(np.corrcoef(np.arange(len(parts[split])), classes[parts[split]])[0, 1]) < 0.2  # not sorted by class
    other = divide_by_class("a", classes, ["0", "1"], 5, 0.2, 0.2)
    assert len(set(parts["test"]) & set(other["test"])) < 300


def test_rare_classes_are_said(folder, capsys):
    y = np.array([0] * 38 + [1] + [2])
    data = prepared("npz", arrays(folder / "a.npz", y=y))
    assert data.targets["train"].bincount().tolist() == [22, 1, 1]
    assert "2 classes have too few rows to split, so all go to train: 1 (1), 2 (1)" in capsys.readouterr().out


def test_arrays_are_scaled_in_float64(folder, capsys):
    rows, parts = 3000, datasets.divide(3000, 0)
    held_out = int(parts["test"][0])
    for kind in (np.float64, np.float32, np.float16):
        x = np.full((rows, 2), 0.1, dtype=kind)
        x[:, 1] = np.arange(rows)
        x[held_out, 0] = 0.2
        data = prepared("npz", arrays(folder / "a.npz", x=x, y=np.arange(rows)), task="regression")
        assert not data.inputs["train"][:, 0].any() and np.isclose(data.inputs["test"][0, 0], 0.1, atol=1e-3)
        assert "1 column constant in train, kept in the file's unit: column 0" in capsys.readouterr().out
    for first, kind in ((10**9, np.float64), (2**24, np.int64), (2**31, np.uint32), (2**40, np.int64)):
        x = np.stack([first + np.arange(rows)] * 2, axis=1).astype(kind)
        data = prepared("npz", arrays(folder / "a.npz", x=x, y=np.arange(rows)), task="regression")
        assert len(torch.cat(list(data.inputs.values()))[:, 0].unique()) == rows
        capsys.readouterr()
        prepared("npz", arrays(folder / "a.npz", x=x, y=np.arange(rows)), task="regression", scaling="none")
        assert (
            "2 columns with values that float32, in which networks compute, does not distinguish"
            in capsys.readouterr().out
        )
    nearly = np.where(np.arange(rows) % 2, np.float32(0.1), np.nextafter(np.float32(0.1), np.float32(1)))[:, None]
    nearly[held_out] = 0.2
    data = prepared("npz", arrays(folder / "a.npz", x=nearly, y=np.arange(rows)), task="regression")
    assert data.inputs["train"].abs().max() < 1e-6 and np.isclose(data.inputs["test"].abs().max(), 0.1)
    blank = np.full((40, 3, 8, 8), 0.1, dtype=np.float32)
    data = prepared("npz", arrays(folder / "a.npz", x=blank), input="image")
    assert not any(inputs.any() for inputs in data.inputs.values())


def test_targets_that_float32_merges_are_refused(folder):
    x = np.random.default_rng(0).normal(size=(300, 3))
    for y in (10**9 + np.arange(300), 1e9 + np.arange(300) / 4):
        message = refused(arrays(folder / "a.npz", x=x, y=y), task="regression")
        assert "y: float32, in which networks compute, distinguishes " in message and "of its 300 values" in message


def test_numbers_that_are_not_real_are_refused(folder):
    assert "not finite numbers" in refused(arrays(folder / "a.npz", x=np.zeros((40, 3), dtype=complex)))
    assert "one finite number per row" in refused(arrays(folder / "a.npz", y=CLASSES.astype(complex)))
