"""Bad packed files: each gives one sentence that says what is wrong, where, and what to do."""

import base64
import json
import pickle
import zlib

import numpy as np
import pytest
import safetensors.numpy
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edgepress import packing, tensor_files
from edgepress.packing import Compressed, PackedFileError

from .test_packing import NAME, PACKED

CURE = "remove it, and run the same command again"


def refused(data: bytes) -> str:
    """The message of the error: one line, that begins with the name of the file."""
    with pytest.raises(PackedFileError) as caught:
        Compressed.from_bytes(data, NAME).state_dict()
    message = str(caught.value)
    assert message.startswith(f"{NAME} ") and message.endswith("or name a packed file")
    assert "\n" not in message and len(message) < 500
    return message


def raw(payload=b"", about=""):
    return safetensors.numpy.save({"payload": np.frombuffer(payload, np.uint8)}, {"edgepress": about})


def container(layout, payload=b"", **changes):
    """A file whose checksum is right, whatever the layout says."""
    text = json.dumps(layout, separators=(",", ":"))
    about = {"format": packing.FORMAT, "crc32": zlib.crc32(payload, zlib.crc32(text.encode())), **changes}
    return raw(payload, f"{about['format']} {about['crc32']}  {text}")


def deflated(layout, more=b"") -> str:
    return base64.b85encode(zlib.compress(json.dumps(layout).encode()) + more).decode()


def header(text, payload=b""):
    return len(text).to_bytes(8, "little") + text.encode() + payload


# ---- damage: none is read ---------------------------------------------------------------------------------------


