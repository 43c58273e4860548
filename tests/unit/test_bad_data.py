"""Bad files of data sets: each gives one sentence with the file, the place and what to do."""

import gzip
import io
import json
import pickle
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from edgepress import datasets, sources, tensor_files
from edgepress.datasets import DataError, Prepared, cifar100, fashion_mnist
from edgepress.files import FileError

from .small_files import CHURN, KEEL, ROW, archive, idx, member, records, small_cifar, small_fashion

FETCH = "`snakemake fetch` downloads it"
PICKLE = pickle.dumps({"data": [0] * 99})
SHOWER, POINT = "1,2,3,4,5,6,7,8,9,10,g\n", "1," * 10 + "1\n"
HOUSE = "-118,34,1,2,3,4,5,6,452600\n"
PLACES = ["Longitude", "Latitude", "HousingMedianAge", "TotalRooms", "TotalBedrooms", "Population", "Households"]
CALIFORNIA = "".join(f"@attribute {name} real\n" for name in [*PLACES, "MedianIncome", "MedianHouseValue"])


def refused(read, path: Path) -> str:
    """The message of the error: one line that starts with the path, or with the name of the data set."""
    with pytest.raises(FileError) as caught:
        read()
    message = str(caught.value)
    assert message.startswith((str(path), f"{path.name}: ")) and "\n" not in message and len(message) < 600
    return message


def unsaid(message: str, *said: str) -> list[str]:
    return [words for words in said if words not in message]


# ---- tables -----------------------------------------------------------------------------------------------------

# what is wrong: (the data set, its file, what the sentence says…)
TABLES = {
    "not there": ("churn", None, "does not exist", FETCH),
    "empty": ("churn", "", "its columns are none", FETCH),
    "only white space": ("churn", " \n\n\t\n", "its columns are none", FETCH),
    "a header alone": ("churn", f"{CHURN}\n", "has no rows", FETCH),
    "no header": ("churn", f"{ROW}\n{ROW}\n", "its columns are 1, 15634602", "must be RowNumber"),
    "a column too many": ("churn", f"{CHURN},More\n{ROW},1\n", "its columns are RowNumber", FETCH),
    "a column too few": ("churn", f"{CHURN[:-7]}\n{ROW[:-2]}\n", "its columns are", "must be RowNumber"),
    "columns that changed places": ("churn", f"{CHURN[::-1]}\n{ROW}\n", "its columns are detixE", FETCH),
    "a column's name in another case": ("churn", f"{CHURN.lower()}\n{ROW}\n", "its columns are rownumber", FETCH),
    "semicolons": ("churn", f"{CHURN}\n{ROW}\n".replace(",", ";"), "its columns are RowNumber;Cust", FETCH),
    "a row cut short": ("churn", f"{CHURN}\n{ROW}\n{ROW[:30]}", "row 2 has 5 fields but must have 14", FETCH),
    "a row too long": ("churn", f"{CHURN}\n{ROW},1\n", "row 1 has 15 fields but must have 14", FETCH),
    "a field missing": ("churn", f"{CHURN}\n{ROW.replace('619', '')}\n", "CreditScore of row 1 is ''", "not a number"),
    "NaN": ("churn", f"{CHURN}\n{ROW}\n{ROW.replace('619', 'nan')}\n", "CreditScore of row 2 is 'nan'", FETCH),
    "infinite": ("telescope", SHOWER.replace("5", "inf"), "fConc1 of row 1 is 'inf'", "not a number"),
    "infinite as a float": ("telescope", SHOWER.replace("5", "1e999"), "fConc1 of row 1 is '1e999'", "not a number"),
    "a category unknown": ("churn", f"{CHURN}\n{ROW.replace('France', 'Atlantis')}\n", "Geography of row 1", "France"),
    "a label out of range": ("churn", f"{CHURN}\n{ROW[:-1]}7\n", "Exited of row 1 is '7'", "not one of 0, 1"),
    "a label unknown": ("telescope", SHOWER.replace("g", "x"), "class of row 1 is 'x'", "not one of g, h"),
    "one class alone": ("telescope", SHOWER * 9, "1 outputs do not suit classification", "2 classes"),
    "one row": ("telescope", SHOWER, "telescope: val has no rows", FETCH),
    "numbers too large to scale": ("telescope", SHOWER.replace("5", "1e308") * 9, "too large to scale", FETCH),
    "a target too large": ("mv", KEEL + ("1," * 10 + "1e300\n") * 9, "targets contain NaN or infinity"),
    "a quote left open": ("churn", f"{CHURN}\n{ROW.replace('Hargrave', chr(34) + 'Hargrave')}\n{ROW}\n", "row 1 has"),
    "a field without end": ("churn", f"{CHURN}\n{ROW}{'1' * 200_000}\n", "is not a table", "field larger than", FETCH),
    "no text": ("churn", b"\xff\xfe\x00", "is not text", FETCH),
    "a pickle": ("churn", PICKLE, "is not text", FETCH),
    "gzipped": ("churn", gzip.compress(CHURN.encode(), mtime=0), "is not text", FETCH),
    "no attributes": ("mv", "@relation mv\n@data\n" + POINT, "its columns are none but must be X1", FETCH),
    "an attribute without name": ("mv", "@attribute \n@data\n" + POINT, "must be X1", FETCH),
    "attributes and no rows": ("mv", KEEL + "@data\n", "has no rows", FETCH),
    "a value missing": ("mv", KEEL + "@data\n" + POINT[:-2] + "?\n", "Y of row 1 is '?'", "not a number"),
    "columns of another set": ("california", KEEL + "@data\n" + POINT, "its columns are X1", "must be Longitude"),
    "too few rows for quantiles": ("california", CALIFORNIA + HOUSE + HOUSE.replace("452", "123"), "has no rows"),
}


