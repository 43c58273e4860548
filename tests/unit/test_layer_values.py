"""Few values a layer, for NPUs."""

import pytest
import torch
from torch import nn

from edgepress import methods
from edgepress.codebooks import Table
from edgepress.encodings import Huffman
from edgepress.levels import Level
from edgepress.methods import layer_values
from edgepress.packing import Compressed
from edgepress.targets.integer import integer_layers

from .eight_bit import trained


def compressed(name, level):
    given = trained("resnet8")
    chain = [methods.create(step) for step in ("activations_mse", name)]
    generator = torch.Generator().manual_seed(0)
    network = given.network
    stored = methods.compress(chain, network, given.data.only("train", "val"), Level.parse(level), generator)
    return network, Compressed.from_bytes(stored.to_bytes())


@pytest.mark.parametrize("bits", [2.0, 2.55, 3.5])
def test_the_step_leaves_the_entropy_that_is_asked_for(bits):
    weights = torch.randn(64, 200, generator=torch.Generator().manual_seed(1))
    step = layer_values.entropy_step(weights, bits)
    found = layer_values.entropy((weights / step).round())
    assert bits - 0.02 < found <= bits


def test_the_entropy_of_known_codes():
    assert layer_values.entropy(torch.tensor([0, 0, 1, 2])) == pytest.approx(1.5)
    assert layer_values.entropy_step(torch.zeros(5), 3) == 1.0


@pytest.mark.parametrize("level", ["w2a8", "w3a8", "w4a8"])
def test_codes_take_no_more_bits_than_the_level_says(level):
    network, stored = compressed("entropy_step", level)
    bits = Level.parse(level).bits
    for name, layer in integer_layers(network, stored).items():
        assert isinstance(stored.tensors[f"{name}.weight"], Huffman)
        if layer.weight.numel() > 2000:
            assert bits - 1 < layer_values.entropy(layer.weight) <= bits - 0.3, name
        assert layer.steps.unique().numel() == 1


@pytest.mark.parametrize("level", ["w2a8", "w4a8", "w5a8"])
def test_kmeans_gives_a_layer_few_whole_numbers_and_channels_their_scales(level):
    network, stored = compressed("layer_kmeans", level)
    for name, layer in integer_layers(network, stored).items():
        assert layer.weight.unique().numel() <= 1 << Level.parse(level).bits
        assert isinstance(stored.tensors[f"{name}.weight"].coded.codebook, Table)
        assert layer.steps.unique().numel() > 1
        rebuilt = layer.weight * layer.steps.reshape(-1, *[1] * (layer.weight.dim() - 1))
        torch.testing.assert_close(rebuilt, stored.tensors[f"{name}.weight"].decode(), rtol=1e-6, atol=0)


def test_a_channel_of_zeros_stays_zeros():
    layer = nn.Linear(8, 3)
    layer.weight.data[1] = 0
    decoded = layer_values.on_kmeans(layer, 3).decode()
    assert torch.isfinite(decoded).all() and float(decoded[1].abs().max()) <= float(decoded.abs().max())


def test_levels_that_make_no_sense_are_skipped_with_the_reason():
    network = nn.Sequential(nn.Linear(4, 3))
    for name, bits, part in (("layer_kmeans", 6, "32 values"), ("entropy_step", 1, "entropy")):
        assert part in methods.create(name).skip(network, None, Level(bits=bits))
