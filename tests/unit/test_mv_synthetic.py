import os
from pathlib import Path

import numpy as np
import pytest
import torch

from edgepress.datasets import mv_synthetic

MIRROR = Path(os.environ.get("EDGEPRESS_MIRROR", Path(__file__).parents[3] / "shared" / "datasets"))


def row(x1, x4=-5.0, x6=0.0, x7=0, x8=1):
    return [x1, -12.0, 0, x4, 0.0, x6, x7, x8, 300.0, 1100]


@pytest.mark.parametrize(
    "inputs, expected",
    [
        (row(4.0), 2.0),  # X1/2 always
        (row(-3.0), -1.5),
        (row(4.0, x6=-3.0, x8=0), 1.0),  # X6 + X1 where X8 = 0
        (row(4.0, x6=-3.0, x8=1), 2.0),
        (row(4.0, x6=9.0, x8=0), 2.0),  # the smaller counts
        (row(5.0, x4=2.5, x7=1), 1.0),  # 3 − X1/X4 where X7 = 1
        (row(5.0, x4=2.5, x7=0), 2.5),
        (row(-4.0, x4=-0.5, x7=1), -5.0),
        (row(4.9, x4=-2.0), 10 - 2 * 4.9),  # 10 − 2·X1 where −2 ≤ X4 ≤ 2
        (row(4.5, x4=2.0), 1.0),
        (row(4.5, x4=2.01), 2.25),
        (row(4.9, x4=-2.01), 2.45),
        (row(4.8, x4=1.6, x6=-9.0, x7=1, x8=0), -4.2),  # 2.4, −4.2, 0, .4
        (row(4.8, x4=1.6, x6=9.0, x7=1, x8=0), 0.0),
    ],
)
def test_target_clause_by_clause(inputs, expected):
    assert mv_synthetic.target(np.array([inputs])) == pytest.approx([expected])


def test_targets_of_many_rows_are_those_of_each():
    rows = mv_synthetic.generate(50, np.random.default_rng(3))
    assert np.array_equal(mv_synthetic.target(rows), np.concatenate([mv_synthetic.target(row[None]) for row in rows]))


@pytest.fixture(scope="module")
def generated():
    return mv_synthetic.generate(50_000, np.random.default_rng(1))


def test_inputs_are_dependent_as_defined(generated):
    x1, x2, x3, x4, x5, x6, x7, x8, x9, x10 = generated.T
    assert generated.shape == (50_000, 10)
    bounds = [(x1, -5, 5), (x2, -15, -10), (x5, -1, 1), (x9, 100, 500), (x10, 1000, 1200)]
    for column, low, high in bounds:
        assert low <= column.min() < low + (high - low) / 100 and high - (high - low) / 100 < column.max() <= high
        assert column.mean() == pytest.approx((low + high) / 2, abs=(high - low) / 100)
    assert set(x10) == set(range(1000, 1201))
    from_x2 = x4 == x2 / 2
    assert from_x2.mean() == pytest.approx(0.7, abs=0.01)
    assert np.array_equal(x4[~from_x2], x1[~from_x2] / 2)
    assert np.array_equal(x8, x5 >= 0.5)
    factor = x6 / x4
    assert factor.min() >= 0 and factor.max() <= 5 and factor.mean() == pytest.approx(2.5, abs=0.03)
    assert set(x7) == {0, 1} and x7.mean() == pytest.approx(0.3, abs=0.01)
    for positive, shares in ((False, [0.68, 0.32, 0]), (True, [0.52, 0.24, 0.24])):
        drawn = x3[(x1 > 0) == positive]
        assert [(drawn == value).mean() for value in range(3)] == pytest.approx(shares, abs=0.01)


def test_the_data_set_is_the_same_every_time_whatever_the_split():
    one, again, other = (mv_synthetic.prepare(MIRROR, seed) for seed in (0, 0, 1))
    assert torch.equal(one.inputs["train"], again.inputs["train"])
    assert not torch.equal(one.targets["test"], other.targets["test"])
    everything = [torch.cat(list(data.targets.values())).sort().values for data in (one, other)]
    assert torch.equal(*everything)
    assert [len(one.targets[split]) for split in ("train", "val", "test")] == [24461, 8153, 8154]
    assert float(one.inputs["train"].min()) == 0 and float(one.inputs["train"].max()) == 1


@pytest.mark.skipif(not (MIRROR / "mv.dat").is_file(), reason="no mv.dat; EDGEPRESS_MIRROR names the folder it is in")
def test_the_published_file_has_these_targets():
    published = np.loadtxt(MIRROR / "mv.dat", delimiter=",", comments="@")
    assert published.shape == (mv_synthetic.ROWS, 11)
    assert np.abs(mv_synthetic.target(published[:, :10]) - published[:, 10]).max() < 1e-3