@pytest.mark.parametrize("wrong", TABLES)
def test_a_bad_table_is_told_in_one_sentence(tmp_path, wrong):
    name, content, *said = TABLES[wrong]
    path = tmp_path / name / next(iter(sources.load()[name]))
    path.parent.mkdir()
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    message = refused(lambda: datasets.prepare(name, 0, tmp_path), path.parent)
    assert unsaid(message, *said) == [], message


@pytest.mark.parametrize("name", sources.load())
def test_a_folder_in_the_place_of_a_file_is_told(tmp_path, name):
    for file in sources.load()[name]:
        (tmp_path / name / file).mkdir(parents=True)
    message = refused(lambda: datasets.prepare(name, 0, tmp_path), tmp_path / name)
    assert unsaid(message, "directory", FETCH) == [], message


@pytest.mark.parametrize("name", sources.load())
def test_a_file_of_another_hash_is_refused_whatever_it_holds(tmp_path, name):
    for file, source in sources.load()[name].items():
        path = tmp_path / file
        path.write_bytes(b"1,2\n")
        with pytest.raises(sources.FetchError) as caught:
            sources.check(path, source.sha256)
        assert unsaid(str(caught.value), str(path), "has sha256 ", f"must have {source.sha256}", FETCH) == []


# ---- images -----------------------------------------------------------------------------------------------------

IMAGES, LABELS, TEST_IMAGES = "train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte"
SMALL = idx(np.zeros((60, 28, 28), np.uint8))


def sized(*sizes: int) -> bytes:
    """A header that promises as much, and what there is."""
    return bytes([0, 0, 8, len(sizes)]) + struct.pack(f">{len(sizes)}I", *sizes) + bytes(47_040)


