"""Training a network on while its weights are seen as they will be stored: what methods that train again share."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from edgepress.checkpoints import Checkpoints
from edgepress.datasets import Prepared
from edgepress.encodings import Encoding
from edgepress.methods import Method, in_full_precision
from edgepress.networks import holders, inference_state
from edgepress.packing import Compressed
from edgepress.training import Training, retrain


class _StraightThrough(torch.autograd.Function):
    """The stored weights forward; backward, their gradient goes to the weights as if nothing had changed them."""

    @staticmethod
    def forward(ctx: object, weights: Tensor, stored: Tensor) -> Tensor:
        return stored

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def straight_through(weights: Tensor, stored: Tensor) -> Tensor:
    """``stored``, whose gradient goes to ``weights`` as if nothing had changed them."""
    seen: Tensor = _StraightThrough.apply(weights, stored)  # type: ignore[no-untyped-call] # torch makes it
    return seen


class Constraint(nn.Module):
    """Shows a layer its weights as they will be stored; a parametrization in torch's sense."""

    def encoded(self, weights: Tensor) -> Encoding:
        """The weights, detached and on the CPU, as they are stored."""
        raise NotImplementedError


@dataclass(frozen=True)
class Retraining(Method):
    """A method that fine-tunes the network: ``training`` says how, ``checkpoints`` where it is kept."""

    training: Training
    checkpoints: Checkpoints | None = field(default=None, kw_only=True)

    def retrained(
        self,
        network: nn.Module,
        constraints: Mapping[str, Constraint],
        data: Prepared,
        generator: torch.Generator,
        epochs: int | None = None,
    ) -> Compressed:
        """Train a copy of ``network`` on, each weight tensor named in ``constraints`` behind its own, and store it so.

        Everything else, biases and norms, stays float32 and trains along. ``epochs`` is how many of them there are at
        most, if not those of ``training``.
        """
        names = list(inference_state(network))
        network = copy.deepcopy(network).to(data.inputs["train"].device)
        shared = {name: holders(network, name) for name in constraints}
        for name, modules in shared.items():
            constraint = constraints[name].to(network.get_parameter(name).device)
            for module, key in modules:
                parametrize.register_parametrization(module, key, constraint)
        seed = int(torch.randint(2**31, (), generator=generator))
        training = self.training if epochs is None else replace(self.training, max_epochs=epochs)
        retrain(network, data, training, seed, print, self.checkpoints, [generator])

        network.eval()
        encodings: dict[str, Encoding] = {}
        for name, modules in shared.items():
            module, key = modules[0]
            original = module.get_parameter(f"parametrizations.{key}.original").detach()
            encodings[name] = constraints[name].encoded(original.cpu().contiguous())
            for module, key in modules:
                parametrize.remove_parametrizations(module, key)
        tensors = in_full_precision(network).with_tensors(encodings).tensors
        return Compressed({name: tensors[name] for name in names})  # a parametrization changes their order
