"""Multiply-accumulates, and bit operations, of one inference."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from edgepress.graph import LAYERS, Layer, weight_names
from edgepress.levels import FLOAT_BITS

# Operations of torch that multiply and accumulate, by a part of their name.
_MULTIPLIES = re.compile(
    r"(^|_)(mm|bmm|addmm|baddbmm|addbmm|mv|addmv|dot|vdot|matmul|linear|bilinear|trilinear|conv\w*|convolution|attention"
    r"|transformer|lstm|gru|rnn|cdist|fft)(_|$)"
)


@dataclass(frozen=True)
class LayerCall:
    """One use of a Linear or Conv layer in an inference; shapes are those of a batch of one example."""

    weight: str  # the name of the layer's weight tensor
    layer: Layer
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]


@dataclass(frozen=True)
class Inference:
    """The uses of Linear and Conv layers in the inference of one example, in order, and what else multiplies: ``rnn
    (LSTM)``, or ``bmm in attention``, each place once.
    """

    calls: list[LayerCall]
    uncounted: list[str]


def observed(network: nn.Module, input_shape: tuple[int, ...]) -> Inference:
    """What ``network`` does in the inference of one example, from a pass of zeros.

    Operations that multiply and accumulate are recognized by their name in torch: matrix products, convolutions,
    attention and recurrent layers. Elementwise products, pooling and resampling are not counted, as is usual.
    """
    watch = _Watch(network)
    training = network.training
    try:
        device = next(network.parameters()).device
        # Not in inference mode, in which torch hands on whole attention or recurrent layers under other names.
        with torch.no_grad(), watch:
            network.eval()(torch.zeros(1, *input_shape, device=device))
    finally:
        network.train(training)
        watch.remove()
    return Inference(watch.calls, list(dict.fromkeys(watch.uncounted)))


class _Watch(TorchDispatchMode):
    """Notes the layers that are called, and the operations that multiply outside of them."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # not in torch's types
        self.calls: list[LayerCall] = []
        self.uncounted: list[str] = []
        self.inside: list[tuple[str, nn.Module]] = []  # the modules that are being called
        self.own: list[int] = []  # and how many operations that multiply each has called itself
        names = weight_names(network)
        self.handles = []
        for path, module in network.named_modules():
            name = names.get(f"{path}.weight".lstrip("."))
            self.handles += [
                module.register_forward_pre_hook(partial(self._enter, path)),
                module.register_forward_hook(partial(self._leave, name), with_kwargs=True),
            ]

    def remove(self) -> None:
        for handle in self.handles:
            handle.remove()

    def _enter(self, path: str, module: nn.Module, args: tuple[Any, ...]) -> None:
        self.inside.append((path, module))
        self.own.append(0)

    def _leave(
        self, name: str | None, layer: Layer, args: tuple[Tensor, ...], named: dict[str, Tensor], output: Tensor
    ) -> None:
        path, _ = self.inside.pop()
        multiplied = self.own.pop()
        if name is not None:
            inputs, *_ = (*args, *named.values())
            self.calls.append(LayerCall(name, layer, tuple(inputs.shape), tuple(output.shape)))
            if multiplied > 1:  # a layer of the user's own that does more than its weight says
                self.uncounted.append(f"{path} ({type(layer).__name__})".lstrip())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        operation = func.overloadpacket.__name__
        multiplies = _MULTIPLIES.search(operation)
        if multiplies and not operation.startswith("upsample"):
            path, module = self.inside[-1]
            self.own[-1] += 1
            if not isinstance(module, LAYERS):
                known = type(module).__module__.startswith("torch.nn.")
                where = f"{path} ({type(module).__name__})" if known else f"{multiplies[2]} in {path or 'forward'}"
                self.uncounted.append(where)
        return func(*args, **(kwargs or {}))


def layer_macs(network: nn.Module, input_shape: tuple[int, ...]) -> dict[str, int]:
    """Multiply-accumulates of one example in each Linear and Conv layer, by the name of its weight tensor; see
    ``macs_of``.
    """
    return macs_of(observed(network, input_shape).calls)


def macs_of(calls: Iterable[LayerCall]) -> dict[str, int]:
    """Multiply-accumulates of ``calls``, by the names of weight tensors.

    A layer multiplies every weight once for each position of its output; biases, norms and activations are not
    counted.
    """
    macs: dict[str, int] = {}
    for call in calls:
        weight = call.layer.weight
        macs[call.weight] = macs.get(call.weight, 0) + weight.numel() * math.prod(call.output_shape) // weight.shape[0]
    return macs


def bit_operations(
    macs: Mapping[str, int], weight_bits: Mapping[str, float], act_bits: Mapping[str, int] | None = None
) -> int:
    """BOPs: Σ over layers of MACs × bits per weight × bits per activation (van Baalen et al. 2020, arXiv 2005.07093).

    ``act_bits`` are those of a layer's input; a layer not in it reads float32.
    """
    act_bits = act_bits or {}
    return sum(round(count * weight_bits[name] * act_bits.get(name, FLOAT_BITS)) for name, count in macs.items())
