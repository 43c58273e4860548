"""The tensors of a network to store: each parameter once, without parametrizations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from edgepress.graph import LAYERS

# Hooks of torch.nn.utils that compute a weight before each call, and functions that replace them by the weight.
_HOOKS: dict[type, Callable[[Any, str], Any]] = {
    WeightNorm: remove_weight_norm,
    SpectralNorm: remove_spectral_norm,
    prune.BasePruningMethod: prune.remove,
}


def inference_state(network: nn.Module) -> dict[str, Tensor]:
    """Every tensor that inference needs, by name: parameters and buffers except BatchNorm's batch counter.

    A tensor with several names (tied weights) is the same object under each.
    """
    once: dict[int, Tensor] = {}
    return {
        name: once.setdefault(id(tensor), tensor.detach())
        for name, tensor in network.state_dict(keep_vars=True).items()
        if not name.endswith("num_batches_tracked")
    }


def stored_once(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a state from ``inference_state``, each under its first name only."""
    first: dict[int, str] = {}
    for name, tensor in state.items():
        first.setdefault(id(tensor), name)
    return {name: tensor for name, tensor in state.items() if first[id(tensor)] == name}


def load_inference_state(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load a state from ``inference_state`` into ``network``; one name of each tensor suffices.

    Raises ValueError if names do not match.
    """
    own = inference_state(network)
    given = {id(tensor) for name, tensor in own.items() if name in state}
    _, unexpected = network.load_state_dict(dict(state), strict=False)
    missing = [name for name, tensor in own.items() if id(tensor) not in given]
    if missing or unexpected:
        raise ValueError(f"the weights do not fit the network: missing {missing}, unexpected {unexpected}")


def computed_tensors(network: nn.Module) -> Iterator[tuple[str, nn.Module, str, Any]]:
    """Tensors computed from others before each call: name, module, key, and the hook that computes them (None for a
    parametrization).
    """
    for path, module in network.named_modules():
        if isinstance(module, parametrize.ParametrizationList):
            continue
        keys: dict[str, Any] = dict.fromkeys(module.parametrizations) if parametrize.is_parametrized(module) else {}
        for hook in module._forward_pre_hooks.values():
            if isinstance(hook, tuple(_HOOKS)):
                keys[str(getattr(hook, "name", None) or getattr(hook, "_tensor_name", None))] = hook
        for key, hook in keys.items():
            yield f"{path}.{key}".lstrip("."), module, key, hook


def bake(network: nn.Module) -> None:
    """Replace computed weights (weight_norm, spectral_norm, …) by plain parameters, in place, as a device stores them.

    Covers parametrizations (``torch.nn.utils.parametrize``) and the older hooks of ``torch.nn.utils``. Raises
    ValueError if a layer's weight is computed in another way.
    """
    training = network.training
    network.eval()  # do not update the statistics of spectral_norm
    for _, module, key, hook in list(computed_tensors(network)):
        if hook is None:
            parametrize.remove_parametrizations(module, key, leave_parametrized=True)
        else:
            next(remove for kind, remove in _HOOKS.items() if isinstance(hook, kind))(module, key)
            for number, other in list(module._load_state_dict_pre_hooks.items()):
                # Torch wraps this hook and does not find it when it removes spectral_norm.
                if getattr(getattr(other, "hook", None), "fn", None) is hook:
                    del module._load_state_dict_pre_hooks[number]
    network.train(training)
    for name, module in network.named_modules():
        if isinstance(module, LAYERS) and not isinstance(module.weight, nn.Parameter):
            raise ValueError(f"the weight of {name or 'the network'} is computed by an unknown hook; compute it "
                             f"by torch.nn.utils.parametrize")  # fmt: skip


def tie(network: nn.Module) -> None:
    """Merge parameters that share memory, as after ``a.weight.data = b.weight.data``, into one, in place.

    Raises ValueError if their shapes differ.
    """
    first: dict[int, tuple[str, nn.Parameter]] = {}
    for path, module in network.named_modules():
        for key, parameter in module._parameters.items():
            if parameter is None or not parameter.numel() or parameter.is_meta:
                continue
            name = f"{path}.{key}".lstrip(".")
            other_name, other = first.setdefault(parameter.untyped_storage().data_ptr(), (name, parameter))
            if other is parameter:
                continue
            if (other.shape, other.stride(), other.data_ptr()) != (
                parameter.shape, parameter.stride(), parameter.data_ptr()
            ):  # fmt: skip
                raise ValueError(f"{name} and {other_name} share memory but are not the same tensor; "
                                 f"copy one of them, or use {other_name} for both in forward")  # fmt: skip
            setattr(module, key, other)


@torch.no_grad()
def set_computed(module: nn.Module, key: str, hook: Any, value: Tensor) -> list[str]:
    """Set the tensors that a computed tensor depends on so that it becomes ``value``; returns the changed keys.

    Raises NotImplementedError if its parametrization has no inverse.
    """
    if hook is None:
        setattr(module, key, value)
        inner = f"parametrizations.{key}"
        return [f"{inner}.{name}" for name, _ in module.get_submodule(inner).named_parameters()]
    if isinstance(hook, WeightNorm):
        getattr(module, f"{key}_v").copy_(value)
        getattr(module, f"{key}_g").copy_(torch.norm_except_dim(value, 2, hook.dim))
        return [f"{key}_g", f"{key}_v"]
    getattr(module, f"{key}_orig").copy_(value)
    return [f"{key}_orig"]
