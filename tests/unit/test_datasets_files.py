"""Data sets from files: real ones if available, and small ones in the same format."""

import gzip
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from edgepress import datasets, sources
from edgepress.datasets import SPLITS, Prepared
from edgepress.datasets._tables import read_csv, read_keel

from .small_files import archive, records, small_cifar, small_fashion

MIRROR = Path(os.environ.get("EDGEPRESS_MIRROR", Path(__file__).parents[3] / "shared" / "datasets"))
CATALOGUE = sources.load()
FILES = {name: MIRROR / next(iter(CATALOGUE[name].values())).mirror for name in CATALOGUE}


def real(name: str, tmp_path: Path, seed: int = 0) -> Prepared:
    """The data set from the mirror; the test is skipped if the mirror lacks it."""
    for file, source in CATALOGUE[name].items():
        if not (MIRROR / source.mirror).is_file():
            pytest.skip(f"no {source.mirror}; EDGEPRESS_MIRROR names the folder it is in")
        sources.fetch(source, tmp_path / name / file, [MIRROR])
    return datasets.prepare(name, seed, tmp_path)


def sizes(data: Prepared) -> list[int]:
    return [len(data.targets[split]) for split in SPLITS]


# Tables


@pytest.mark.parametrize(
    ("name", "rows", "inputs"),
    [
        ("churn", [6000, 2000, 2000], 13),
        ("telescope", [11412, 3804, 3804], 10),
        ("california", [11146, 3715, 3716], 6),
        ("mv", [24460, 8154, 8154], 10),
    ],
)
def test_tables_are_as_large_as_the_study_says(name, rows, inputs, tmp_path):
    data = real(name, tmp_path)
    assert data.input_shape == (inputs,)
    tolerance = 25 if name == "california" else 1  # its quantiles are of the training rows
    assert sizes(data) == [pytest.approx(expected, abs=tolerance) for expected in rows]


def test_churn_keeps_categories_as_they_are_and_scales_the_rest(tmp_path):
    data = real("churn", tmp_path)
    for split in SPLITS:
        one_hot = data.inputs[split][:, :5]
        assert torch.equal(one_hot[:, :3].sum(dim=1), torch.ones(len(one_hot)))
        assert torch.equal(one_hot[:, 3:].sum(dim=1), torch.ones(len(one_hot)))
    numbers = data.inputs["train"][:, 5:].double()
    assert numbers.mean(dim=0).abs().max() < 1e-6
    assert (numbers.std(dim=0, correction=0) - 1).abs().max() < 1e-6
    assert float(torch.cat(list(data.targets.values())).double().mean()) == pytest.approx(0.2037)


def test_the_quantiles_of_california_are_of_the_training_rows(tmp_path):
    data = real("california", tmp_path)
    published = np.loadtxt(FILES["california"], delimiter=",", comments="@")[:, -1] / 1000
    low, high = np.quantile(published[datasets.divide(len(published), 0)["train"]], [0.05, 0.95])
    everything = torch.cat(list(data.targets.values()))
    assert low <= float(everything.min()) and float(everything.max()) <= high
    assert len(everything) == ((published >= low) & (published <= high)).sum()
    assert sizes(data) != sizes(real("california", tmp_path, seed=1))
    train = data.inputs["train"]
    assert torch.equal(train.min(dim=0).values, torch.zeros(6)) and torch.equal(train.max(dim=0).values, torch.ones(6))


def test_mv_is_what_its_definition_makes(tmp_path):
    data, synthetic = real("mv", tmp_path), datasets.prepare("mv_synthetic", 0)
    assert sizes(data) == sizes(synthetic)
    assert float(data.targets["train"].mean()) == pytest.approx(float(synthetic.targets["train"].mean()), abs=0.3)


def test_telescope_is_two_thirds_gamma(tmp_path):
    assert float(torch.cat(list(real("telescope", tmp_path).targets.values())).double().mean()) == 6688 / 19020


def test_tables_with_windows_line_ends_and_spaces(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"x, y\r\n1 , 2.5\r\n\r\n-3,4e1\r\n")
    table = read_csv(tmp_path / "a.csv", ["x", "y"])
    assert table.numbers("y", "x").tolist() == [[2.5, 1], [40, -3]]
    (tmp_path / "a.dat").write_bytes(b"@relation a\r\n@attribute x real[0,1]\r\n@data\r\n7\r\n")
    assert read_keel(tmp_path / "a.dat", ["x"]).numbers("x").tolist() == [[7]]


