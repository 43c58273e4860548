"""Replication of the study from its weights and data: recomputes the published results cell by cell."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from edgepress import as_published, networks, registry
from edgepress.as_published import State, evaluation
from edgepress.as_published.data import prepare
from edgepress.as_published.evaluation import Shuffles
from edgepress.as_published.multipoint import MULTIPOINT_BITS
from edgepress.datasets import SPLITS, Prepared
from edgepress.levels import Level
from edgepress.methods import multipoint, rounding
from edgepress.spec import STEPS
from edgepress.sweep import Bench, Trained

NETWORKS = {"dnn_simple": "simple", "dnn_complex": "complex"}
DEMO = "demo"  # a dnn_simple of the study's demo notebook, its only tabular network with multi-point
DEMO_DATASET = "telescope"
PUBLISHED_SPLITS = ("train", "test")
PUBLISHED_ORDER = "published_order_loss"
TENSOR_COLUMNS = ("dataset", "network", "method", "level", "draw", "tensor", "distinct", "zeros", "mean_abs_err")
_FAMILIES = {"midrise_iqr": "midrise"}
_FP32_EVALUATIONS = 22  # evaluations per network in the run of full precision, the first of which is published
# The splits that the demo notebook shuffled before it measured multi-point quantization: 10 epochs of training with two
# evaluations each, and one at the end; 4 pruned and then 18 rounded networks; and, before each of these two parts and
# the part on multi-point quantization, two evaluations on test.
_LOOK, _MEASURED = ("test", "test"), ("train", "test")
_DEMO_SHUFFLES = (
    *("train", "val", "train") * 10,
    "test",
    *(_LOOK + _MEASURED * 4),
    *(_LOOK + _MEASURED * 18),
    *_LOOK,
)


@dataclass(frozen=True)
class Cell:
    """A network compressed by a method of the study, and the row orders of its published losses."""

    network: str
    method: str
    level: Level
    draw: int
    original: State
    state: State
    orders: dict[str, Tensor]

    @property
    def pruned(self) -> bool:
        """Whether pruning follows its method."""
        return self.level.sparsity is not None and self.method != "magnitude"


def cells(
    dataset: str, data: Prepared, states: dict[str, State], stream: np.random.RandomState, draws: int
) -> Iterator[Cell]:
    """Every cell of a data set, in the study's order. Draw 0 of a stochastic method uses the study's ``stream`` in its
    state after the split (``data.prepare``); further draws use separate streams.
    """
    rows = {split: len(data.targets[split]) for split in PUBLISHED_SPLITS}

    def orders(shuffles: Shuffles) -> dict[str, Tensor]:
        return {split: shuffles.draw(rows[split]) for split in PUBLISHED_SPLITS}

    shuffles = Shuffles("1.6")
    for network, state in states.items():
        first, *_ = [orders(shuffles) for _ in range(_FP32_EVALUATIONS)]
        yield Cell(network, "fp32", Level(bits=32), 0, state, as_published.compress(state, "fp32"), first)

    after_split = stream.get_state()
    scripts: tuple[tuple[Literal["1.6", "1.7"], float | None], ...] = (("1.6", None), ("1.7", 0.2))
    for release, sparsity in scripts:
        stream.set_state(after_split)
        shuffles = Shuffles(release)
        for network, state in states.items():
            steps = as_published.quantize_order()
            compressed = [as_published.compress(state, method, bits, sparsity, stream) for method, bits in steps]
            for (method, bits), result in zip(steps, compressed, strict=True):
                level, order = Level(bits=bits, sparsity=sparsity), orders(shuffles)
                how, codebook = as_published.ROUNDINGS.get(method, ("", method))
                if sparsity and codebook in ("uniform_iqr", "midrise_iqr"):
                    continue  # it used both streams but was not published
                yield Cell(network, method, level, 0, state, result, order)
                for draw in range(1, draws if how == "stochastic" else 1):
                    generator = np.random.default_rng([draw, bits, len(method)])
                    result = as_published.compress(state, method, bits, sparsity, generator)
                    yield Cell(network, method, level, draw, state, result, order)

    shuffles = Shuffles("1.7")
    for network, state in states.items():
        for share in as_published.SPARSITIES:
            result = as_published.compress(state, "magnitude", sparsity=share)
            yield Cell(network, "magnitude", Level(sparsity=share), 0, state, result, orders(shuffles))


def demo_cells(data: Prepared, state: State, stream: np.random.RandomState) -> Iterator[Cell]:
    """The full-precision and multi-point cells of the demo notebook, in its order.

    The notebook seeds its streams with 0; ``stream`` is in its state after the split. It gives the scales to try, first
    for a network at 4 bits that the notebook shows but does not measure, then for the four that it measures. There are
    no further draws: at 6 bits and below all scales are tried, and at 8 bits a hundred other draws gave the same
    accuracy.
    """
    shuffles = Shuffles("1.7")
    shuffles.initialise(state)
    for split in _DEMO_SHUFFLES:
        shuffles.draw(len(data.targets[split]))
    as_published.compress(state, "multipoint", 4, generator=stream)
    for method, bits in (("fp32", 32), *(("multipoint", bits) for bits in MULTIPOINT_BITS)):
        result = as_published.compress(state, method, bits, generator=stream)
        orders = {split: shuffles.draw(len(data.targets[split])) for split in PUBLISHED_SPLITS}
        yield Cell(DEMO, method, Level(bits=bits), 0, state, result, orders)


def replicate(
    dataset: str, weights: str | Path, raw: str | Path, draws: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Recompute the study on one data set: rows of metrics, and rows about every tensor.

    ``weights`` is the folder of the study's networks, ``raw`` that of its data files. A row of metrics has the columns
    of ``edgepress.metrics`` and ``published_order_loss``: the loss over shuffled batches of 16, as in the study, to
    compare with the published one; empty on val, which the study did not use.
    """
    stream = np.random.RandomState(0)
    data = prepare(dataset, raw, stream)
    states = {network: as_published.read_state(path) for network, path in _weight_files(dataset, weights).items()}
    demo = states.pop(DEMO, None)
    demonstrated = () if demo is None else demo_cells(data, demo, copy.deepcopy(stream))
    metrics, tensors = [], []
    for cell in chain(cells(dataset, data, states, stream, draws), demonstrated):
        family, _ = as_published.ROUNDINGS.get(cell.method, (_FAMILIES.get(cell.method, cell.method), ""))
        steps = [cell.method, *["magnitude"] * cell.pruned]
        identity: dict[str, Any] = {"dataset": dataset, "network": cell.network}
        identity |= {"method": cell.method + "_prune20" * cell.pruned, "level": str(cell.level), "draw": cell.draw}
        asked = {"bits": cell.level.bits, "sparsity_target": cell.level.sparsity, "family": family, "seed": 0}
        asked |= {"steps": STEPS.join(steps), **vars(registry.spec(steps))}
        asked["sparsity"] = sum(zeros(t) for t in cell.state.values()) / sum(t.numel() for t in cell.state.values())
        metrics += [
            identity
            | asked
            | {"split": split, "examples": len(data.targets[split]), "status": "ok"}
            | _quality(cell.state, data, split, cell.orders.get(split))
            for split in SPLITS
        ]
        tensors += [
            identity
            | {
                "tensor": name,
                "distinct": tensor.unique().numel(),
                "zeros": zeros(tensor),
                "mean_abs_err": float((tensor.double() - cell.original[name].double()).abs().mean()),
            }
            for name, tensor in cell.state.items()
        ]
    return metrics, tensors


