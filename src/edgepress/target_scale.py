"""The unit of a regression's target, and what makes a training the same in every unit."""

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
    """How the values of a network's last layer relate to a regression's target, which has ``mean`` and ``std``.

    Adam's steps have a size of their own, which suits outputs of about 1. So the loss is counted in variances of the
    target, and the last layer (``Head``) takes steps that suit the target: ``centre`` is the value of
    that layer at which the network answers the target's mean, ``gain`` how much the answer changes with it there. The
    answer may be the layer's value itself (centre is the mean, gain 1) or anything computed from it, such as its
    exponential. Step for step this is what training on targets of mean 0 and deviation 1 would do, of a network that
    answers in the target's unit.

    For classification nothing changes; without such a layer only the loss is scaled.
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
        if not math.isfinite(std):  # of a single row
            std = 1.0
        head = Head.of(network, sample(data.inputs["train"], _PROBED_ROWS))
        found = head and _inverse(lambda value: float(head.response(torch.tensor(value)).mean()), mean, std)
        return cls(head, mean, std, *found) if found else cls(None, mean, std)

    @property
    def variance(self) -> float:
        """Of the target."""
        return self.std**2

    @property
    def _spread(self) -> float:
        """How far values of the last layer move the answer by the target's deviation."""
        return self.std / abs(self.gain)

    @property
    def weight_scale(self) -> float:
        """What the weights of the last layer are larger by than in a network with outputs of about 1."""
        if self.head is None or getattr(self.head.layer, "bias", None) is not None:
            return self._spread
        return math.hypot(self._spread, self.centre)  # without a bias, the weights alone give the mean, too

    @property
    def tensors(self) -> list[str]:
        """The names of the last layer's tensors."""
        return [f"{self.head.name}.{part}".lstrip(".") for part in ("weight", "bias")] if self.head else []

    def scale_of(self, name: str) -> float:
        """What the weights called ``name`` are larger by than in a network with outputs of about 1."""
        return self.weight_scale if name in self.tensors else 1.0

    @torch.no_grad()
    def begin(self, loaded: Collection[str]) -> None:
        """Let a last layer that was just drawn answer the target's mean, and vary with its deviation.

        One of which a tensor is ``loaded``, or stays as it is in training, answers in the target's unit already. Prints
        where no layer can be brought to it.
        """
        if self.head is None:
            if not loaded and not (0.1 <= self.std <= 10 and abs(self.mean) <= 10):
                print(f"the target is {self.mean:.3g} ± {self.std:.3g}, and no layer of the network could be brought "
                      f"to its unit; if it does not learn, let its last layer be a Linear with 1 output")  # fmt: skip
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
            inputs = self.head.mean_input()  # along which the weights give the centre
            lacking = self.centre - (weight * inputs).flatten(1).sum(dim=1)
            shares = lacking / inputs.flatten(1).square().sum(dim=1).clamp_min(torch.finfo(weight.dtype).tiny)
            weight.add_(shares.reshape(-1, *[1] * (weight.dim() - 1)) * inputs)

    def groups(self, network: nn.Module, lr: float, decay: float) -> list[dict[str, Any]]:
        """The parameters with their learning rates and weight decays; modules whose ``decays`` is False have none."""
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
            # Decay takes lr · weight_decay off: as much here as elsewhere, and nothing off the target's mean.
            {"params": weight, **_steps(lr, self.weight_scale), "weight_decay": decay / self.weight_scale},
            {"params": bias, **_steps(lr, self._spread), "weight_decay": 0.0},
        ]
        return [{"lr": lr, "weight_decay": decay, **group} for group in groups if group["params"]]


def _steps(lr: float, scale: float) -> dict[str, float]:
    """The steps of parameters that are larger by ``scale``. Their gradients are smaller by it: Adam's eps, which is to
    be far below them, must not come near.
    """
    return {"lr": lr * scale, "eps": min(_EPS, 1e4 * _EPS / scale)}


def _inverse(answer: Callable[[float], float], mean: float, std: float) -> tuple[float, float] | None:
    """The value at which ``answer`` is ``mean``, to a tenth of ``std``, and its slope there, where there is one."""
    at_0 = answer(0.0)
    slope = answer(1.0) - at_0
    if slope and math.isfinite(slope):
        value = (mean - at_0) / slope
        if abs(answer(value) - mean) <= std / 10:  # a line, or near one
            return value, slope
    crossing = _crossing(answer, mean)
    if crossing is None:
        return None
    step = _LEAST_STEP * max(1.0, abs(crossing))
    for _ in range(_MOST_DOUBLINGS):  # until it shows beyond rounding, or the steps of a grid
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
