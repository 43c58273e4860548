"""The last layer of a network, and the network's output as a function of that layer's output."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from edgepress.graph import LAYERS, NORMS

_AFFINE = (*LAYERS, *NORMS, nn.LayerNorm, nn.GroupNorm)
_Hook = Callable[[nn.Module, Any, Tensor], Tensor | None]


@contextlib.contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Put ``network`` into evaluation mode, and restore the mode of every module afterwards."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@dataclass(frozen=True)
class Head:
    """The output layer ``name``: the last Linear, Conv or norm layer that ``network`` calls. Operations without layers,
    such as a sigmoid or a factor, may follow.

    ``inputs``, shape (rows, …), are the examples on which to run the network.
    """

    network: nn.Module
    name: str
    inputs: Tensor

    @classmethod
    def of(cls, network: nn.Module, inputs: Tensor) -> Head | None:
        """The head of ``network``, found by running it. None if its last layer is called several times or has no
        weight, or if it has several channels and parameters outside of layers combine them.
        """
        calls: list[tuple[str, int]] = []

        def note(name: str) -> _Hook:
            def hook(layer: nn.Module, args: Any, output: Tensor) -> None:
                calls.append((name, output.shape[-1 if isinstance(layer, nn.Linear | nn.LayerNorm) else 1]))

            return hook

        _run(network, inputs, {n: note(n) for n, layer in network.named_modules() if isinstance(layer, _AFFINE)})
        name, channels = calls[-1] if calls else ("", 0)
        if [called for called, _ in calls].count(name) != 1:
            return None
        found = cls(network, name, inputs)
        if not any(key.endswith(("weight", "weight.original")) for key, _ in found.layer.named_parameters()):
            return None
        with torch.enable_grad():
            on_its_own = not found._run_with(torch.zeros(())).requires_grad
        return found if channels == 1 or on_its_own else None

    @property
    def layer(self) -> nn.Module:
        """The layer itself."""
        return self.network.get_submodule(self.name)

    def response(self, values: Tensor) -> Tensor:
        """The network's outputs, float64 of shape (rows,), if the layer returns ``values``, (rows,) or a scalar."""
        with torch.no_grad():
            outputs = self._run_with(values)
        return outputs.reshape(len(self.inputs), -1)[:, 0].to("cpu", torch.float64)

    def mean_input(self) -> Tensor:
        """The mean input that each weight of a Linear or Conv layer is multiplied by, of the weight's shape."""
        means: list[Tensor] = []

        def note(layer: nn.Module, args: Any, output: Tensor) -> None:
            weight = layer.get_parameter("weight")
            means.extend(torch.autograd.grad(output.mean() * len(weight), weight))

        with torch.enable_grad():
            _run(self.network, self.inputs, {self.name: note})
        return means[0]

    def _run_with(self, values: Tensor) -> Tensor:
        def replace(layer: nn.Module, args: Any, output: Tensor) -> Tensor:
            each = values.to(output).expand(len(self.inputs)).reshape(-1, *[1] * (output.dim() - 1))
            return each.detach().expand_as(output).clone()

        return _run(self.network, self.inputs, {self.name: replace})


def _run(network: nn.Module, inputs: Tensor, hooks: dict[str, _Hook]) -> Tensor:
    """The outputs of ``network`` in evaluation mode, with a hook on each named layer."""
    handles = [network.get_submodule(name).register_forward_hook(hook) for name, hook in hooks.items()]
    try:
        with evaluating(network):
            outputs: Tensor = network(inputs)
            return outputs
    finally:
        for handle in handles:
            handle.remove()
