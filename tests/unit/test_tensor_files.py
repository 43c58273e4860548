"""Every flipped bit of a trained network or of prepared data is found."""

import pytest
import safetensors
import safetensors.numpy
import safetensors.torch
import torch

from edgepress import tensor_files
from edgepress.datasets import SPLITS, Prepared
from edgepress.files import FileError

WEIGHTS = {"0.weight": torch.arange(6.0).reshape(2, 3), "0.bias": torch.tensor([0.5, -0.5]), "scale": torch.tensor(2.0)}
NETWORK = tensor_files.to_bytes(WEIGHTS)
DATA = Prepared(
    "toy",
    "classification",
    2,
    {split: torch.tensor([[1.0, 2.0], [3.0, 4.0]]) for split in SPLITS},
    {split: torch.tensor([0, 1]) for split in SPLITS},
)


@pytest.fixture(params=["network", "data"])
def file(request, tmp_path):
    """A small file of each kind, and how it is read."""
    path = tmp_path / "file.safetensors"
    if request.param == "network":
        path.write_bytes(NETWORK)
        return path, tensor_files.load
    DATA.save(path)
    return path, Prepared.load


def assert_refused(path, read):
    with pytest.raises(FileError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"{path} ") and "\n" not in message
    assert ("run the same command again" if path.exists() else "creates it, if it is a file of a run") in message


def test_every_flipped_bit_is_found(file):
    path, read = file
    sound = path.read_bytes()
    read(path)
    for bit in range(8 * len(sound)):
        damaged = bytearray(sound)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        assert_refused(path, read)


def test_every_truncation_is_found(file):
    path, read = file
    sound = path.read_bytes()
    for length in range(len(sound)):
        path.write_bytes(sound[:length])
        assert_refused(path, read)


def test_tensors_that_changed_places_are_found(tmp_path):
    path = tmp_path / "file.safetensors"
    path.write_bytes(NETWORK.replace(b"0.weight", b"1.weight"))
    assert_refused(path, tensor_files.load)


def test_a_file_without_a_checksum_is_refused(tmp_path):
    path = tmp_path / "file.safetensors"
    for metadata in (None, {"edgepress": "{}"}, {"edgepress": "[1]"}, {"edgepress": "{"}, {"other": "1"}):
        path.write_bytes(safetensors.torch.save(WEIGHTS, metadata))
        with pytest.raises(FileError, match="has no checksum"):
            tensor_files.load(path)
    assert_refused(tmp_path / "nowhere", tensor_files.load)
    assert_refused(tmp_path, tensor_files.load)


def test_any_reader_of_safetensors_reads_it(tmp_path):
    arrays = safetensors.numpy.load(NETWORK)
    assert {name: array.tolist() for name, array in arrays.items()} == {n: t.tolist() for n, t in WEIGHTS.items()}
    assert len(NETWORK) - len(safetensors.torch.save(WEIGHTS)) <= 64  # what the checksum costs


def test_what_is_said_about_the_tensors_comes_back(tmp_path):
    path = tmp_path / "file.safetensors"
    path.write_bytes(tensor_files.to_bytes({"a": torch.zeros(2, 3).T, "b": torch.zeros(0)}, {"name": "größe"}))
    tensors, about = tensor_files.load(path)
    assert about == {"name": "größe"}
    assert tensors["a"].shape == (3, 2) and tensors["b"].shape == (0,)
    assert list(tensor_files.load_foreign(path)) == ["a", "b"]