def test_every_flipped_bit_is_noticed():
    for bit in range(8 * len(PACKED)):
        damaged = bytearray(PACKED)
        damaged[bit // 8] ^= 1 << bit % 8
        refused(bytes(damaged))


def test_every_truncation_is_noticed():
    for length in range(len(PACKED)):
        refused(PACKED[:length])


def test_every_lost_or_repeated_byte_is_noticed():
    for place in range(len(PACKED)):
        refused(PACKED[:place] + PACKED[place + 1 :])
        refused(PACKED[:place] + PACKED[place : place + 1] + PACKED[place:])


@given(st.integers(0, len(PACKED) - 1), st.binary(min_size=1, max_size=40))
def test_every_overwritten_stretch_is_noticed(place, written):
    damaged = PACKED[:place] + written + PACKED[place + len(written) :]
    if damaged != PACKED:
        refused(damaged)


@given(st.binary(max_size=200))
def test_random_bytes_are_no_packed_file(data):
    refused(data)


# what is wrong: (the file, what the sentence says…)
DAMAGED = {
    "empty": (b"", "is not a packed network, or is damaged", "header too small", CURE),
    "a byte too many": (PACKED + b"\0", "or is damaged", "file not fully covered", CURE),
    "the same file twice": (PACKED + PACKED, "or is damaged", "file not fully covered", CURE),
    "a byte too few": (PACKED[:-1], "or is damaged", "file not fully covered", CURE),
    "text": (b"accuracy,loss\n0.5,1.2\n" * 9, "or is damaged", "header too large", CURE),
    "a pickle": (pickle.dumps({"weight": [0.5] * 99}), "or is damaged", "header too large", CURE),
    "all zero": (bytes(len(PACKED)), "or is damaged", "invalid JSON in header", CURE),
    "its header alone": (
        PACKED[: 8 + int.from_bytes(PACKED[:8], "little")],
        "or is damaged",
        "not fully covered",
        CURE,
    ),
    "a header of terabytes": (b"\0" * 6 + b"\1\0" + PACKED[8:], "or is damaged", "header too large", CURE),
    "another safetensors file": (
        safetensors.numpy.save({"weight": np.zeros(3)}),
        "holds plain tensors",
        "run `edgepress compress`",
    ),
    "a trained network": (
        tensor_files.to_bytes({"weight": torch.zeros(3)}),
        "holds plain tensors",
        "run `edgepress compress`",
    ),
    "no metadata": (safetensors.numpy.save({"payload": np.zeros(3, np.uint8)}), "of format 3", CURE),
    "metadata null": (
        header('{"__metadata__":null,"payload":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'),
        "of format 3",
        CURE,
    ),
    "a payload of terabytes": (
        header('{"payload":{"dtype":"U8","shape":[1000000000000],"data_offsets":[0,1000000000000]}}'),
        "or is damaged",
        CURE,
    ),
    "a second tensor": (
        safetensors.numpy.save({"payload": np.zeros(3, np.uint8), "b": np.zeros(3)}, {"edgepress": '{"format":2}'}),
        "holds plain tensors",
        "run `edgepress compress`",
    ),
    "an earlier format": (container([], format=packing.FORMAT - 1), "not a packed network of format 3"),
    "no checksum": (raw(bytes(4), '{"format":2,"layout":[["a",[1],["f32"]]]}'), "its checksum does not match", CURE),
    "a wrong checksum": (container([["a", [1], ["f32"]]], bytes(4), crc32=0), "its checksum does not match", CURE),
    "a header that is no JSON": (raw(about="3 1  {nope"), "or is damaged", "Expecting property name", CURE),
    "a header that is a list": (raw(about="[]"), "is not a packed network of format 3", CURE),
    "a header that is null": (raw(about="null"), "is not a packed network of format 3", CURE),
    "a header nested without end": (raw(about="3 1  " + "[" * 100_000), "or is damaged", "recursion", CURE),
}


@pytest.mark.parametrize("wrong", DAMAGED)
def test_a_damaged_file_is_told_in_one_sentence(wrong):
    data, *said = DAMAGED[wrong]
    message = refused(data)
    assert [words for words in said if words not in message] == [], message


# ---- files whose checksum fits: written wrong, or by someone else -----------------------------------------------


def nested(depth: int) -> list:
    encoding = ["f32"]
    for _ in range(depth):
        encoding = ["sparse", ["all"], encoding]
    return encoding


GRID = ["codes", "grid", 2, 2]
CODES = ["codes", "table", 2, 4]  # 16 bytes of levels
STREAM = zlib.compress(bytes([0, 1, 2, 3]), wbits=-15)  # four codes


def huffman(*layout):
    return [["a", [4], ["huffman", *layout]]]


# what is wrong: (the layout, the payload, what the sentence says…)
FORGED = {
    "no layout": (None, b"", "its layout is None, not a list"),
    "a layout that is a number": (3, b"", "its layout is 3, not a list"),
    "a layout that is text": ("abc", b"", "its layout cannot be read, Error -3 while decompressing"),
    "a layout in no base 85": ('"', b"", "its layout cannot be read, bad base85 character"),
    "a layout that is cut": (deflated([["a", [1], ["f32"]]])[:-5], bytes(4), "its layout cannot be read"),
    "a layout with more behind it": (
        deflated([], more=b"12345678"),
        b"",
        "its text does not inflate to one of at most",
    ),
    "a layout of gigabytes": (deflated("a" * (packing.MAX_LAYOUT + 1)), b"", "its text does not inflate to one of at"),
    "a layout that inflates to text": (deflated("abc"), b"", "its layout is 'abc', not a list"),
    "an entry that is null": ([None], b"", "its layout has None in place of a name"),
    "an entry without shape": ([["a"]], b"", "its layout has ['a'] in place of a name, a shape and an encoding"),
    "a name that is a number": ([[1, [1], ["f32"]]], bytes(4), "its layout has [1, [1], ['f32']] in place of a name"),
    "a name twice": ([["a", [1], ["f32"]], ["a", [1], ["f32"]]], bytes(8), "'a' occurs twice"),
    # shapes
    "terabytes": (
        [["a", [10**12], ["f32"]]],
        bytes(8),
        "'a' makes it 1,000,000,000,000 entries; at most 536,870",
    ),
    "terabytes of nothing": ([["a", [10**12], ["sparse", ["gaps", 1, 0], ["f32"]]]], b"", "'a' makes it 1,000,000,000"),
    "terabytes in a bitmap": (
        [["a", [10**12], ["sparse", ["bitmap"], ["f32"]]]],
        b"",
        "'a' makes it 1,000,000,000,000",
    ),
    "terabytes of noise": ([["a", [10**12], ["dithered", GRID]]], bytes(20), "'a' makes it 1,000,000,000,000 entries"),
    "terabytes of points": ([["a", [10**12], ["points", 2, 1, 1, 0]]], bytes(1), "'a' makes it 1,000,000,000,000"),
    "terabytes in many sides": ([["a", [10**4] * 3, ["f32"]]], bytes(8), "'a' makes it 1,000,000,000,000 entries"),
    "terabytes in many tensors": (
        [[f"{i}", [2**28], ["sparse", ["gaps", 1, 0], ["f32"]]] for i in range(9)],
        b"",
        "makes it 805,306,368 entries; at most 536,870,912",
    ),
    "a shape beyond 64 bits": ([["a", [10**30], ["f32"]]], bytes(8), "'a' makes it 1,000,000,000,000,000,000"),
    "a shape that is a number": ([["a", 2, ["f32"]]], bytes(8), "'a' cannot have the shape 2"),
    "a shape of text": ([["a", ["2"], ["f32"]]], bytes(8), "'a' cannot have the shape ['2']"),
    "a shape of fractions": ([["a", [1.5], ["f32"]]], bytes(8), "'a' cannot have the shape [1.5]"),
    "a shape of truths": ([["a", [True], ["f32"]]], bytes(4), "'a' cannot have the shape [True]"),
    "a negative shape": ([["a", [-1], ["f32"]]], bytes(8), "'a' cannot have the shape [-1]"),
    "a shape of two negatives": ([["a", [-1, -2], ["f32"]]], bytes(8), "'a' cannot have the shape [-1, -2]"),
    # encodings
    "an encoding unknown": ([["a", [2], ["zip"]]], b"", "'a': there is no encoding like ['zip']"),
    "an encoding that is an object": ([["a", [1], {"x": 1}]], bytes(4), "'a': there is no encoding like {'x': 1}"),
    "an encoding that is text": ([["a", [1], "f32"]], bytes(4), "'a': there is no encoding like f32"),
    "an encoding whose name is a list": ([["a", [1], [["f32"]]]], bytes(4), "'a' cannot be laid out like [['f32']]"),
    "nested without end": ([["a", [1], nested(900)]], bytes(4), "'a' cannot be laid out like ['sparse', ['all'], ["),
    "too few bytes": ([["a", [2], ["f32"]]], bytes(7), "'a': 8 bytes expected at byte 0, 7 found"),
    "too many bytes": ([["a", [2], ["f32"]]], bytes(9), "1 bytes are left over"),
    "a codebook unknown": ([["a", [2], ["codes", "kmeans", 2, 2]]], bytes(17), "'a': there is no codebook of kind"),
    "no bits": ([["a", [2], ["codes", "grid", 0, 2]]], bytes(16), "'a': 0 bits are not between 1 and 16"),
    "too many bits": ([["a", [2], ["codes", "grid", 17, 2]]], bytes(24), "'a': 17 bits are not between 1 and 16"),
    "bits beyond 64 bits": ([["a", [2], ["codes", "grid", 10**30, 2]]], bytes(24), "bits are not between 1 and 16"),
    "half a bit": ([["a", [2], ["codes", "grid", 2.5, 2]]], bytes(17), "'a' cannot be laid out like ['codes', 'grid'"),
    "bits that are text": ([["a", [2], ["codes", "grid", "2", 2]]], bytes(17), "'a' cannot be laid out like ['codes'"),
    "too many parameters": ([["a", [2], ["codes", "grid", 2, 3]]], bytes(25), "'a': a grid has 2 parameters, not 3"),
    "too few parameters": ([["a", [2], ["codes", "normal", 2, 1]]], bytes(9), "'a': a normal has 4 parameters, not 1"),
    "no parameters": ([["a", [2], ["codes", "grid", 2, 0]]], bytes(1), "'a': a grid has 2 parameters, not 0"),
    "negative parameters": ([["a", [2], ["codes", "grid", 2, -1]]], bytes(17), "'a': -8 bytes expected at byte 0"),
    "a table of no levels": ([["a", [0], ["codes", "table", 2, 0]]], b"", "'a': 0 values are not between 1 and 4"),
    "a code beyond the table": (
        [["a", [1], ["codes", "table", 2, 1]]],
        bytes(4) + b"\3",
        "'a': a code of 3 in a codebook",
    ),
    "levels of a form unknown": (
        [["a", [1, 2], ["channels", "symmetric", 2, 1, 1, "f8", 0]]],
        bytes(5),
        "no form 'f8'",
    ),
    "levels without form": ([["a", [1, 2], ["channels", "symmetric", 2, 1, 1, 0]]], bytes(5), "not enough values"),
    "too few factors": ([["a", [2, 1], ["scaled", ["f32"]]]], bytes(7), "'a': 8 bytes expected at byte 0, 7 found"),
    "factors of no channel": ([["a", [], ["scaled", ["f32"]]]], bytes(8), "'a': (1,) factors for the channels of"),
    "factors of nothing": ([["a", [1], ["scaled"]]], bytes(8), "'a': not enough values"),
    "8-bit steps without unit": (
        [["a", [2, 2], ["channels", "symmetric", 2, 2, 1, "e4m3", 0]]],
        bytes(3),
        "'a': 4 bytes expected at byte 0, 3 found",
    ),
    "a stream that is none": (huffman(16, 4, 2, 4, CODES), bytes(16) + b"\7abc", "'a': its codes cannot be inflated"),
    "a stream that is cut": (huffman(16, 3, 2, 4, CODES), bytes(16) + STREAM[:3], "'a': its codes do not inflate to 4"),
    "a stream of too many": (
        huffman(16, len(STREAM), 2, 3, CODES),
        bytes(16) + STREAM,
        "'a': its codes do not inflate to 3",
    ),
    "a stream of too few": (
        huffman(16, len(STREAM), 2, 5, CODES),
        bytes(16) + STREAM,
        "'a': its codes do not inflate to 5",
    ),
    "a stream of terabytes": (huffman(16, 4, 2, 10**12, CODES), bytes(20), "'a': there are no 1000000000000 codes"),
    "a stream of wide codes": (
        huffman(16, 4, 9, 4, CODES),
        bytes(20),
        "'a': there are no 4 codes of 9 bits",
    ),
    "a stream on float32": (huffman(16, len(STREAM), 2, 4, ["f32"]), bytes(16) + STREAM, "'a': 1 bytes of its codes"),
    "a stream in a stream": (
        huffman(16, len(STREAM), 2, 4, ["huffman", 0, 17, 2, 4, CODES]),
        bytes(16) + STREAM,
        "'a': its codes cannot be inflated",
    ),
    "codes beyond the table in a stream": (
        huffman(4, len(STREAM), 2, 4, ["codes", "table", 2, 1]),
        bytes(4) + STREAM,
        "'a': a code of 3 in a codebook",
    ),
    # grids of activations
    "no grids": ({"tensors": []}, b"", "the grids of its activations are None"),
    "grids and no tensors": ({"activations": {}}, b"", "its layout is None, not a list"),
    "a grid that is a number": ({"tensors": [], "activations": {"relu": 4}}, b"", "'relu' cannot be laid out like 4"),
    "a grid of too little": ({"tensors": [], "activations": {"relu": [4]}}, b"", "'relu' cannot be laid out like [4]"),
    "a grid of no bits": ({"tensors": [], "activations": {"relu": [0, 1.0, 0]}}, b"", "'relu': activations of 0 bits"),
    "a grid of no step": ({"tensors": [], "activations": {"relu": [4, 0.0, 0]}}, b"", "'relu': no grid of 4 bits"),
    "a zero point outside": ({"tensors": [], "activations": {"relu": [4, 1.0, 16]}}, b"", "'relu': no grid of 4 bits"),
    # noise, masks, points
    "noise of too few bytes": (
        [["a", [1], ["dithered", GRID]]],
        bytes(20),
        "'a': 1 bytes expected at byte 20, 0 found",
    ),
    "noise on nothing": ([["a", [1], ["dithered"]]], bytes(4), "'a': not enough values to unpack"),
    "noise on float32": ([["a", [1], ["dithered", ["f32"]]]], bytes(8), "'a': only codes of a grid can be dithered"),
    "noise on no grid": ([["a", [1], ["dithered", ["codes", "normal", 2, 4]]]], bytes(37), "'a': only codes of a grid"),
    "noise on a mask of float32": ([["a", [1], ["dithered", nested(1)]]], bytes(8), "'a': only codes of a grid can be"),
    "noise on noise": ([["a", [1], ["dithered", ["dithered", GRID]]]], bytes(25), "'a': only codes of a grid can be"),
    "a mask that points outside": (
        [["a", [2], ["sparse", ["gaps", 3, 1], ["f32"]]]],
        b"\7" + bytes(4),
        "'a': a mask points at entry 7 of 2",
    ),
    "a mask that points just outside": (
        [["a", [2], ["sparse", ["gaps", 2, 1], ["f32"]]]],
        b"\2" + bytes(4),
        "'a': a mask points at entry 2 of 2",
    ),
    "a mask whose sum points outside": (
        [["a", [5], ["sparse", ["gaps", 4, 2], ["f32"]]]],
        b"\x33" + bytes(8),
        "'a': a mask points at entry 7 of 5",
    ),
    "a mask of fewer places than none": (
        [["a", [4], ["sparse", ["gaps", 1, -1], ["f32"]]]],
        b"",
        "'a': a mask keeps -1 entries",
    ),
    "a mask unknown": ([["a", [2], ["sparse", ["runs"], ["f32"]]]], b"", "'a': there is no mask of kind 'runs'"),
    "no mask": ([["a", [2], ["sparse", [], ["f32"]]]], b"", "'a': not enough values to unpack"),
    "gaps too wide": ([["a", [2], ["sparse", ["gaps", 33, 1], ["f32"]]]], bytes(9), "'a': a width of 33 bits"),
    "a bitmap too short": ([["a", [20], ["sparse", ["bitmap"], ["f32"]]]], bytes(2), "'a': 3 bytes expected at byte 0"),
    "a bitmap that keeps more than there is": (
        [["a", [4], ["sparse", ["bitmap"], ["f32"]]]],
        b"\x0f" + bytes(12),
        "'a': 16 bytes expected at byte 1, 12 found",
    ),
    "points of 1 bit": ([["a", [1], ["points", 1, 1, 1, 0]]], b"\1" + bytes(5), "'a': "),
    "points of no rows": ([["a", [4], ["points", 2, 0, 1, 0]]], b"", "'a': rows of 0 entries do not make a tensor"),
    "points of more rows than bytes": ([["a", [4], ["points", 2, 10**12, 1, 0]]], b"\1", "bytes expected at byte 0"),
}


@pytest.mark.parametrize("wrong", FORGED)
def test_a_file_that_contradicts_itself_is_told_in_one_sentence(wrong):
    layout, payload, *said = FORGED[wrong]
    message = refused(container(layout, payload))
    assert "does not match its header" in message and CURE in message
    assert [words for words in said if words not in message] == [], message


TAGS = ["f32", "codes", "channels", "huffman", "dithered", "points", "sparse", "grid", "symmetric", "normal", "table"]
TAGS += ["e4m3", "all", "gaps", "bitmap"]
words = (
    st.sampled_from(TAGS) | st.integers(-2, 40) | st.integers() | st.floats() | st.none() | st.booleans() | st.text()
)
trees = st.recursive(words, lambda inner: st.lists(inner, max_size=5), max_leaves=12)
encodings = st.one_of(
    trees,
    st.tuples(st.just("codes"), words, words, words).map(list),
    st.tuples(st.just("sparse"), st.lists(words, max_size=3), st.just(["f32"])).map(list),
    st.tuples(st.just("points"), *[st.integers(-1, 9) | words] * 4).map(list),
    st.tuples(st.just("huffman"), *[st.integers(-1, 9) | words] * 4, st.just(GRID)).map(list),
)


@settings(max_examples=300)
@given(
    st.lists(st.tuples(st.text(max_size=2), st.lists(st.integers(0, 4), max_size=3), encodings).map(list)), st.binary()
)
@example([["a", [2], ["codes", "table", 1, 1]]], bytes(5))
def test_any_layout_is_sound_or_told(layout, payload):
    data = container(layout, payload)
    try:
        rebuilt = Compressed.from_bytes(data, NAME).state_dict()
    except PackedFileError:
        refused(data)
    else:
        assert [list(tensor.shape) for tensor in rebuilt.values()] == [shape for _, shape, _ in layout]


# ---- files on disk ----------------------------------------------------------------------------------------------


def test_the_file_on_disk_is_named_by_its_path(tmp_path):
    (tmp_path / NAME).write_bytes(PACKED[:-1])
    for path, said in ((tmp_path / NAME, "is damaged"), (tmp_path / "no", "No such file"), (tmp_path, "directory")):
        with pytest.raises(PackedFileError) as caught:
            Compressed.load(path)
        message = str(caught.value)
        assert message.startswith(f"{path} ") and said in message and "name a packed file" in message


def test_a_skipped_level_says_why():
    with pytest.raises(PackedFileError, match=f"{NAME} holds no network: the network has no hidden layer"):
        Compressed.from_bytes(packing.without_network("the network has no hidden layer"), NAME)
