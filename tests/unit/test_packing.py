import json

import numpy as np
import safetensors
import safetensors.numpy
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgepress import codebooks
from edgepress.encodings import Dense, Dithered, Quantized, Sparse
from edgepress.packing import Compressed
from edgepress.spec import AFTER_TRAINING, Spec

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


PACKED = small_network().to_bytes(["gptq"])


def assert_same(one, other):
    assert list(one) == list(other)
    for name, tensor in one.items():
        assert tensor.shape == other[name].shape and tensor.numpy().tobytes() == other[name].numpy().tobytes()


# ---- round trips ------------------------------------------------------------------------------------------------


def test_a_network_survives_bit_for_bit():
    back = Compressed.from_bytes(PACKED)
    assert_same(back.state_dict(), small_network().state_dict())
    assert back.to_bytes() == PACKED == small_network().to_bytes(["gptq"])


def test_a_file_says_what_made_it_and_is_as_large_whatever_that_is_called():
    chains = [[], ["gptq"], ["magnitude", "nearest_normal_channel"], ["stochastic_uniform_iqr_channel"]]
    files = [small_network().to_bytes(steps) for steps in chains]
    assert [list(Compressed.from_bytes(file).steps) for file in files] == chains and len(set(files)) == len(files)
    assert {len(file) for file in files} == {len(PACKED)}
    spec = Compressed.from_bytes(files[2]).spec
    assert spec == Spec("normal", "nearest", "channel", AFTER_TRAINING) and small_network().spec == Spec()
    assert len(small_network().to_bytes(["nearest_uniform"] * 9)) > len(PACKED)


def test_a_file_of_format_2_is_read_and_as_large():
    packed = small_network().to_bytes()
    about = json.loads(packed[8 : 8 + int.from_bytes(packed[:8], "little")])["__metadata__"]["edgepress"]
    _, crc32, layout = about.split(maxsplit=2)
    older = json.dumps({"format": 2, "crc32": int(crc32), "layout": json.loads(layout)}, separators=(",", ":"))
    (_, payload), *_ = safetensors.deserialize(PACKED)
    file = safetensors.numpy.save({"payload": np.frombuffer(payload["data"], np.uint8)}, {"edgepress": older})
    assert len(file) == len(PACKED)
    assert_same(Compressed.from_bytes(file).state_dict(), small_network().state_dict())


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
