"""How good a network gets while it is trained, and what that has cost by then: steps, seconds, energy."""

from __future__ import annotations

import copy
import time
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import nn

from edgepress.datasets import Prepared
from edgepress.evaluation import evaluate, quality
from edgepress.logs import one_line
from edgepress.training import Training, steps_an_epoch, train
from edgepress.training.consumption import measured

COLUMNS = {
    "dataset": "data set",
    "network": "network",
    "seed": "seed of the training",
    "recipe": "how it is trained",
    "epoch": "passes over the training rows so far",
    "steps": "steps of the optimizer so far",
    "seconds": "time of the training so far, with an evaluation on val an epoch",
    "kwh": "energy so far: that of the whole training, its power taken as constant",
    "source": "how the energy is known: `measured`, `modelled` or `unavailable`",
    "val_loss": "loss on val",
    "val_quality": "accuracy on val, 0–1, or R²",
    "test_quality": "the same on test, of the network that is kept; in the last row of a training",
    "status": "`ok`; `skipped`, where the recipe does not apply; `failed`",
    "reason": "why, where the status is not `ok` or the energy is unavailable",
}


def follow(
    network: nn.Module,
    data: Prepared,
    settings: Training,
    seed: int,
    energy: Mapping[str, str] | None = None,
    loaded: Collection[str] = (),
) -> list[dict[str, Any]]:
    """Train ``network`` in place, as ``training.train`` does, and give a row of ``COLUMNS`` an epoch.

    ``energy`` is as ``consumption.metered`` takes it, ``loaded`` as ``train`` does. There are no checkpoints: what a
    training cost is known only of one that was not interrupted. A recipe that the data or the network do not take, or
    that diverges, is one row that says why.
    """
    if max(settings.resolutions) != min(settings.resolutions) and data.inputs["train"].dim() != 4:
        return [{"status": "skipped", "reason": "a table has no resolution"}]
    steps = steps_an_epoch(len(data.inputs["train"]), settings.batch_size)
    rows: list[dict[str, Any]] = []

    def note(row: dict[str, Any]) -> None:
        told = {name: row[name] for name in ("epoch", "val_loss", "val_quality")}
        rows.append({**told, "steps": row["epoch"] * steps, "seconds": time.perf_counter() - began, "status": "ok"})
        print(rows[-1])

    _warm_up(network, data)
    with measured(energy) as taken:
        began = time.perf_counter()
        try:
            train(network, data, settings, seed, note, loaded=loaded)
        except (ArithmeticError, ValueError) as error:
            diverged = isinstance(error, ArithmeticError)
            return [{"status": "failed" if diverged else "skipped", "reason": one_line(error)}]
    for row in rows:
        row |= {name: taken[name] for name in ("source", "reason") if name in taken}
        if "kwh" in taken:
            row["kwh"] = taken["kwh"] * row["seconds"] / rows[-1]["seconds"]
    rows[-1]["test_quality"] = quality(evaluate(network, data, "test"))
    return rows


def _warm_up(network: nn.Module, data: Prepared) -> None:
    """Take a step with a copy: torch loads much of itself at the first one."""
    network = copy.deepcopy(network).train()
    optimizer = torch.optim.AdamW(network.parameters())
    network(data.inputs["train"][:2]).sum().backward()
    optimizer.step()