# what is wrong: (the file, what it holds, what the sentence says…)
IDX = {
    "images not there": (IMAGES, None, "does not exist", FETCH),
    "labels not there": (LABELS, None, "does not exist", FETCH),
    "empty": (IMAGES, b"", "its header is not that of bytes in 3 dimensions", FETCH),
    "a header cut short": (IMAGES, SMALL[:10], "its header is not that of bytes in 3 dimensions", FETCH),
    "an image cut short": (IMAGES, SMALL[:-1], "has 47,055 bytes but its header says 47,056", FETCH),
    "a byte too many": (IMAGES, SMALL + b"x", "has 47,057 bytes but its header says 47,056", FETCH),
    "floats": (IMAGES, b"\0\0\x0d\3" + SMALL[4:], "its header is not that of bytes", FETCH),
    "labels in place of images": (IMAGES, idx(np.zeros(60, np.uint8)), "is not that of bytes in 3 dimensions", FETCH),
    "images in place of labels": (LABELS, SMALL, "its header is not that of bytes in 1 dimensions", FETCH),
    "more images than atoms": (
        IMAGES,
        sized(*[2**32 - 1] * 3),
        "its header says 79,228,162,458,924,105,385,300,197,391",
        FETCH,
    ),
    "no images": (IMAGES, idx(np.zeros((0, 28, 28), np.uint8)), "has no images", FETCH),
    "images of no width": (IMAGES, sized(60, 28, 0)[:16], "images are 28×0 but must be 28×28", FETCH),
    "images of another size": (TEST_IMAGES, idx(np.zeros((20, 28, 27), np.uint8)), "images are 28×27", "28×28"),
    "a label too few": (LABELS, idx(np.zeros(59, np.uint8)), "59 labels for 60 images", FETCH),
    "a label out of range": (LABELS, idx(np.full(60, 10, np.uint8)), "label 10 of image 1 is not one of 0 to 9", FETCH),
    "still gzipped": (IMAGES, gzip.compress(SMALL, mtime=0), "its header is not that of bytes", FETCH),
    "a pickle": (LABELS, PICKLE, "its header is not that of bytes in 1 dimensions", FETCH),
}


@pytest.mark.parametrize("wrong", IDX)
def test_a_bad_idx_file_is_told_in_one_sentence(tmp_path, wrong):
    file, content, *said = IDX[wrong]
    folder = tmp_path / "fashion_mnist"
    small_fashion(folder)
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_bytes(content)
    message = refused(lambda: fashion_mnist.prepare(folder, 0), folder)
    assert unsaid(message, *said) == [], message


TRAIN = "cifar-100-binary/train.bin"


