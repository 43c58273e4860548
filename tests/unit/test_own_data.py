"""The user's own data: CSV files, images and arrays, and messages about bad ones."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from edgepress import datasets
from edgepress.datasets import SPLITS, DataError
from edgepress.datasets.own_images import _in_8_bits

from .small_data import arrays, houses, image, pictures, prepared, write_folder, write_zip


def test_a_table_becomes_scaled_numbers_and_one_column_a_value_of_text(folder):
    data = prepared("csv", houses(folder / "a.csv"), ignore=["id"])
    assert (data.name, data.task, data.outputs, data.input_shape) == ("mine", "regression", 1, (4,))
    assert [len(data.inputs[split]) for split in SPLITS] == [30, 10, 10]
    area, towns = data.inputs["train"][:, 0], data.inputs["train"][:, 1:]
    assert abs(float(area.mean())) < 1e-6 and abs(float(area.std(correction=0)) - 1) < 1e-6
    assert torch.equal(towns.sum(dim=1), torch.ones(30)) and set(towns.unique().tolist()) == {0.0, 1.0}


def test_nothing_is_learned_from_val_and_test(folder):
    """Rows of val and test hold another town and other areas: train comes out the same."""
    before = prepared("csv", houses(folder / "a.csv"), ignore=["id"])
    parts = datasets.divide(50, 0)
    held_out = {int(row) for split in ("val", "test") for row in parts[split]}
    lines = (folder / "a.csv").read_text(encoding="utf-8").splitlines()
    for row in held_out:
        identity, _, _, price = lines[row + 1].split(",")
        lines[row + 1] = f"{identity},{1000 + row},Rom,{price}"
    (folder / "b.csv").write_text("\n".join(lines), encoding="utf-8")
    after = prepared("csv", "b.csv", ignore=["id"])
    assert torch.equal(after.inputs["train"], before.inputs["train"])
    assert torch.equal(after.inputs["test"][:, 1:], torch.zeros(10, 3))  # a town that train does not have is no column


def test_classes_are_the_sorted_values_of_the_target(folder):
    file = houses(folder / "a.csv", price=[["yes", "no"][row % 2] for row in range(50)])
    data = prepared("csv", file, target="price", task="classification", ignore=["id"])
    assert data.outputs == 2 and data.targets["train"].dtype == torch.int64
    numbered = houses(folder / "b.csv", price=[["10", "9"][row % 2] for row in range(50)])
    again = prepared("csv", numbered, target="price", task="classification", ignore=["id"])
    assert torch.equal(again.targets["val"], data.targets["val"])  # no < yes and 9 < 10, which as text is not so


def test_shares_and_scaling_are_options(folder):
    file = houses(folder / "a.csv")
    data = prepared("csv", file, ignore=["id", "town"], val=0.1, test=0.5, scaling="min_max")
    assert [len(data.inputs[split]) for split in SPLITS] == [20, 5, 25]
    assert (data.inputs["train"].min(), data.inputs["train"].max()) == (0, 1)
    raw = prepared("csv", file, ignore=["id", "town"], scaling="none")
    given = prepared("csv", file, ignore=["id", "town"], mean=[10.0], std=[2.0])
    assert torch.allclose(given.inputs["val"], (raw.inputs["val"] - 10) / 2)


def test_rows_with_gaps_end_the_run_or_go(folder):
    file = houses(folder / "a.csv", area=["", "NA", *(str(row) for row in range(48))])
    with pytest.raises(DataError, match=r"a\.csv: 2 of 50 rows have empty fields, row 1 .*area in 2.*missing: drop"):
        prepared("csv", file, ignore=["id"])
    data = prepared("csv", file, ignore=["id"], missing="drop")
    assert sum(len(data.inputs[split]) for split in SPLITS) == 48


@pytest.mark.parametrize(
    "text, options, message",
    [
        ("", {}, "no rows below its header"),
        ("a,price\n", {}, "no rows below its header"),
        ("a,price\n1,2\n1,2,3\n", {}, "row 2 has 3 fields but the header 2; is `separator` ',' right"),
        ("a,a,price\n1,2,3\n", {}, "names a column twice"),
        (",a,price\n0,1,2\n1,2,3\n", {}, "column 1 has no name in the header; name it"),
        ("a,price\n" + "1,2\n" * 9 + "1e400,2\n", {}, "a of row 10 is '1e400', not a number; correct the file$"),
        ("a,cost\n1,2\n", {}, "no column 'price'; it has a, cost"),
        ("a,price\n1,2\n", {"ignore": ["b"]}, "no column 'b'"),
        ("a,price\n1,x\n", {}, "price of row 1 is 'x', not a number; correct the file$"),
        ("a,price\n" + "1e308,1\n-1e308,2\n" * 9, {}, "too large to scale; correct the file$"),
        ("price\n1\n2\n3\n4\n5\n", {}, "no columns except 'price'"),
        ("a,price\n1,2\n", {}, "1 rows, too few"),
        (
            "a,price\n1,2\n2,3\n3,4\n4,5\n5,6\n",
            {"mean": [1.0, 2.0], "std": [1.0, 1.0]},
            "2 numbers each, for 1",
        ),
        ("a,price\n1,2\n1,2\n1,2\n1,2\n1,2\n", {"task": "classification"}, "'2' in every row"),
        ("a,price\n1,2\n1,3\n1,4\n1,5\n1,6\n", {"task": "classification"}, "set `task: regression`"),
    ],
)
def test_a_bad_table_is_said_in_a_sentence(folder, text, options, message):
    (folder / "a.csv").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        prepared("csv", "a.csv", **options)


def test_a_column_of_names_is_not_made_into_columns(folder):
    with pytest.raises(DataError, match=r"more than 50 values in id \(60 values\); .* `ignore`"):
        prepared("csv", houses(folder / "a.csv", rows=100))


def test_a_separator_is_an_option_and_a_file_that_is_no_text_is_told(folder):
    (folder / "a.csv").write_text(Path(houses(folder / "a.csv")).read_text("utf-8").replace(",", ";"), "utf-8")
    assert prepared("csv", "a.csv", separator=";", ignore=["id"]).input_shape == (4,)
    (folder / "a.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"a\.csv cannot be read as a text table"):
        prepared("csv", "a.csv")


def test_a_folder_and_a_zip_file_of_images_are_the_same_data(folder):
    one = prepared("images", write_folder(folder / "pets", pictures()))
    two = prepared("images", write_zip(folder / "pets.zip", {f"pets/{name}": c for name, c in pictures().items()}))
    assert (one.task, one.outputs, one.input_shape) == ("classification", 2, (3, 8, 8))
    assert [len(one.inputs[split]) for split in SPLITS] == [18, 2, 20]
    for split in SPLITS:
        assert torch.equal(one.inputs[split], two.inputs[split])
        assert torch.equal(one.targets[split], two.targets[split])
    red = one.inputs["test"][:, 0, 0, 0]
    assert red[one.targets["test"] == 0].min() > red[one.targets["test"] == 1].max()  # ant, the first, is redder


def test_images_of_many_sizes_are_cropped_to_one(folder):
    files = pictures() | {"train/cat/wide.jpg": image(40, (30, 9), "JPEG")}
    write_folder(folder / "pets", files)
    with pytest.raises(DataError, match=r"train/cat/wide\.jpg is 30×9 pixels, the first image 8×8; .* `size`"):
        prepared("images", "pets")
    assert prepared("images", "pets", size=6, channels=1).input_shape == (1, 6, 6)


def test_images_of_val_that_come_apart_are_val(folder):
    files = pictures() | {f"val/ant/{number}.png": image(1) for number in range(3)}
    data = prepared("images", write_folder(folder / "pets", files), mean=[0.5] * 3, std=[0.25] * 3)
    assert [len(data.inputs[split]) for split in SPLITS] == [20, 3, 20]
    pixel = data.inputs["val"][0, :, 0, 0]
    assert torch.allclose(pixel, (torch.tensor([1, 0, 254]) / 255 - 0.5) / 0.25, atol=1e-6)


@pytest.mark.parametrize(
    "files, message",
    [
        ({}, "no images train/<class>/"),
        ({"train/cat/notes.txt": b"x", "test/cat/1.png": image(3)}, "no images train/<class>/"),
        (pictures() | {"test/dog/1.png": image(3)}, "test/dog, but no train/dog"),
        (pictures() | {"train/cat/broken.png": image(3)[:40]}, r"train/cat/broken\.png cannot be read as an image"),
        (pictures() | {"train/cat/empty.jpg": b""}, r"train/cat/empty\.jpg cannot be read as an image"),
    ],
)
@pytest.mark.parametrize("write, name", [(write_folder, "pets"), (write_zip, "pets.zip")])
def test_bad_images_are_said_in_a_sentence(folder, write, name, files, message):
    (folder / "pets").mkdir()
    write(folder / name, files)
    with pytest.raises(DataError, match=message):
        prepared("images", name)


def test_a_damaged_zip_file_is_told(folder):
    write_zip(folder / "pets.zip", pictures())
    content = (folder / "pets.zip").read_bytes()
    (folder / "pets.zip").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"pets\.zip is neither a folder nor a zip file"):
        prepared("images", "pets.zip")
    flipped = bytearray(content)
    flipped[60] ^= 255
    (folder / "pets.zip").write_bytes(bytes(flipped))
    with pytest.raises(DataError, match=r"pets\.zip: train/cat/0\.png cannot be read as an image"):
        prepared("images", "pets.zip")


def test_arrays_are_divided_or_taken_as_they_are_divided(folder):
    data = prepared("npz", arrays(folder / "a.npz"))
    assert (data.outputs, data.input_shape, [len(data.inputs[s]) for s in SPLITS]) == (4, (3,), [24, 8, 8])
    x, y = np.ones((20, 3)), np.repeat(np.array([0, 1], dtype=np.uint8), 10)
    x[:, 0] = np.arange(20)
    file = arrays(folder / "b.npz", x=None, y=None, x_train=x, y_train=y, x_test=x[:7] + 50, y_test=y[:7] + 1)
    data = prepared("npz", file, scaling="none")
    assert [len(data.inputs[split]) for split in SPLITS] == [18, 2, 7]
    assert set(data.inputs["train"][:, 0].tolist()) | set(data.inputs["val"][:, 0].tolist()) == set(range(20))
    assert torch.equal(data.inputs["test"][:, 0], torch.arange(50.0, 57.0)) and data.targets["test"].unique() == 1


@pytest.mark.parametrize("shape", [(40, 6, 5), (40, 1, 6, 5), (40, 6, 5, 1)])
def test_arrays_of_images_come_in_three_layouts(folder, shape):
    pixels = np.arange(np.prod(shape), dtype=np.int64).reshape(shape) % 251
    data = prepared("npz", arrays(folder / "a.npz", x=pixels.astype(np.uint8)), input="image", scaling="none")
    assert data.input_shape == (1, 6, 5)
    first = datasets.divide(40, 0)["train"][0]
    assert torch.equal(data.inputs["train"][0, 0], torch.from_numpy(pixels[first].reshape(6, 5)).float())


@pytest.mark.parametrize(
    "changed, options, message",
    [
        ({"y": None}, {}, "it must hold x and y"),
        ({"y": np.arange(39)}, {}, r"x is \(40, 3\) but y is \(39,\)"),
        ({"y": np.arange(40) / 3}, {}, "integers from 0"),
        ({"y": np.arange(40) - 1}, {}, "integers from 0"),
        ({"x": np.full((40, 3), np.nan)}, {}, "not finite numbers"),
        ({"x": np.full((40, 3), "a")}, {}, "not finite numbers"),
        ({}, {"input": "image"}, "2 dimensions, which does not fit"),
        ({"x": np.zeros((40, 3, 3))}, {}, "3 dimensions, which does not fit"),
        ({"x": np.array([{}] * 40)}, {}, "cannot be read as arrays of numbers"),  # a pickle
    ],
)
def test_bad_arrays_are_said_in_a_sentence(folder, changed, options, message):
    with pytest.raises(DataError, match=message):
        prepared("npz", arrays(folder / "a.npz", **changed), **options)


def test_a_file_that_is_no_npz_is_told(folder):
    (folder / "a.npz").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(DataError, match=r"a\.npz cannot be read"):
        prepared("npz", "a.npz")


def test_grey_images_of_16_bits_keep_their_upper_8(tmp_path):
    pixels = np.array([[0, 255, 256], [30000, 60000, 65535]], dtype=np.uint16)
    Image.fromarray(pixels).save(tmp_path / "deep.png")
    with Image.open(tmp_path / "deep.png") as image:
        assert np.asarray(_in_8_bits(image)).tolist() == [[0, 0, 1], [117, 234, 255]]
    with pytest.raises(ValueError, match="save them in 8 or 16 bits"):
        _in_8_bits(Image.new("F", (2, 2)))
