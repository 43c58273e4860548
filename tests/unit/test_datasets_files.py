"""Data sets made of files: the real ones where they are at hand, small ones of the same format, and broken ones."""

import gzip
import io
import os
import shutil
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from edgepress import datasets, sources
from edgepress.datasets import SPLITS, DataError, Prepared, cifar100, fashion_mnist
from edgepress.datasets._tables import read_csv, read_keel

MIRROR = Path(os.environ.get("EDGEPRESS_MIRROR", Path(__file__).parents[3] / "shared" / "datasets"))
CATALOGUE = sources.load()
FILES = {name: MIRROR / next(iter(CATALOGUE[name].values())).mirror for name in CATALOGUE}


def real(name: str, tmp_path: Path, seed: int = 0) -> Prepared:
    """The data set from the mirror; the test is skipped where the mirror has it not."""
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


CHURN = "RowNumber,CustomerId,Surname,CreditScore,Geography,Gender,Age,Tenure,Balance,NumOfProducts,HasCrCard,IsActiveMember,EstimatedSalary,Exited"  # noqa: E501
ROW = "1,15634602,Hargrave,619,France,Female,42,2,0,1,1,1,101348.88,1"
KEEL = "@relation mv\n" + "".join(
    f"@attribute {name} real [0, 1]\n" for name in [*(f"X{i}" for i in range(1, 11)), "Y"]
)


@pytest.mark.parametrize(
    ("name", "file", "content", "said"),
    [
        ("churn", "churn.csv", f"{CHURN},More\n{ROW},1\n", "its columns are RowNumber"),
        (
            "churn",
            "churn.csv",
            f"{CHURN}\n{ROW}\n{ROW.replace('619', '')}\n",
            "CreditScore of row 2 is '', not a number",
        ),
        (
            "churn",
            "churn.csv",
            f"{CHURN}\n{ROW.replace('619', 'nan')}\n",
            "CreditScore of row 1 is 'nan', not a number",
        ),
        ("churn", "churn.csv", f"{CHURN}\n{ROW.replace('France', 'Atlantis')}\n", "Geography of row 1 is 'Atlantis'"),
        ("churn", "churn.csv", f"{CHURN}\n{ROW[:-1]}7\n", "Exited of row 1 is '7', not one of 0, 1"),
        ("churn", "churn.csv", f"{CHURN}\n{ROW}\n{ROW[:30]}", "row 2 has 5 fields but must have 14"),
        ("churn", "churn.csv", f"{CHURN}\n", "has no rows"),
        ("churn", "churn.csv", "", "its columns are none"),
        ("churn", "churn.csv", b"\xff\xfe\x00", "is not text"),
        ("churn", "churn.csv", None, "is not there; `snakemake fetch` gets it"),
        ("telescope", "telescope.dat", "1,2,3,4,5,6,7,8,9,10,x\n", "class of row 1 is 'x', not one of g, h"),
        ("telescope", "telescope.dat", "1,2,3,4,inf,6,7,8,9,10,g\n", "fConc1 of row 1 is 'inf', not a number"),
        ("mv", "mv.dat", "@relation mv\n@data\n" + "1," * 10 + "1\n", "its columns are none but must be X1"),
        ("mv", "mv.dat", KEEL + "@data\n", "has no rows"),
        ("mv", "mv.dat", KEEL + "@data\n" + "1," * 10 + "?\n", "Y of row 1 is '?', not a number"),
        ("california", "california.dat", KEEL + "@data\n" + "1," * 10 + "1\n", "its columns are X1"),
    ],
)
def test_a_broken_table_is_one_sentence(tmp_path, name, file, content, said):
    path = tmp_path / name / file
    path.parent.mkdir()
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as caught:
        datasets.prepare(name, 0, tmp_path)
    assert str(caught.value).startswith(str(path)) and said in str(caught.value) and "\n" not in str(caught.value)


def test_tables_with_windows_line_ends_and_spaces(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"x, y\r\n1 , 2.5\r\n\r\n-3,4e1\r\n")
    table = read_csv(tmp_path / "a.csv", ["x", "y"])
    assert table.numbers("y", "x").tolist() == [[2.5, 1], [40, -3]]
    (tmp_path / "a.dat").write_bytes(b"@relation a\r\n@attribute x real[0,1]\r\n@data\r\n7\r\n")
    assert read_keel(tmp_path / "a.dat", ["x"]).numbers("x").tolist() == [[7]]


# Images


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def small_fashion(folder: Path) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    arrays = {}
    for part, rows in (("train", 60), ("t10k", 20)):
        arrays[f"{part}-images-idx3-ubyte"] = generator.integers(0, 256, (rows, 28, 28), dtype=np.uint8)
        arrays[f"{part}-labels-idx1-ubyte"] = generator.integers(0, 10, rows, dtype=np.uint8)
    folder.mkdir(parents=True)
    for name, array in arrays.items():
        (folder / name).write_bytes(idx(array))
    return arrays


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


