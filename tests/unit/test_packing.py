import json
import zlib

import numpy as np
import pytest
import safetensors.numpy
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgepress import codebooks, packing
from edgepress.encodings import Dense, Dithered, Quantized, Sparse
from edgepress.packing import Compressed, PackedFileError

NAME = "w4.safetensors"


def quantized(weights, bits):
    codebook = codebooks.uniform(weights, bits)
    return Quantized(codebook.encode(weights), codebook)


def small_network():
    values = torch.randn(40, generator=torch.Generator().manual_seed(1))
    mask = torch.tensor([True, False, False, True, False, False])
    few = torch.arange(300) % 100 == 7
    return Compressed(
        {
            "0.weight": quantized(values[:12].reshape(3, 4), 3),
            "0.bias": Dense(values[12:15]),
            "1.weight": Sparse(mask, Dense(values[15:17])),
            "2.weight": Sparse(few, quantized(values[17:20], 9)),
            "3.weight": Dithered(quantized(values[20:26], 3), 2**31 + 5),
            "4.weight": Dithered(Sparse(mask, quantized(values[26:28], 2)), 7),
        }
    )


PACKED = small_network().to_bytes()


def raw(payload=b"", about=""):
    return safetensors.numpy.save({"payload": np.frombuffer(payload, np.uint8)}, {"edgepress": about})


def container(layout, payload=b"", **changes):
    """A file whose checksum is right, whatever the layout says."""
    text = json.dumps(layout, separators=(",", ":"))
    about = {"format": packing.FORMAT, "crc32": zlib.crc32(payload, zlib.crc32(text.encode())), "layout": layout}
    return raw(payload, json.dumps(about | changes))


def header(text, payload=b""):
    return len(text).to_bytes(8, "little") + text.encode() + payload


def assert_rejected(data):
    with pytest.raises(PackedFileError) as caught:
        Compressed.from_bytes(data, NAME).state_dict()
    message = str(caught.value)
    assert NAME in message and "\n" not in message


def assert_same(one, other):
    assert list(one) == list(other)
    for name, tensor in one.items():
        assert tensor.shape == other[name].shape and tensor.numpy().tobytes() == other[name].numpy().tobytes()


# ---- round trips ------------------------------------------------------------------------------------------------


def test_a_network_survives_bit_for_bit():
    back = Compressed.from_bytes(PACKED)
    assert_same(back.state_dict(), small_network().state_dict())
    assert back.to_bytes() == PACKED == small_network().to_bytes()


def test_a_file_on_disk_is_read(tmp_path):
    path = tmp_path / NAME
    path.write_bytes(PACKED)
    assert_same(Compressed.load(path).state_dict(), small_network().state_dict())


@given(st.dictionaries(st.text(max_size=8), st.lists(st.integers(0, 3), max_size=3), max_size=5), st.integers(1, 16))
def test_any_names_and_shapes_survive(shapes, bits):
    tensors = {}
    for name, shape in shapes.items():
        codes = torch.zeros(shape, dtype=torch.uint8 if bits <= 8 else torch.int32)
        tensors[name] = Quantized(codes, codebooks.uniform(torch.tensor([0.5, 1.0]), bits))
    assert_same(Compressed.from_bytes(Compressed(tensors).to_bytes()).state_dict(), Compressed(tensors).state_dict())


def test_size_is_the_payload_by_hand_and_a_small_header():
    big = torch.randn(1000, generator=torch.Generator().manual_seed(2))
    packed = Compressed({"weight": quantized(big, 4), "bias": Dense(torch.zeros(10))}).to_bytes()
    payload = 16 + 500 + 40  # two float64 of the grid, 4-bit codes, float32
    assert payload < len(packed) < payload + 300
    assert len(safetensors.numpy.load(packed)["payload"]) == payload


def test_a_packed_file_is_a_safetensors_file_of_one_tensor():
    assert list(safetensors.numpy.load(PACKED)) == ["payload"]


# ---- damage -----------------------------------------------------------------------------------------------------


