"""Quality of a network on a split of a data set."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgepress.datasets import Prepared

_BATCH = 4096  # maximum examples per batch
_BATCH_PIXELS = 1 << 15  # maximum pixels, so that activations fit the cache
_TOP5_FROM = 20  # classes; with fewer, top-5 says little


def predict(network: nn.Module, inputs: Tensor) -> Tensor:
    """The network's outputs for ``inputs``, in evaluation mode: float64 on the CPU, shape (rows, outputs)."""
    network.eval()
    if inputs.dim() == 4:
        # Outside of inference mode, so that the weights can still be trained.
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # not in torch's types
    size = max(1, min(_BATCH, _BATCH_PIXELS // inputs.shape[2:].numel()))
    with torch.inference_mode():
        return torch.cat([network(batch) for batch in inputs.split(size)]).to("cpu", torch.float64)


def class_logits(outputs: Tensor) -> Tensor:
    """The logits of all classes, shape (rows, classes). A single output is the logit of class 1, and that of class 0 is
    0, so cross-entropy equals binary cross-entropy.
    """
    outputs = outputs.reshape(len(outputs), -1)
    return F.pad(outputs, (1, 0)) if outputs.shape[1] == 1 else outputs


def amounts(outputs: Tensor) -> Tensor:
    """The predictions of a regression, shape (rows,). Raises ValueError if there are several outputs per example."""
    outputs = outputs.reshape(len(outputs), -1)
    if outputs.shape[1] != 1:
        raise ValueError(f"the network gives {outputs.shape[1]} outputs per example for one target; let it give 1")
    return outputs[:, 0]


def score(outputs: Tensor, targets: Tensor) -> dict[str, float]:
    """The quality of ``outputs`` (rows, outputs) for ``targets`` (rows,), which are classes if they are integers. Two
    classes may have a single output, a logit.

    Classification returns loss (mean cross-entropy, nats), accuracy, balanced_accuracy (the mean of the accuracies of
    the classes in ``targets``) and, from 20 classes up, top5, all 0–1; regression returns loss and mse (mean squared
    error), mae and r2.
    """
    targets = targets.to("cpu")
    if not targets.is_floating_point():
        outputs = class_logits(outputs)
        right = (outputs.argmax(dim=1) == targets).double()
        examples = targets.bincount()
        recall = targets.bincount(weights=right) / examples
        quality = {
            "loss": float(F.cross_entropy(outputs, targets)),
            "accuracy": float(right.mean()),
            "balanced_accuracy": float(recall[examples > 0].mean()),
        }
        if outputs.shape[1] >= _TOP5_FROM:
            likeliest = outputs.topk(5, dim=1).indices
            quality["top5"] = float((likeliest == targets[:, None]).any(dim=1).double().mean())
        return quality
    targets = targets.to(torch.float64)
    error = amounts(outputs) - targets
    mse, variance = float(error.square().mean()), float(targets.var(correction=0))
    return {
        "loss": mse,
        "mse": mse,
        "mae": float(error.abs().mean()),
        "r2": 1 - mse / variance if variance else float("nan"),
    }


def majority(targets: Tensor) -> float | None:
    """The fraction of the most frequent class in ``targets`` (rows,); None for regression."""
    if targets.is_floating_point():
        return None
    return int(targets.unique(return_counts=True)[1].max()) / len(targets)


def quality(measured: Mapping[str, float]) -> float:
    """The quality number of ``score`` for which higher is better: accuracy, or R²."""
    return measured["accuracy"] if "accuracy" in measured else measured["r2"]


def evaluate(network: nn.Module, data: Prepared, split: str) -> dict[str, float]:
    """``score`` of ``network`` on one split of ``data``, both on the same device.

    Raises ArithmeticError if an output is NaN or infinite.
    """
    outputs = predict(network, data.inputs[split])
    if not bool(outputs.isfinite().all()):
        raise ArithmeticError("the outputs of the network are not finite")
    return score(outputs, data.targets[split])