def cut(content: bytes) -> bytes:
    return content[:-1]


def no_images(_: bytes) -> bytes:
    return idx(np.zeros((0, 28, 28), np.uint8))


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("train-images-idx3-ubyte", cut, "has 47,055 bytes but its header says 47,056"),
        ("train-images-idx3-ubyte", lambda content: content[:10], "its header is not that of bytes in 3 dimensions"),
        ("train-images-idx3-ubyte", lambda content: b"", "its header is not that of bytes in 3 dimensions"),
        ("train-images-idx3-ubyte", lambda content: b"\0\0\x0d\3" + content[4:], "its header is not that of bytes"),
        ("train-images-idx3-ubyte", lambda content: content[:4] + b"\xff" * 12 + content[16:], "its header says"),
        ("train-images-idx3-ubyte", no_images, "has no images"),
        ("t10k-images-idx3-ubyte", lambda _: idx(np.zeros((20, 28, 27), np.uint8)), "images are 28×27"),
        ("t10k-labels-idx1-ubyte", lambda _: idx(np.zeros(19, np.uint8)), "19 labels for 20 images"),
        (
            "t10k-labels-idx1-ubyte",
            lambda _: idx(np.full(20, 10, np.uint8)),
            "label 10 of image 1 is not one of 0 to 9",
        ),
    ],
)
def test_a_broken_idx_file_is_one_sentence(tmp_path, file, change, said):
    folder = tmp_path / "fashion_mnist"
    small_fashion(folder)
    (folder / file).write_bytes(change((folder / file).read_bytes()))
    with pytest.raises(DataError) as caught:
        datasets.prepare("fashion_mnist", 0, tmp_path)
    assert said in str(caught.value) and str(folder) in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_idx_file_says_what_to_do(tmp_path):
    with pytest.raises(DataError, match="`snakemake fetch` gets it"):
        fashion_mnist.prepare(tmp_path, 0)


def records(rows: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    made = generator.integers(0, 256, (rows, 3074), dtype=np.uint8)
    made[:, 0] %= 20
    made[:, 1] = np.arange(rows) % 100
    return made


def archive(folder: Path, members: list[tuple[tarfile.TarInfo, bytes]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(folder / "cifar-100-binary.tar.gz", "w:gz") as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return folder


def member(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = ""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info, content


def small_cifar(*more, train: bytes | None = None) -> list:
    return [
        member("cifar-100-binary", kind=tarfile.DIRTYPE),
        member("cifar-100-binary/fine_label_names.txt", b"apple\n"),
        member("cifar-100-binary/test.bin", records(100, 1).tobytes()),
        *more,
        member("cifar-100-binary/train.bin", records(500).tobytes() if train is None else train),
    ]


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


@pytest.mark.parametrize(
    ("members", "said"),
    [
        (small_cifar(member("../evil", b"x")), "'../evil' leads out of the archive"),
        (small_cifar(member("/etc/evil", b"x")), "'/etc/evil' leads out of the archive"),
        (small_cifar(member("a/../../b", b"x")), "leads out of the archive"),
        (small_cifar(member("a", kind=tarfile.SYMTYPE, link="/etc/passwd")), "'a' is neither a file nor a folder"),
        (small_cifar(member("a", kind=tarfile.LNKTYPE, link="b")), "'a' is neither a file nor a folder"),
        (small_cifar()[:-1], "has no cifar-100-binary/train.bin"),
        (small_cifar(train=b""), "train.bin has no images"),
        (small_cifar(train=bytes(3073)), "not a multiple of 3,074"),
        (small_cifar(train=bytes([0, 100]) + bytes(3072)), "label 100 of image 1 is not one of 0 to 99"),
        ([member("cifar-100-python/train", b"\x80\x02")], "has no cifar-100-binary/train.bin"),
    ],
)
def test_a_dishonest_archive_is_one_sentence(tmp_path, members, said):
    folder = archive(tmp_path / "cifar100", members)
    with pytest.raises(DataError) as caught:
        datasets.prepare("cifar100", 0, tmp_path)
    assert said in str(caught.value) and str(folder) in str(caught.value) and "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.rglob("*")] == ["cifar100", "cifar-100-binary.tar.gz"]


def test_a_member_too_large_is_not_read(tmp_path):
    folder = archive(tmp_path, [member("cifar-100-binary/train.bin", bytes(5000))])
    with pytest.raises(DataError, match="has 5,000 bytes; 4,999 is the most"):
        cifar100.read_members(folder / "cifar-100-binary.tar.gz", ["cifar-100-binary/train.bin"], 4999)


@pytest.mark.parametrize("keep", [0, 10, 1000, -1000])
def test_a_truncated_archive_is_one_sentence(tmp_path, keep):
    path = archive(tmp_path / "cifar100", small_cifar()) / "cifar-100-binary.tar.gz"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match="cut short or damaged") as caught:
        datasets.prepare("cifar100", 0, tmp_path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


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