def test_every_flipped_bit_is_noticed():
    for bit in range(8 * len(PACKED)):
        damaged = bytearray(PACKED)
        damaged[bit // 8] ^= 1 << bit % 8
        assert_rejected(bytes(damaged))


def test_every_truncation_is_noticed():
    for length in range(len(PACKED)):
        assert_rejected(PACKED[:length])


def test_every_lost_or_repeated_byte_is_noticed():
    for place in range(len(PACKED)):
        assert_rejected(PACKED[:place] + PACKED[place + 1 :])
        assert_rejected(PACKED[:place] + PACKED[place : place + 1] + PACKED[place:])


@given(st.integers(0, len(PACKED) - 1), st.binary(min_size=1, max_size=40))
def test_every_overwritten_stretch_is_noticed(place, written):
    damaged = PACKED[:place] + written + PACKED[place + len(written) :]
    if damaged != PACKED:
        assert_rejected(damaged)


@given(st.binary(max_size=200))
def test_random_bytes_are_no_packed_file(data):
    assert_rejected(data)


DAMAGE = {
    "empty file": b"",
    "trailing byte": PACKED + b"\0",
    "trailing bytes": PACKED + PACKED,
    "text": b"accuracy,loss\n0.5,1.2\n" * 9,
    "all zero": bytes(len(PACKED)),
    "header alone": PACKED[: 8 + int.from_bytes(PACKED[:8], "little")],
    "another safetensors file": safetensors.numpy.save({"weight": np.zeros(3)}),
    "a payload and no metadata": safetensors.numpy.save({"payload": np.zeros(3, np.uint8)}),
    "a payload and a second tensor": safetensors.numpy.save(
        {"payload": np.zeros(3, np.uint8), "more": np.zeros(3, np.uint8)}, {"edgepress": '{"format":1}'}
    ),
    "another version of the format": container([], format=packing.FORMAT + 1),
    "no checksum": raw(bytes(4), '{"format":1,"layout":[["a",[1],["f32"]]]}'),
    "wrong checksum": container([["a", [1], ["f32"]]], bytes(4), crc32=0),
    "wrong payload": container([["a", [1], ["f32"]]], bytes(4)).replace(bytes(4), b"\0\0\1\0"),
    "a skipped level": packing.without_network("the network has no hidden layer"),
}
# Files whose checksum fits: written wrong, or by someone else.
FORGED = {
    "header that is no JSON": raw(about="{nope"),
    "header that is a list": raw(about="[]"),
    "header that is null": raw(about="null"),
    "layout null": container(None),
    "layout a number": container(3),
    "layout a text": container("abc"),
    "entry without shape": container([["a"]]),
    "entry that is null": container([None]),
    "unknown encoding": container([["a", [2], ["zip"]]]),
    "encoding that is an object": container([["a", [1], {"x": 1}]], bytes(4)),
    "encoding that is a text": container([["a", [1], "f32"]], bytes(4)),
    "payload too short": container([["a", [2], ["f32"]]], bytes(7)),
    "payload too long": container([["a", [2], ["f32"]]], bytes(9)),
    "shape too large": container([["a", [10**15], ["f32"]]], bytes(8)),
    "shape beyond 64 bits": container([["a", [10**30], ["f32"]]], bytes(8)),
    "shape of text": container([["a", ["2"], ["f32"]]], bytes(8)),
    "shape of fractions": container([["a", [1.5], ["f32"]]], bytes(8)),
    "negative shape": container([["a", [-1], ["f32"]]], bytes(8)),
    "shape of two negatives": container([["a", [-1, -2], ["f32"]]], bytes(8)),
    "unknown codebook": container([["a", [2], ["codes", "kmeans", 2, 2]]], bytes(17)),
    "0 bits": container([["a", [2], ["codes", "grid", 0, 2]]], bytes(16)),
    "17 bits": container([["a", [2], ["codes", "grid", 17, 2]]], bytes(24)),
    "bits a fraction": container([["a", [2], ["codes", "grid", 2.0, 2]]], bytes(17)),
    "codebook with too many parameters": container([["a", [2], ["codes", "grid", 2, 3]]], bytes(25)),
    "codebook with too few parameters": container([["a", [2], ["codes", "normal", 2, 1]]], bytes(9)),
    "codebook without parameters": container([["a", [2], ["codes", "grid", 2, 0]]], bytes(1)),
    "noise of too few bytes": container([["a", [1], ["dithered", ["codes", "grid", 2, 2]]]], bytes(20)),
    "noise on nothing": container([["a", [1], ["dithered"]]], bytes(4)),
    "noise on float32": container([["a", [1], ["dithered", ["f32"]]]], bytes(8)),
    "noise on no grid": container([["a", [1], ["dithered", ["codes", "normal", 2, 4]]]], bytes(37)),
    "noise on what a mask keeps of float32": container(
        [["a", [1], ["dithered", ["sparse", ["all"], ["f32"]]]]], bytes(8)
    ),
    "noise on noise": container([["a", [1], ["dithered", ["dithered", ["codes", "grid", 2, 2]]]]], bytes(25)),
    "mask that points outside": container([["a", [2], ["sparse", ["gaps", 3, 1], ["f32"]]]], b"\7" + bytes(4)),
    "mask that points just outside": container([["a", [2], ["sparse", ["gaps", 2, 1], ["f32"]]]], b"\2" + bytes(4)),
    "mask whose sum points outside": container([["a", [5], ["sparse", ["gaps", 4, 2], ["f32"]]]], b"\x33" + bytes(8)),
    "mask of fewer places than none": container([["a", [4], ["sparse", ["gaps", 1, -1], ["f32"]]]]),
    "mask of an unknown kind": container([["a", [2], ["sparse", ["runs"], ["f32"]]]]),
    "mask of no kind": container([["a", [2], ["sparse", [], ["f32"]]]]),
    "gaps too wide": container([["a", [2], ["sparse", ["gaps", 33, 1], ["f32"]]]], bytes(9)),
    "bitmap too short": container([["a", [20], ["sparse", ["bitmap"], ["f32"]]]], bytes(2)),
    "bitmap and too few kept": container([["a", [4], ["sparse", ["bitmap"], ["f32"]]]], b"\x0f" + bytes(12)),
    "bitmap larger than memory": container([["a", [10**15], ["sparse", ["bitmap"], ["f32"]]]]),
    "mask larger than memory": container([["a", [10**15], ["sparse", ["gaps", 1, 0], ["f32"]]]]),
    "header nested without end": raw(about="[" * 100_000),
    "a name twice": container([["a", [1], ["f32"]], ["a", [1], ["f32"]]], bytes(8)),
    "metadata null": header('{"__metadata__":null,"payload":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_named(kind):
    assert_rejected(DAMAGE[kind])


@pytest.mark.parametrize("kind", FORGED)
def test_a_file_that_contradicts_itself_is_named(kind):
    assert_rejected(FORGED[kind])


def test_the_file_on_disk_is_named_by_its_path(tmp_path):
    path = tmp_path / NAME
    path.write_bytes(PACKED[:-1])
    with pytest.raises(PackedFileError) as caught:
        Compressed.load(path)
    assert str(path) in str(caught.value)


def test_a_skipped_level_says_why():
    with pytest.raises(PackedFileError, match="the network has no hidden layer"):
        Compressed.from_bytes(packing.without_network("the network has no hidden layer"), NAME)
