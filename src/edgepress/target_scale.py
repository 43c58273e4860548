"""Makes training of a regression independent of the unit of its target."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from edgepress.datasets import Prepared, sample
from edgepress.heads import Head

_PROBED_ROWS = 64
_EPS = 1e-8  # Adam's
_LEAST_STEP, _MOST_DOUBLINGS = 1e-6, 40
_TRIED = (0.0, *(sign * digit * 10.0**power for power in range(-3, 13) for digit in (1, 2, 5) for sign in (-1, 1)))


@dataclass(frozen=True)
class TargetScale:
    """Relates the output of a network's last layer to a regression's target, which has ``mean`` and ``std``.

    Adam's step size suits outputs of about 1. So the loss is divided by the variance of the target, and the learning
    rate of the last layer (``Head``) is adapted: ``centre`` is the output of that layer at which the network predicts
    the target's mean, ``gain`` is the derivative of the prediction there. The prediction may be the layer's output
    (centre is the mean, gain is 1) or any function of it, such as its exponential. Each step is equivalent to training
    on standardized targets, but the network predicts in the target's unit.

    Classification is unchanged; without such a layer only the loss is scaled.
    """

    head: Head | None = None
    mean: float = 0.0
    std: float = 1.0
    centre: float = 0.0
    gain: float = 1.0

    @classmethod
    def of(cls, data: Prepared, network: nn.Module) -> TargetScale:
        """The scale of the train split of ``data`` for ``network``, both on the same device."""
        targets = data.targets["train"]
        if not targets.is_floating_point():
            return cls()
        mean, std = float(targets.mean()), float(targets.std()) or 1.0
        if not math.isfinite(std):  # a single row
            std = 1.0
        head = Head.of(network, sample(data.inputs["train"], _PROBED_ROWS))
        found = head and _inverse(lambda value: float(head.response(torch.tensor(value)).mean()), mean, std)
        return cls(head, mean, std, *found) if found else cls(None, mean, std)

    @property
    def variance(self) -> float:
        """The variance of the target."""
        return self.std**2

    @property
    def _spread(self) -> float:
        """The change of the last layer's output that changes the prediction by one standard deviation of the target."""
        return self.std / abs(self.gain)

    @property
    def weight_scale(self) -> float:
        """The factor of the last layer's weights relative to a network with outputs of about 1."""
        if self.head is None or getattr(self.head.layer, "bias", None) is not None:
            return self._spread
        return math.hypot(self._spread, self.centre)  # without a bias, weights must also give the mean

    @property
    def tensors(self) -> list[str]:
        """The names of the last layer's tensors."""
        return [f"{self.head.name}.{part}".lstrip(".") for part in ("weight", "bias")] if self.head else []

    def scale_of(self, name: str) -> float:
        """The factor of the weights ``name`` relative to a network with outputs of about 1."""
        return self.weight_scale if name in self.tensors else 1.0

    @torch.no_grad()
    def begin(self, loaded: Collection[str]) -> None:
        """Initialize a new last layer to predict the target's mean and vary with its standard deviation.

        A layer with ``loaded`` or frozen tensors is in the target's unit already. Prints if no layer can be adapted.
        """
        if self.head is None:
            if not loaded and not (0.1 <= self.std <= 10 and abs(self.mean) <= 10):
                print(f"the target is {self.mean:.3g} ± {self.std:.3g}, and no layer of the network could be adapted "
                      f"to its unit; if it does not learn, end it with a Linear with 1 output")  # fmt: skip
            return
        layer = self.head.layer
        fresh = set(self.tensors).isdisjoint(loaded) and all(p.requires_grad for p in layer.parameters())
        if not fresh or is_parametrized(layer, "weight"):
            return
        weight, bias = layer.get_parameter("weight"), getattr(layer, "bias", None)
        weight.mul_(self._spread)
        if bias is not None:
            bias.mul_(self._spread).add_(self.centre)
        else:
            inputs = self.head.mean_input()  # change the weights in this direction to get the centre
            lacking = self.centre - (weight * inputs).flatten(1).sum(dim=1)
            shares = lacking / inputs.flatten(1).square().sum(dim=1).clamp_min(torch.finfo(weight.dtype).tiny)
            weight.add_(shares.reshape(-1, *[1] * (weight.dim() - 1)) * inputs)

    def groups(self, network: nn.Module, lr: float, decay: float) -> list[dict[str, Any]]:
        """Parameter groups with learning rates and weight decays; modules whose ``decays`` is False have no decay."""
        still = {
            id(parameter)
            for module in network.modules()
            if not getattr(module, "decays", True)
            for parameter in module.parameters(recurse=False)
        }
        weight: list[nn.Parameter] = []
        bias: list[nn.Parameter] = []
        if self.head is not None:
            layer = self.head.layer
            name = "parametrizations.weight.original" if is_parametrized(layer, "weight") else "weight"
            weight = [layer.get_parameter(name)]
            bias = [] if getattr(layer, "bias", None) is None else [layer.get_parameter("bias")]
        apart = still | {id(parameter) for parameter in weight + bias}
        parameters = list(network.parameters())
        groups: list[dict[str, Any]] = [
            {"params": [parameter for parameter in parameters if id(parameter) not in apart]},
            {"params": [parameter for parameter in parameters if id(parameter) in still], "weight_decay": 0.0},
            # Decay shrinks weights by lr · weight_decay: the same here as elsewhere, but not the target's mean.
            {"params": weight, **_steps(lr, self.weight_scale), "weight_decay": decay / self.weight_scale},
            {"params": bias, **_steps(lr, self._spread), "weight_decay": 0.0},
        ]
        return [{"lr": lr, "weight_decay": decay, **group} for group in groups if group["params"]]


def _steps(lr: float, scale: float) -> dict[str, float]:
    """Learning rate and eps of parameters larger by ``scale``. Their gradients are smaller by it, so Adam's eps, which
    must be far below them, is reduced.
    """
    return {"lr": lr * scale, "eps": min(_EPS, 1e4 * _EPS / scale)}


def _inverse(answer: Callable[[float], float], mean: float, std: float) -> tuple[float, float] | None:
    """The value at which ``answer`` is ``mean``, to a tenth of ``std``, and the slope there; None if there is none."""
    at_0 = answer(0.0)
    slope = answer(1.0) - at_0
    if slope and math.isfinite(slope):
        value = (mean - at_0) / slope
        if abs(answer(value) - mean) <= std / 10:  # (nearly) linear
            return value, slope
    crossing = _crossing(answer, mean)
    if crossing is None:
        return None
    step = _LEAST_STEP * max(1.0, abs(crossing))
    for _ in range(_MOST_DOUBLINGS):  # until the change exceeds rounding errors and grid scales
        change = answer(crossing + step) - answer(crossing - step)
        if math.isfinite(change) and abs(change) >= std / 10:
            return crossing, change / (2 * step)
        step *= 2
    return None


def _crossing(answer: Callable[[float], float], mean: float) -> float | None:
    """The value nearest to 0 at which ``answer`` crosses ``mean``, by bisection."""
    answers = [(value, answer(value)) for value in sorted(_TRIED)]
    above = [(value, found > mean) for value, found in answers if not math.isnan(found)]
    pairs = [(a, b) for a, b in itertools.pairwise(above) if a[1] != b[1]]
    if not pairs:
        return None
    (low, low_above), (high, _) = min(pairs, key=lambda pair: abs(pair[0][0] + pair[1][0]))
    for _ in range(60):
        middle = (low + high) / 2
        if (answer(middle) > mean) == low_above:
            low = middle
        else:
            high = middle
    return (low + high) / 2
