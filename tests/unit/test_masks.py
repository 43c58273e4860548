"""Masks in attention: values that stand for nothing decide no grid, and stay masks when the rest is quantized."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from edgepress.activations import ActivationGrid
from edgepress.datasets import Prepared
from edgepress.evaluation import evaluate
from edgepress.levels import Level
from edgepress.methods import activations, compress, create
from edgepress.packing import Compressed
from edgepress.sweep import Bench, Trained, generator_for
from edgepress.targets.integer import IntegerNetwork, NoIntegerFormError
from edgepress.training import Training, train

LOWEST = torch.finfo(torch.float32).min
CAUSAL = torch.ones(8, 8).tril().bool()
METHODS = ["activations_minmax", "activations_percentile", "activations_mse"]


class Attention(nn.Module):
    """One head over 8 tokens of 6 numbers; ``masked`` masks its scores."""

    def __init__(self, masked):
        super().__init__()
        self.q, self.k, self.v, self.head = nn.Linear(6, 4), nn.Linear(6, 4), nn.Linear(6, 4), nn.Linear(4, 3)
        self.masked = masked

    def forward(self, x):
        x = x.reshape(-1, 8, 6)
        scores = self.q(x) @ self.k(x).transpose(1, 2)
        return self.head((self.masked(scores).softmax(-1) @ self.v(x)).relu().mean(1))


class Fused(Attention):
    def forward(self, x):
        x = x.reshape(-1, 8, 6)
        seen = F.scaled_dot_product_attention(self.q(x), self.k(x), self.v(x), attn_mask=self.masked(None), scale=1.0)
        return self.head(seen.relu().mean(1))


def minus_infinity():
    return torch.zeros(8, 8).masked_fill(~CAUSAL, -math.inf)


SAME = {  # ways to write the same network
    **{f"filled with {c}": lambda s, c=c: s.masked_fill(~CAUSAL, c) for c in (-math.inf, -1e9, -65504.0, LOWEST)},
    **{f"added {c}": lambda s, c=c: s + ~CAUSAL * c for c in (-1e9, -65504.0, -1e4, -1e3, LOWEST)},
    "added -inf": lambda s: s + minus_infinity(),
    "by keywords": lambda s: s.masked_fill(mask=~CAUSAL, value=-1e4),
    "where": lambda s: torch.where(CAUSAL, s, -math.inf),
    "where, a tensor": lambda s: torch.where(~CAUSAL, torch.tensor(-1e9), s),
    "where, a method": lambda s: s.where(CAUSAL, torch.tensor(LOWEST)),
    "multiplied": lambda s: s * CAUSAL - 1e9 * (1 - CAUSAL.float()),
    "two masks": lambda s: s + ~CAUSAL * -1e9 + ~CAUSAL * -1e9,
    "a mask that is computed": lambda s: s + torch.zeros_like(s).masked_fill(~CAUSAL, -math.inf),
    "negated": lambda s: -((-s).masked_fill(~CAUSAL, 1e9)),
    "scaled afterwards": lambda s: (0.5 * s).masked_fill(~CAUSAL, -1e9) * 2,
}


@pytest.fixture(scope="module")
def data():
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(3, (480,), generator=generator)
    inputs = 1.5 * torch.randn(3, 48, generator=generator)[targets] + 1.5 * torch.randn(480, 48, generator=generator)
    parts = dict(zip(("train", "val", "test"), (slice(0, 240), slice(240, 360), slice(360, 480)), strict=True))
    return Prepared(
        "toy", "classification", 3, {s: inputs[r] for s, r in parts.items()}, {s: targets[r] for s, r in parts.items()}
    )


@pytest.fixture(scope="module")
def trained(data):
    torch.manual_seed(0)
    network = Attention(SAME["filled with -inf"])
    train(network, data, Training(lr=0.02, batch_size=40, max_epochs=8, patience=8), seed=0)
    return network.eval()


def like(network, masked, kind=Attention):
    made = kind(masked)
    made.load_state_dict(network.state_dict())
    return made.eval()


def quantized(network, data, method, bits=8):
    stored = create(method).compress(network, data, Level(act_bits=bits), generator_for(0))
    return Compressed.from_bytes(stored.to_bytes())


@pytest.mark.parametrize("method", METHODS)
def test_masks_cost_nothing_however_they_are_written(trained, data, method):
    before = evaluate(trained, data, "test")["loss"]
    networks = {name: like(trained, masked) for name, masked in SAME.items()}
    networks["fused"] = like(trained, lambda _: CAUSAL, Fused)
    networks["fused, added"] = like(trained, lambda _: minus_infinity(), Fused)
    for name, network in networks.items():
        assert evaluate(network, data, "test")["loss"] == pytest.approx(before, rel=1e-5), name
        rebuilt = quantized(network, data, method).rebuild(network)
        assert evaluate(rebuilt, data, "test")["loss"] == pytest.approx(before, rel=0.01), name


@torch.no_grad()
def test_nothing_masked_is_seen(trained, data):
    """The first token sees itself alone: what the others are must not reach it."""
    for name in ("filled with -inf", "added -10000.0"):
        network = like(trained, SAME[name])
        rebuilt = quantized(network, data, "activations_minmax").rebuild(network)
        softmax = next(node for node in rebuilt.graph.nodes if node.target == "softmax")
        rebuilt.graph.output_node().args = (softmax,)
        rebuilt.recompile()
        shown = rebuilt(data.inputs["test"])
        assert bool((shown[:, ~CAUSAL] == 0).all()), name


def test_scores_lie_on_one_grid_before_and_after_the_mask(trained, data):
    grids = quantized(trained, data, "activations_mse").activations
    masked, scores = grids["masked_fill"], grids["matmul"]
    assert (masked.step, masked.zero_point, scores.masked_from) == (scores.step, scores.zero_point, None)
    assert masked.quantize(torch.tensor([-math.inf, 0.0, 1e6])).tolist()[:2] == [-math.inf, 0]
    assert {name for name, grid in grids.items() if grid.masked_from} == {"masked_fill"}


def test_a_place_that_calibration_never_masked_is_masked_all_the_same(trained, data):
    network = like(trained, lambda s: s.masked_fill(s > 1e6, -1e9))
    grid = quantized(network, data, "activations_mse").activations["masked_fill"]
    assert float(grid.quantize(torch.tensor(-1e9))) == -1e9


def test_which_values_are_masks():
    bulk = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    for mask in (-math.inf, -1e9, LOWEST, -65504.0, -1e4, -1e3, 1e9, math.inf):
        found = activations.masked_from(torch.cat([bulk, bulk + mask]))
        assert float(bulk.abs().max()) < found < min(abs(mask), 1e300), mask
    assert activations.masked_from(torch.cat([bulk, bulk - 1e9, bulk - 2e9])) < 1e9
    assert activations.masked_from(torch.full((3,), -math.inf)) is not None


def test_large_values_are_no_masks():
    generator = torch.Generator().manual_seed(0)
    bulk = torch.randn(1000, generator=generator)
    for values in (
        torch.cat([bulk, torch.tensor([-30.0, 40.0])]),  # outliers
        torch.cat([bulk, -100 * torch.rand(500, generator=generator) - 100]),  # a channel of larger values
        torch.tensor([0.0, 600_000.0]),  # a gate
        (3 * bulk).exp(),
        torch.zeros(5),
    ):
        assert activations.masked_from(values) is None
    assert activations.masked_from(torch.cat([bulk, torch.tensor([-1e4])]), finite=False) is None


def test_what_is_not_a_number_is_a_failure_with_a_sentence(trained, data):
    network = like(trained, lambda s: (s - s.amax()).masked_fill(~CAUSAL, -math.inf) * 0)
    bench = Bench(Trained("toy", 0, network, data), ["test"], torch.device("cpu"))
    (result,) = bench.sweep("activations_mse", ["a8"], 1)
    (row,) = result.rows
    assert row["status"] == "failed"
    assert row["reason"] == "of 'mul', an activation, values are NaN on the calibration data"


def test_integers_do_not_compute_masks_and_say_so(trained, data):
    level = Level(bits=8, act_bits=8)
    steps = [create("nearest_symmetric_channel"), create("activations_mse")]
    stored = compress(steps, trained, data, level, generator_for(0))
    with pytest.raises(NoIntegerFormError, match="'masked_fill' holds masks, for which 8 bits have no code"):
        IntegerNetwork(trained, stored)


def test_steps_are_learned_beside_masks(trained, data):
    briefly = Training(lr=0.002, batch_size=40, max_epochs=2, patience=2)
    stored = create("lsq_activations", briefly).compress(trained, data, Level(bits=8, act_bits=8), generator_for(0))
    assert stored.activations["masked_fill"].masked_from is not None
    before = evaluate(trained, data, "val")["loss"]
    assert evaluate(stored.rebuild(trained), data, "val")["loss"] <= 1.01 * before


@pytest.mark.parametrize("masked_from", [0.0, -1.0, math.inf, math.nan])
def test_masks_that_begin_nowhere_are_refused(masked_from):
    with pytest.raises(ValueError, match="masks cannot begin at"):
        ActivationGrid(8, 1.0, 0, masked_from)
