"""Quality of a network on a split of a data set."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgepress.datasets import Prepared

_BATCH = 4096  # examples at a time at most
_BATCH_PIXELS = 1 << 15  # and pixels: an image network's activations are many times its input, and fit a cache
_TOP5_FROM = 20  # classes; below, being among the five likeliest says little


def predict(network: nn.Module, inputs: Tensor) -> Tensor:
    """The network's outputs for ``inputs``, in evaluation mode: float64 on the CPU, shape (rows, outputs)."""
    network.eval()
    if inputs.dim() == 4:
        # Not in inference mode, where the weights would become tensors that cannot be trained on.
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # not in torch's types
    size = max(1, min(_BATCH, _BATCH_PIXELS // inputs.shape[2:].numel()))
    with torch.inference_mode():
        return torch.cat([network(batch) for batch in inputs.split(size)]).to("cpu", torch.float64)


def class_logits(outputs: Tensor) -> Tensor:
    """The logits of all classes, shape (rows, classes). A single output is that of class 1, where 0 is that of class 0:
    cross-entropy is then the binary cross-entropy of that logit, and class 1 the likelier one above 0.
    """
    outputs = outputs.reshape(len(outputs), -1)
    return F.pad(outputs, (1, 0)) if outputs.shape[1] == 1 else outputs


def amounts(outputs: Tensor) -> Tensor:
    """What a regression answers, shape (rows,). Raises ValueError where there are several outputs an example."""
    outputs = outputs.reshape(len(outputs), -1)
    if outputs.shape[1] != 1:
        raise ValueError(f"the network gives {outputs.shape[1]} outputs an example for one target; let it give 1")
    return outputs[:, 0]


def score(outputs: Tensor, targets: Tensor) -> dict[str, float]:
    """The quality of ``outputs`` (rows, outputs) for ``targets`` (rows,): classes where these are integers. Two classes
    may have one output, a logit.

    Classification gives loss (mean cross-entropy, nats), accuracy, balanced_accuracy (the mean over the classes in
    ``targets`` of the share of their examples that is right) and, from 20 classes up, top5, all 0–1; regression gives
    loss and mse (mean squared error), mae and r2.
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
    """The share of ``targets`` (rows,) that are of the most frequent class; None for regression."""
    if targets.is_floating_point():
        return None
    return int(targets.unique(return_counts=True)[1].max()) / len(targets)


def quality(measured: Mapping[str, float]) -> float:
    """The one number of ``score`` that grows as a network gets better: accuracy, or R²."""
    return measured["accuracy"] if "accuracy" in measured else measured["r2"]


def evaluate(network: nn.Module, data: Prepared, split: str) -> dict[str, float]:
    """``score`` of ``network`` on one split of ``data``, both on the same device.

    Raises ArithmeticError where an output is NaN or infinite.
    """
    outputs = predict(network, data.inputs[split])
    if not bool(outputs.isfinite().all()):
        raise ArithmeticError("the outputs of the network are not finite")
    return score(outputs, data.targets[split])
