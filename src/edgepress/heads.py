"""The last layer of a network with one output, and what the network makes of that layer's values."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from edgepress.graph import LAYERS, NORMS


@contextlib.contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Puts ``network`` into evaluation mode, and every module back into its own mode afterwards."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@dataclass(frozen=True)
class Head:
    """The Linear, Conv or BatchNorm layer of one channel that ``network`` calls last, as ``name``.

    ``inputs``, shape (rows, …), are examples for which the network's response is asked.
    """

    network: nn.Module
    name: str
    inputs: Tensor

    @classmethod
    def of(cls, network: nn.Module, inputs: Tensor) -> Head | None:
        """The head of ``network``, found by running it; None where its last layer has more channels than one, no
        weight, or is called several times.
        """
        calls: list[tuple[str, bool]] = []

        def note(name: str) -> Callable[[nn.Module, Any, Any], None]:
            def hook(layer: nn.Module, args: Any, output: Any) -> None:
                channels = output.shape[-1 if isinstance(layer, nn.Linear) else 1] if output.dim() > 1 else 0
                calls.append((name, channels == 1 and len(output) == len(inputs)))

            return hook

        layers = [(name, module) for name, module in network.named_modules() if isinstance(module, LAYERS + NORMS)]
        handles = [layer.register_forward_hook(note(name)) for name, layer in layers]
        try:
            with torch.no_grad(), evaluating(network):
                network(inputs)
        finally:
            for handle in handles:
                handle.remove()
        if not calls:
            return None
        name, one_channel = calls[-1]
        found = cls(network, name, inputs)
        has_weight = any(key.endswith(("weight", "weight.original")) for key, _ in found.layer.named_parameters())
        once = [called for called, _ in calls].count(name) == 1
        return found if one_channel and has_weight and once else None

    @property
    def layer(self) -> nn.Module:
        """The layer itself."""
        return self.network.get_submodule(self.name)

    def response(self, values: Tensor) -> Tensor:
        """The network's outputs, float64 of shape (rows,), where the layer gives ``values``, (rows,) or one for all."""

        def replace(layer: nn.Module, args: Any, output: Tensor) -> Tensor:
            rows = values.to(output).expand(len(output)).reshape(-1, *[1] * (output.dim() - 1))
            return rows.expand_as(output)

        handle = self.layer.register_forward_hook(replace)
        try:
            with torch.no_grad(), evaluating(self.network):
                outputs: Tensor = self.network(self.inputs)
        finally:
            handle.remove()
        return outputs.reshape(len(self.inputs), -1)[:, 0].to("cpu", torch.float64)
