"""Bits where they matter: each layer gets its own, so many that the average is the level's, after training."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import LinearConstraint, milp
from torch import Tensor, nn

from edgepress.codebooks import least_error_steps
from edgepress.datasets import Prepared
from edgepress.evaluation import predict
from edgepress.levels import Level, asked
from edgepress.methods import Method, calibration_inputs, must_come_first
from edgepress.methods.reconstruction import ROUNDERS, needs_plain_layers, reconstruct
from edgepress.networks import compressible
from edgepress.packing import Compressed

METHODS = {
    "mixed": {
        "object": "MixedPrecision",
        "about": "bits chosen for each layer by its effect on the network's output, `gptq` at these; bits on average",
        "family": "mixed",
        "sweep": "bits",
        "codebook": "symmetric",
        "rounding": "gptq",
        "granularity": "channel",
        "options": {"bits": "mixed"},
        "examples": True,
    },
}
_CHOICES = (2, 3, 4, 5, 6, 7, 8, 10, 12, 16)


def allocate(sizes: Mapping[str, int], errors: Mapping[str, Mapping[int, float]], budget: float) -> dict[str, int]:
    """The bits of each layer, of those that ``errors`` has for it, of least total error within ``budget`` bits.

    ``sizes`` are weights a layer. Solved exactly, as an integer program: one choice a layer, and the sum of weights ×
    bits no more than the budget (Hubara et al. 2020, arXiv 2006.10518). Raises ValueError where the fewest bits are
    too many.
    """
    places = [(name, bits) for name, choices in errors.items() for bits in choices]
    cost = np.array([errors[name][bits] for name, bits in places])
    one_a_layer = np.array([[float(name == layer) for name, _ in places] for layer in errors])
    size = np.array([[float(sizes[name] * bits) for name, bits in places]])
    scale = cost.max() or 1.0  # the solver's tolerances are absolute
    solved = milp(
        cost / scale,
        integrality=np.ones(len(places)),
        bounds=(0, 1),
        constraints=[LinearConstraint(one_a_layer, 1, 1), LinearConstraint(size, ub=budget)],
        options={"mip_rel_gap": 0.0},
    )
    if solved.x is None:
        raise ValueError(f"{budget:,.0f} bits are too few for {sum(sizes.values()):,} weights: {solved.message}")
    return {name: bits for (name, bits), chosen in zip(places, solved.x, strict=True) if chosen > 0.5}


def output_errors(network: nn.Module, inputs: Tensor, choices: Sequence[int]) -> dict[str, dict[int, float]]:
    """How much the network's outputs move where one layer alone is rounded, at each number of bits: the mean square of
    their change over ``inputs``, shape (rows, …).
    """
    network = copy.deepcopy(network)
    exact = predict(network, inputs)
    errors: dict[str, dict[int, float]] = {}
    for name in compressible(network):
        weight = network.get_parameter(name)
        before = weight.detach().clone()
        errors[name] = {}
        for bits in choices:
            weight.data = _rounded(before, bits)
            errors[name][bits] = float((predict(network, inputs) - exact).square().mean())
        weight.data = before
    return errors


def _rounded(weights: Tensor, bits: int) -> Tensor:
    """The weights, each the nearest multiple of the step of least squared error of its channel."""
    steps = least_error_steps(weights.flatten(1), bits).clamp_min(torch.finfo(torch.float32).tiny)
    steps = steps.reshape(-1, *[1] * (weights.dim() - 1))
    half = 1 << bits - 1
    return (weights / steps).round().clamp(-half, half - 1) * steps


@dataclass(frozen=True)
class MixedPrecision(Method):
    """Layers whose rounding moves the network's output most get more bits, within the level's bits on average.

    From half to twice the level's bits are tried on each layer, on the calibration data.
    """

    def skip(self, network: nn.Module, data: Prepared, level: Level) -> str | None:
        mean = asked(level.bits)
        if mean < 2:
            return "at 1 bit a symmetric grid has no positive level, so there is nothing to choose"
        if reason := needs_plain_layers(network):
            return reason
        if mean == min(_CHOICES):
            return f"no layer can have fewer than {mean} bits, so none can have more: it would be gptq"
        if set(self._bits(network, calibration_inputs(data), mean).values()) == {mean}:
            return f"the best choice is {mean} bits for every layer: it would be gptq"
        return None

    def apply(
        self, stored: Compressed, network: nn.Module, data: Prepared, level: Level, generator: torch.Generator
    ) -> Compressed:
        must_come_first(stored, "a method that reconstructs layers")
        inputs = calibration_inputs(data)
        bits = self._bits(network, inputs, asked(level.bits))
        return reconstruct(stored, network, inputs, bits, ROUNDERS["gptq"], "channel")

    def _bits(self, network: nn.Module, inputs: Tensor, mean: int) -> dict[str, int]:
        """The bits of each layer, ``mean`` at most on average over all weights."""
        choices = [bits for bits in _CHOICES if mean / 2 <= bits <= 2 * mean]
        sizes = {name: network.get_parameter(name).numel() for name in compressible(network)}
        return allocate(sizes, output_errors(network, inputs, choices), mean * sum(sizes.values()))
