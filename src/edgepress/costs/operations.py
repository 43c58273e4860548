"""Multiply-accumulates, and bit operations, of one inference."""

from __future__ import annotations

import torch
from torch import nn

FLOAT_BITS = 32


@torch.inference_mode()
def layer_macs(network: nn.Module, input_shape: tuple[int, ...]) -> dict[str, int]:
    """Multiply-accumulates of one example in each Linear and Conv layer, by the name of its weight tensor.

    A layer multiplies every weight once for each position of its output, counted from a pass of zeros; biases,
    norms and activations are not counted.
    """
    macs: dict[str, int] = {}
    handles = []
    for name, module in network.named_modules():
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):

            def count(layer: nn.Module, _: object, output: torch.Tensor, name: str = name) -> None:
                channels = layer.weight.shape[0]
                weight = f"{name}.weight".lstrip(".")
                macs[weight] = macs.get(weight, 0) + layer.weight.numel() * output.numel() // channels

            handles.append(module.register_forward_hook(count))
    training = network.training
    try:
        device = next(network.parameters()).device
        network.eval()(torch.zeros(1, *input_shape, device=device))
    finally:
        network.train(training)
        for handle in handles:
            handle.remove()
    return macs


def bit_operations(macs: dict[str, int], weight_bits: dict[str, float], act_bits: dict[str, int] | None = None) -> int:
    """BOPs: Σ over layers of MACs × bits a weight × bits an activation (van Baalen et al. 2020, arXiv 2005.07093).

    ``act_bits`` are those of a layer's input; a layer not in it reads float32.
    """
    act_bits = act_bits or {}
    return sum(round(count * weight_bits[name] * act_bits.get(name, FLOAT_BITS)) for name, count in macs.items())