def in_sound_definitions(dataset: str, weights: str | Path, raw: str | Path, draws: int) -> list[dict[str, Any]]:
    """Metrics of the same networks with ``edgepress.methods`` at the study's precisions: rounding, and multi-point
    quantization for the demo network.
    """
    data = prepare(dataset, raw)
    rows: list[dict[str, Any]] = []
    for network, path in _weight_files(dataset, weights).items():
        module = networks.build("dnn_simple" if network == DEMO else network, data)
        family, precisions = (multipoint, MULTIPOINT_BITS) if network == DEMO else (rounding, as_published.BITS)
        networks.load_inference_state(module, as_published.read_state(path))
        bench = Bench(Trained(network, 0, module, data), SPLITS, torch.device("cpu"))
        rows += bench.baseline()
        for method, entry in registry.methods().items():
            if entry.module == family.__name__:
                levels = [str(Level(bits=bits)) for bits in precisions]
                rows += [row for result in bench.sweep(method, levels, draws) for row in result.rows]
    return rows


def _weight_files(dataset: str, folder: str | Path) -> dict[str, Path]:
    files = {network: f"{dataset}_{size}" for network, size in NETWORKS.items()}
    if dataset == DEMO_DATASET:
        files[DEMO] = "demo_model"
    return {network: Path(folder) / f"{file}.safetensors" for network, file in files.items()}


def zeros(tensor: Tensor) -> int:
    """The number of zeros."""
    return int(tensor.numel() - tensor.count_nonzero())


@torch.inference_mode()
def _quality(state: State, data: Prepared, split: str, order: Tensor | None) -> dict[str, Any]:
    outputs, targets = _forward(state, data.inputs[split]), data.targets[split]
    losses = evaluation.row_losses(outputs, targets)
    quality: dict[str, Any] = {"loss": evaluation.loss(losses)}
    if data.task == "classification":
        quality["accuracy"] = evaluation.accuracy(outputs, targets)
    else:
        quality["mse"] = quality["loss"]
    if order is not None:
        quality[PUBLISHED_ORDER] = evaluation.loss(losses, order)
    return quality


def _forward(state: State, inputs: Tensor) -> Tensor:
    """The study's networks: Linear layers with ReLU between them."""
    *hidden, (weight, bias) = zip(*[iter(state.values())] * 2, strict=True)
    for inner_weight, inner_bias in hidden:
        inputs = torch.relu(F.linear(inputs, inner_weight, inner_bias))
    return F.linear(inputs, weight, bias)