def bare(*members) -> bytes:
    """An archive that is not packed."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:", format=tarfile.PAX_FORMAT) as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def comment(size: int):
    info, content = member("a", b"x")
    info.pax_headers = {"comment": "x" * size}
    return info, content


def flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


PACKED = gzip.compress(bare(*small_cifar()), mtime=0)
# what is wrong: (the archive, what the sentence says…)
ARCHIVES = {
    "not there": (None, "does not exist", FETCH),
    "empty": (b"", "is truncated or damaged", FETCH),
    "cut short in its header": (PACKED[:10], "is truncated or damaged", FETCH),
    "cut short": (PACKED[:-1000], "is truncated or damaged", FETCH),
    "cut short by its checksum": (PACKED[:-8], "is truncated or damaged", FETCH),
    "a flipped bit": (flipped(PACKED, len(PACKED) // 2), "is truncated or damaged", FETCH),
    "a flipped bit in its checksum": (flipped(PACKED, len(PACKED) - 6), "is truncated or damaged", "CRC", FETCH),
    "not packed": (bare(*small_cifar()), "is truncated or damaged", FETCH),
    "packed, and no archive": (gzip.compress(bytes(99), mtime=0), "is truncated or damaged", FETCH),
    "the archive of pickles": ([member("cifar-100-python/train", PICKLE)], "has no cifar-100-binary/train.bin", FETCH),
    "a pickle": (PICKLE, "is truncated or damaged", FETCH),
    "a pickle in disguise": (small_cifar(train=PICKLE), "train.bin has", "not a multiple of 3,074", FETCH),
    "no training images": (small_cifar()[:-1], "has no cifar-100-binary/train.bin", FETCH),
    "a folder in their place": ([member(TRAIN, kind=tarfile.DIRTYPE)], "has no cifar-100-binary/train.bin", FETCH),
    "an empty file": (small_cifar(train=b""), "train.bin has no images", FETCH),
    "an image cut short": (small_cifar(train=bytes(3073)), "train.bin has 3,073 bytes, not a multiple", FETCH),
    "a label out of range": (small_cifar(train=bytes([0, 100]) + bytes(3072)), "label 100 of image 1", "0 to 99"),
    "too few to validate": (small_cifar(train=bytes(9 * 3074)), "val has no rows", "need at least one each"),
    "a file twice": (small_cifar(member(TRAIN, b"x")), "'cifar-100-binary/train.bin' occurs twice", FETCH),
    "a name that leads out": (small_cifar(member("../evil", b"x")), "'../evil' leads out of the archive", FETCH),
    "an absolute name": (small_cifar(member("/etc/evil", b"x")), "'/etc/evil' leads out of the archive", FETCH),
    "a name that leads out inside": (small_cifar(member("a/../../b", b"x")), "leads out of the archive", FETCH),
    "a symbolic link": (small_cifar(member("a", kind=tarfile.SYMTYPE, link="/etc")), "'a' is neither a file", FETCH),
    "a hard link": (small_cifar(member("a", kind=tarfile.LNKTYPE, link="b")), "'a' is neither a file", FETCH),
    "a device": (small_cifar(member("a", kind=tarfile.CHRTYPE)), "'a' is neither a file nor a folder", FETCH),
    "a pipe": (small_cifar(member("a", kind=tarfile.FIFOTYPE)), "'a' is neither a file nor a folder", FETCH),
    "a file too large": (
        small_cifar(member("a", bytes(2_000_001))),
        "'a' has 2,000,001 bytes; at most 2,000,000 are",
        FETCH,
    ),
    "a bomb of many files": (small_cifar(*[member("a", bytes(10**6))] * 8), "it unpacks to more than 7,048,576", FETCH),
    "a bomb in a header": (gzip.compress(bare(comment(10**7)), mtime=0), "unpacks to more than", FETCH),
    "a bomb behind the end": (
        gzip.compress(bare(*small_cifar()) + bytes(10**7), mtime=0),
        "unpacks to more than",
        FETCH,
    ),
}


@pytest.mark.parametrize("wrong", ARCHIVES)
def test_a_bad_archive_is_told_in_one_sentence(tmp_path, monkeypatch, wrong):
    monkeypatch.setattr(cifar100, "LARGEST", 2_000_000)
    content, *said = ARCHIVES[wrong]
    folder = tmp_path / "cifar100"
    if isinstance(content, list):
        archive(folder, content)
    elif content is not None:
        folder.mkdir()
        (folder / cifar100.ARCHIVE).write_bytes(content)
    message = refused(lambda: datasets.prepare("cifar100", 0, tmp_path), folder)
    assert unsaid(message, *said) == [], message
    assert {path.name for path in tmp_path.rglob("*")} <= {"cifar100", cifar100.ARCHIVE}  # nothing is unpacked to disk


# ---- prepared data ----------------------------------------------------------------------------------------------

ABOUT = {"name": "toy", "task": "classification", "outputs": 2}
SOUND = {"train.inputs": torch.zeros(4, 3), "train.targets": torch.tensor([0, 1, 0, 1])}


def prepared(about=(), **changes) -> bytes:
    """A file with a valid checksum, with some tensors wrong or missing."""
    tensors = {**SOUND, **{name.replace("_", "."): tensor for name, tensor in changes.items()}}
    whole = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    return tensor_files.to_bytes(whole, {**ABOUT, **dict(about)})


AGAIN = "remove it, and run"
# what is wrong: (the file, what the sentence says…)
PREPARED = {
    "not there": (None, "does not exist; `snakemake --cores 1 ", "creates it"),
    "empty": (b"", "cannot be read as safetensors", AGAIN),
    "cut short": (prepared()[:-1], "cannot be read as safetensors", AGAIN),
    "a byte too many": (prepared() + b"x", "cannot be read as safetensors", AGAIN),
    "a flipped bit": (flipped(prepared(), -1 % len(prepared())), "is damaged: its checksum does not match", AGAIN),
    "a pickle": (PICKLE, "cannot be read as safetensors", AGAIN),
    "a header of terabytes": (b"\0" * 6 + b"\xff\0" + bytes(99), "cannot be read as safetensors", AGAIN),
    "a tensor of terabytes": (
        (header := json.dumps({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode())
        and len(header).to_bytes(8, "little") + header,
        "cannot be read as safetensors",
        AGAIN,
    ),
    "no checksum": (save(SOUND, {"edgepress": json.dumps(ABOUT)}), "has no checksum", AGAIN),
    "a network": (tensor_files.to_bytes({"0.weight": torch.zeros(2)}), "holds no prepared data set", AGAIN),
    "no targets": (prepared(train_targets=None), "holds no prepared data set ('train.targets')", AGAIN),
    "more said than known": (prepared({"colour": "red"}), "holds no prepared data set", "'colour'", AGAIN),
    "a task unknown": (prepared({"task": "ranking"}), "its task is 'ranking'", "must be classification or regression"),
    "no rows": (prepared(train_inputs=torch.zeros(0, 3)), "train has no rows", "need at least one each"),
    "a target too few": (prepared(train_targets=torch.tensor([0, 1, 0])), "train has targets of shape (3,)", "4 rows"),
    "targets of two columns": (prepared(train_targets=torch.zeros(4, 2)), "targets of shape (4, 2)", "one for each"),
    "NaN": (prepared(train_inputs=torch.full((4, 3), torch.nan)), "train.inputs contain NaN", "finite"),
    "infinite": (
        prepared(train_inputs=torch.full((4, 3), -torch.inf)),
        "train.inputs contain NaN or infinity",
        "finite",
    ),
    "doubles": (prepared(train_inputs=torch.zeros(4, 3).double()), "are torch.float64 but must be torch.float32"),
    "classes as floats": (prepared(train_targets=torch.zeros(4)), "train.targets are torch.float32", "torch.int64"),
    "a label out of range": (prepared(train_targets=torch.tensor([0, 1, 2, 1])), "from 0 to 2 but must be from 0 to 1"),
    "a negative label": (prepared(train_targets=torch.tensor([0, -1, 1, 1])), "from -1 to 1 but must be from 0 to 1"),
    "amounts in classes": (prepared({"task": "regression"}), "2 outputs do not suit regression", "it needs 1"),
}


@pytest.mark.parametrize("wrong", PREPARED)
def test_bad_prepared_data_is_told_in_one_sentence(tmp_path, wrong):
    content, *said = PREPARED[wrong]
    path = tmp_path / "toy_split0.safetensors"
    if content is not None:
        path.write_bytes(content)
    message = refused(lambda: Prepared.load(path), path)
    assert unsaid(message, *said) == [], message


# ---- beyond the tables ------------------------------------------------------------------------------------------


def assert_sound_or_told(read, allowed=DataError) -> None:
    try:
        read()
    except allowed as error:
        assert "\n" not in str(error)


TABLE = f"{CHURN}\n" + f"{ROW}\n{ROW[:-1]}0\n" * 5
TAR = bare(*small_cifar(train=records(10).tobytes()))
FILES = {"churn": ("churn.csv", TABLE.encode()), "fashion_mnist": (IMAGES, SMALL), "cifar100": (cifar100.ARCHIVE, TAR)}


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=100)
@given(data=st.data())
def test_any_damage_is_harmless_or_told(tmp_path_factory, name, data):
    """Damage that a hash would find: the loader itself neither crashes nor hangs."""
    folder = tmp_path_factory.mktemp("raw")
    if name == "fashion_mnist":
        small_fashion(folder / name)
    (folder / name).mkdir(exist_ok=True)
    file, content = FILES[name]
    place = data.draw(st.integers(0, min(len(content), 3000) - 1))
    written = data.draw(st.binary(max_size=30) | st.text("0123456789,.\"'\n-einfa", max_size=30).map(str.encode))
    skipped = data.draw(st.integers(0, 600))
    damaged = content[:place] + written + content[place + skipped :]
    (folder / name / file).write_bytes(gzip.compress(damaged, 1, mtime=0) if name == "cifar100" else damaged)
    assert_sound_or_told(lambda: datasets.prepare(name, 0, folder))
