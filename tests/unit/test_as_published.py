"""The study's own definitions: by hand, and against what it published, from its own weights and data."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from edgepress import as_published
from edgepress.as_published import codebooks, evaluation, pruning
from edgepress.as_published.replication import PUBLISHED_ORDER, replicate

REPOSITORY = Path(__file__).parents[2]
MIRROR = Path(os.environ.get("EDGEPRESS_MIRROR", REPOSITORY.parent / "shared" / "datasets"))
WEIGHTS = MIRROR.parent / "study" / "weights"
PUBLISHED = REPOSITORY / "results" / "reference" / "published.csv"


def test_midrise_has_a_level_more_than_it_should_and_keeps_no_sign_of_zero():
    weights = torch.tensor([-1.0, -0.3, 0.0, 0.3, 1.0])
    assert as_published.compress({"net.0.weight": weights}, "midrise", 2)["net.0.weight"].tolist() == pytest.approx(
        [-0.75, -0.25, 0.25, 0.25, 1.25]  # Δ = .5; 1 rounds up, beyond the largest weight
    )


def test_the_smallest_weight_of_a_normal_codebook_moves_inward():
    """Minimum and maximum stand last, unsorted: a weight at or below the smallest level becomes the first one."""
    weights = torch.linspace(-1, 1, 101)
    state = {"net.0.weight": weights.reshape(1, -1), "net.0.bias": torch.zeros(1)}
    rounded = as_published.compress(state, "nearest_normal", 3)["net.0.weight"]
    assert rounded[0, 1] == -1
    assert rounded[0, 0] > -0.7


def test_weight_and_bias_share_a_codebook():
    state = {"net.0.weight": torch.tensor([[0.0, 1.0]]), "net.0.bias": torch.tensor([3.0])}
    rounded = as_published.compress(state, "nearest_uniform", 2)
    assert rounded["net.0.weight"].tolist() == [[0.0, 1.0]]
    assert rounded["net.0.bias"].tolist() == [3.0]
    assert as_published.compress(state, "nearest_uniform", 1)["net.0.weight"].tolist() == [[0.0, 0.0]]


def test_pruning_by_rank_removes_ties_together_and_one_at_least():
    weights = torch.tensor([0.1, -0.1, 0.5, 2.0])
    assert pruning.prune_by_rank(weights, 0.0).tolist() == pytest.approx([0, 0, 0.5, 2.0])
    assert pruning.prune_by_rank(weights, 0.3).tolist() == pytest.approx([0, 0, 0, 2.0])
    assert pruning.prune_by_rank(weights, 0.6).tolist() == [0, 0, 0, 0]  # rank 2 of 0 to 2 is within ⌈1.2⌉


def test_a_published_loss_is_a_mean_over_batches_of_16():
    losses = torch.cat([torch.zeros(16), torch.ones(4)]).double()
    assert evaluation.loss(losses) == pytest.approx(0.2)
    assert evaluation.loss(losses, torch.arange(20)) == pytest.approx(0.5)


def test_linspace_of_2020_is_todays_but_for_the_last_bit():
    old, new = codebooks.linspace(-0.7, 1.3, 256), torch.linspace(-0.7, 1.3, 256).numpy()
    assert np.abs(old - new).max() <= 2 * torch.finfo(torch.float32).eps * 1.3
    assert (old[0], old[-1]) == (new[0], new[-1])


def test_stochastic_needs_a_generator_and_unknown_methods_are_named():
    state = {"net.0.weight": torch.ones(1, 2), "net.0.bias": torch.zeros(1)}
    with pytest.raises(ValueError, match="needs a generator"):
        as_published.compress(state, "stochastic_uniform", 4)
    with pytest.raises(ValueError, match="no method 'nearest_kde'"):
        as_published.compress(state, "nearest_kde", 4, generator=np.random.default_rng(0))


@pytest.fixture(scope="module", params=["churn", "telescope", "california", "mv"])
def compared(request):
    if not WEIGHTS.is_dir():
        pytest.skip(f"the study's weights are not in {WEIGHTS}; EDGEPRESS_MIRROR names the folder beside them")
    metrics, _ = replicate(request.param, WEIGHTS, MIRROR, draws=1)
    published = pd.read_csv(PUBLISHED)
    published = published[(published.dataset == request.param) & (published.network != "demo")]
    keys = ["dataset", "network", "method", "level", "split"]
    both = published.merge(pd.DataFrame(metrics), on=keys, suffixes=("_published", ""))
    assert len(both) == len(published) == 484
    return both


def test_every_published_accuracy_is_met(compared):
    if "accuracy_published" in compared:  # else a regression
        told = compared.dropna(subset="accuracy_published")
        assert len(told) == len(compared)
        assert (told.accuracy - told.accuracy_published).abs().max() < 1e-9  # some were published in ten digits


def test_every_published_loss_is_met_but_for_four_cells_of_mv(compared):
    told = compared.dropna(subset="loss_published")
    tolerance = np.where((told.dataset == "mv") & told.method.str.contains("normal"), 5e-5, 1e-5)
    apart = told[(told[PUBLISHED_ORDER] / told.loss_published - 1).abs() > tolerance]
    known = {("fp32", "w32"), ("nearest_normal_prune20", "w16s20")} if told.dataset.iloc[0] == "mv" else set()
    assert set(zip(apart.method, apart.level, strict=True)) == known
    assert (apart.network == "dnn_complex").all() and len(apart) == 2 * len(known)
