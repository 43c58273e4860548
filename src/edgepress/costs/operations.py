"""Multiply-accumulates, and bit operations, of one inference."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgepress.graph import LAYERS, Layer
from edgepress.levels import FLOAT_BITS


@dataclass(frozen=True)
class LayerCall:
    """One use of a Linear or Conv layer in an inference; shapes are those of a batch of one example."""

    weight: str  # the name of the layer's weight tensor
    layer: Layer
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]


@torch.inference_mode()
def layer_calls(network: nn.Module, input_shape: tuple[int, ...]) -> list[LayerCall]:
    """The uses of Linear and Conv layers in the inference of one example, in order, from a pass of zeros."""
    calls: list[LayerCall] = []
    handles = []
    for name, module in network.named_modules():
        if isinstance(module, LAYERS) and module.weight.numel():

            def note(
                layer: Layer, args: tuple[Tensor, ...], named: dict[str, Tensor], output: Tensor, name: str = name
            ) -> None:
                weight, (inputs,) = f"{name}.weight".lstrip("."), (*args, *named.values())
                calls.append(LayerCall(weight, layer, tuple(inputs.shape), tuple(output.shape)))

            handles.append(module.register_forward_hook(note, with_kwargs=True))
    training = network.training
    try:
        device = next(network.parameters()).device
        network.eval()(torch.zeros(1, *input_shape, device=device))
    finally:
        network.train(training)
        for handle in handles:
            handle.remove()
    return calls


def layer_macs(network: nn.Module, input_shape: tuple[int, ...]) -> dict[str, int]:
    """Multiply-accumulates of one example in each Linear and Conv layer, by the name of its weight tensor.

    A layer multiplies every weight once for each position of its output; biases, norms and activations are not
    counted.
    """
    macs: dict[str, int] = {}
    for call in layer_calls(network, input_shape):
        weight = call.layer.weight
        macs[call.weight] = macs.get(call.weight, 0) + weight.numel() * math.prod(call.output_shape) // weight.shape[0]
    return macs


def bit_operations(
    macs: Mapping[str, int], weight_bits: Mapping[str, float], act_bits: Mapping[str, int] | None = None
) -> int:
    """BOPs: Σ over layers of MACs × bits a weight × bits an activation (van Baalen et al. 2020, arXiv 2005.07093).

    ``act_bits`` are those of a layer's input; a layer not in it reads float32.
    """
    act_bits = act_bits or {}
    return sum(round(count * weight_bits[name] * act_bits.get(name, FLOAT_BITS)) for name, count in macs.items())
