import pytest
import torch
from torch import nn

from edgepress import codebooks, methods
from edgepress.codebooks import Symmetric, least_error_steps
from edgepress.encodings import PerChannel, Reader, read
from edgepress.levels import Level
from edgepress.methods.per_channel import rounded_per_channel


def weights(*shape):
    generator = torch.Generator().manual_seed(5)
    scale = torch.logspace(-2, 1, shape[0])
    return torch.randn(*shape, generator=generator) * scale.reshape(-1, *[1] * (len(shape) - 1))


def round_trip(encoding):
    parts = []
    layout = encoding.write(parts)
    reader = Reader(b"".join(parts))
    again = read(layout, encoding.shape, reader)
    assert reader.place == len(reader.data)
    return again


@pytest.mark.parametrize(
    "codebook", ["uniform", "uniform_iqr", "histogram", "midrise", "normal", "kde", "lloyd_max", "symmetric"]
)
@pytest.mark.parametrize("bits", [2, 4, 9])
def test_each_channel_is_rounded_as_if_it_were_alone(codebook, bits):
    tensor = weights(4, 3, 5)
    encoded = rounded_per_channel(tensor, codebook, bits)
    for channel, values in zip(tensor, encoded.decode(), strict=True):
        fitted = getattr(codebooks, codebook)(channel, bits).in_float32()
        assert torch.equal(values, fitted.decode(fitted.encode(channel)))
    assert torch.equal(round_trip(encoded).decode(), encoded.decode())


def test_a_channel_of_small_weights_keeps_them():
    tensor = weights(6, 40)
    whole = codebooks.uniform(tensor, 4)
    error = (whole.decode(whole.encode(tensor)) - tensor)[0].norm()
    assert (rounded_per_channel(tensor, "uniform", 4).decode() - tensor)[0].norm() < error / 100


def test_what_a_mask_keeps_stays_in_its_channel():
    tensor = weights(5, 12)
    encoded = rounded_per_channel(tensor, "uniform", 3)
    mask = torch.rand(5, 12, generator=torch.Generator().manual_seed(2)) < 0.4
    masked = encoded.masked(mask)
    assert torch.equal(masked.decode(), encoded.decode() * mask)
    assert torch.equal(round_trip(masked).decode(), masked.decode())


def test_codes_beyond_the_levels_of_a_channel_are_refused():
    encoded = rounded_per_channel(torch.tensor([[1.0, 2.0, 3.0], [1.0, 1.0, 1.0]]), "lloyd_max", 2)
    encoded.codes[-1] = 3
    with pytest.raises(ValueError, match="beyond the codebook"):
        round_trip(encoded)


def test_codebooks_and_codes_must_make_the_tensor():
    with pytest.raises(ValueError, match="do not make a tensor"):
        PerChannel((2, 3), [Symmetric(2, torch.ones(1))], torch.tensor([6]), torch.zeros(5, dtype=torch.uint8))


def test_symmetric_by_hand():
    codebook = Symmetric(2, torch.tensor([0.5]))
    assert codebook.levels.tolist() == [-1, -0.5, 0, 0.5]
    assert codebook.encode(torch.tensor([-3.0, -0.3, 0.2, 2.0])).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_the_step_leaves_no_more_error_than_any_other(bits):
    rows = weights(3, 400)

    def error(steps):
        half = 2 ** (bits - 1)
        levels = (rows / steps[:, None]).round().clamp(-half, half - 1)
        return (levels * steps[:, None] - rows).norm(dim=1)

    steps = least_error_steps(rows, bits)
    for factor in (0.5, 0.7, 0.8, 0.9, 1.1, 1.25, 1.5, 2.0):
        assert bool((error(steps) <= error(steps * factor) * 1.001).all())
    assert float(least_error_steps(torch.zeros(1, 4), bits)) == 0


def test_codebooks_are_fitted_to_what_a_mask_keeps():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 3))
    chain = [methods.create("magnitude"), methods.create("nearest_uniform_iqr_channel")]
    stored = methods.compress(chain, network, None, Level(bits=4, sparsity=0.8), torch.Generator())
    kept, weights = stored.tensors["0.weight"].mask, network[0].weight.detach()
    values = stored.tensors["0.weight"].decode()
    assert int(kept.sum()) == round(0.2 * 512) and not values[~kept].any()
    assert float((values - weights)[kept].norm() / weights[kept].norm()) < 0.2
    emptied = rounded_per_channel(weights, "uniform", 4, mask=torch.zeros(8, 64, dtype=torch.bool))
    assert emptied.shape == (8, 64)