# Images


def test_fashion_mnist_in_full(tmp_path):
    data = real("fashion_mnist", tmp_path)
    assert sizes(data) == [54_000, 6_000, 10_000] and data.input_shape == (1, 32, 32)
    assert torch.cat([data.targets["train"], data.targets["val"]]).bincount().tolist() == [6000] * 10
    assert data.targets["test"].bincount().tolist() == [1000] * 10
    train = data.inputs["train"]
    assert float(train.mean(dtype=torch.float64)) == pytest.approx(0, abs=1e-5)
    assert float(train.std(correction=0)) == pytest.approx(1, abs=1e-3)
    source = CATALOGUE["fashion_mnist"]["t10k-images-idx3-ubyte"]
    with gzip.open(MIRROR / source.mirror) as file:
        first = np.frombuffer(file.read(16 + 28 * 28)[16:], dtype=np.uint8).reshape(28, 28)
    shown = data.inputs["test"][0, 0]
    assert torch.equal(shown == shown[0, 0], torch.from_numpy(np.pad(first, 2) == 0))
    shutil.rmtree(tmp_path / "fashion_mnist")


def test_images_are_padded_with_background_and_keep_their_labels(tmp_path):
    arrays = small_fashion(tmp_path / "fashion_mnist")
    data = datasets.prepare("fashion_mnist", 3, tmp_path)
    assert sizes(data) == [54, 6, 20] and data.outputs == 10
    test = data.inputs["test"][:, 0]
    background = test[0, 0, 0]
    for border in (test[:, :2], test[:, -2:], test[:, :, :2], test[:, :, -2:]):
        assert (border == background).all()
    pixels = torch.from_numpy(arrays["t10k-images-idx3-ubyte"]).double()
    padded = np.pad(arrays["train-images-idx3-ubyte"], ((0, 0), (2, 2), (2, 2))).astype(float)
    drawn = np.random.default_rng(3).permutation(60)
    train = padded[np.sort(drawn[6:])]
    torch.testing.assert_close(
        test[:, 2:-2, 2:-2].double(), (pixels - train.mean()) / train.std(), atol=1e-6, rtol=1e-6
    )
    assert data.targets["test"].tolist() == arrays["t10k-labels-idx1-ubyte"].tolist()
    assert data.targets["val"].tolist() == arrays["train-labels-idx1-ubyte"][np.sort(drawn[:6])].tolist()


def test_cifar100_reads_its_archive_of_bytes(tmp_path):
    archive(tmp_path / "cifar100", small_cifar())
    data = datasets.prepare("cifar100", 0, tmp_path)
    assert sizes(data) == [450, 50, 100] and data.input_shape == (3, 32, 32) and data.outputs == 100
    train = data.inputs["train"].double()
    assert train.mean(dim=(0, 2, 3)).abs().max() < 1e-6
    assert (train.std(dim=(0, 2, 3), correction=0) - 1).abs().max() < 1e-6
    rows = np.sort(np.random.default_rng(0).permutation(500)[50:])
    drawn = records(500)[rows, 2:].reshape(-1, 3, 32, 32).astype(float)
    test = (records(100, 1)[:, 2:].reshape(-1, 3, 32, 32) - drawn.mean((0, 2, 3), keepdims=True)[0]) / drawn.std(
        (0, 2, 3), keepdims=True
    )[0]
    assert np.abs(data.inputs["test"].numpy() - test).max() < 1e-6
    assert data.targets["test"].tolist() == list(range(100))
    assert data.targets["train"].tolist() == (rows % 100).tolist()


# What is prepared


def test_splits_can_be_loaded_alone(tmp_path):
    small_fashion(tmp_path / "fashion_mnist")
    data = datasets.prepare("fashion_mnist", 0, tmp_path)
    data.save(tmp_path / "data.safetensors")
    some = Prepared.load(tmp_path / "data.safetensors", ["test", "val"])
    assert some.inputs.keys() == some.targets.keys() == {"val", "test"}
    assert torch.equal(some.inputs["val"], data.inputs["val"]) and torch.equal(
        some.targets["test"], data.targets["test"]
    )
    assert some.input_shape == (1, 32, 32)
    assert Prepared.load(tmp_path / "data.safetensors").inputs.keys() == set(SPLITS)
