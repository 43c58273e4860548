import pytest
import torch
from torch import nn

from edgepress import methods
from edgepress.encodings import Dense, Reader, Sparse, read
from edgepress.levels import Level
from edgepress.methods.n_of_m import in_groups, keep_two_of_four


def test_two_of_four_by_hand():
    scores = torch.tensor([[1.0, 4, 3, 2, 0, 0, 0, 9], [5, 5, 5, 5, 1, 2, 2, 2]])
    assert keep_two_of_four(scores).int().tolist() == [[0, 1, 1, 0, 0, 0, 1, 1], [0, 0, 1, 1, 0, 0, 1, 1]]


def test_the_groups_of_a_convolution_run_along_the_row_of_an_output():
    network = nn.Sequential(nn.Conv2d(4, 1, (1, 2)), nn.Flatten(), nn.Linear(1, 1))
    network[0].weight.data = torch.tensor([1.0, 8, 7, 2, 3, 6, 5, 4]).reshape(1, 4, 1, 2)
    state = methods.create("magnitude_2_4").compress(network, None, Level(sparsity=0.5), torch.Generator()).state_dict()
    assert state["0.weight"].flatten().tolist() == [0, 8, 7, 0, 0, 6, 5, 0]


def test_layers_whose_rows_cannot_be_divided_stay_dense():
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(8, 2))
    assert in_groups(network) == ["1.weight"]


@pytest.mark.parametrize("name", ["magnitude_2_4", "obs_2_4"])
def test_other_shares_and_other_networks_are_skipped_with_a_reason(name):
    method = methods.create(name)
    fits, does_not = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)), nn.Sequential(nn.Linear(3, 3), nn.Linear(4, 2))
    assert method.skip(fits, None, Level(sparsity=0.5)) is None
    assert "50 %" in method.skip(fits, None, Level(sparsity=0.6))
    assert "multiple of four" in method.skip(does_not, None, Level(sparsity=0.5))


@pytest.mark.parametrize("kept, size", [(1, 50), (2, 75), (3, 50)])
def test_patterns_of_groups_take_the_bits_of_their_number(kept, size):
    scores = torch.rand(200, 4, generator=torch.Generator().manual_seed(1))
    mask = (scores.argsort(dim=1) < kept).reshape(20, 40)
    parts = []
    layout = Sparse(mask, Dense(torch.ones(200 * kept))).write(parts)
    assert layout[1] == ["nm", kept] and len(parts[0]) == size  # a bitmap takes 100 bytes
    back = read(layout, (20, 40), Reader(b"".join(parts)))
    assert torch.equal(back.mask, mask)


def test_patterns_by_hand():
    mask = torch.tensor([True, True, False, False, False, False, True, True])
    parts = []
    layout = Sparse(mask.repeat(9), Dense(torch.ones(36))).write(parts)
    # The first of the six pairs and the last: 0 and 5, three bits each, the first one lowest.
    assert layout[1] == ["nm", 2] and parts[0][:3] == (0b101000 * 0b1000001000001000001).to_bytes(3, "little")


@pytest.mark.parametrize(
    "form, shape, data",
    [
        (["nm", 2], (4,), b"\x06"),
        (["nm", 2], (6,), b"\x00"),
        (["nm", 4], (4,), b"\x00"),
        (["nm", 0], (4,), b""),
        (["nm", 2], (8,), b""),
    ],
    ids=["no such pattern", "no groups of four", "all", "none", "too short"],
)
def test_what_is_no_pattern_is_refused(form, shape, data):
    with pytest.raises(ValueError):
        read(["sparse", form, ["f32"]], shape, Reader(data + bytes(16)) if data else Reader(b""))
