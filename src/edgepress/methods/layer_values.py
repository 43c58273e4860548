"""Weights for NPUs whose compiler stores a layer by how often each of its values occurs, as Arm's Vela does.

What such a stream takes is close to the entropy of a layer's whole numbers, whatever their width: a layer of up to 32
values has a codebook, and frequent ones have short codes. So a layer should have few values, small ones mostly. Scales
of channels cost the same in any case.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from edgepress.codebooks import Symmetric, Table, code_type, lloyd_max
from edgepress.datasets import Prepared
from edgepress.encodings import Encoding, Quantized, Scaled
from edgepress.encodings.huffman import coded
from edgepress.graph import Layer
from edgepress.levels import Level, asked
from edgepress.methods import Method, calibration_inputs, must_come_first
from edgepress.methods.input_hessians import input_hessian
from edgepress.methods.layer_by_layer import LayerByLayer
from edgepress.methods.reconstruction import gptq, needs_plain_layers
from edgepress.networks import compressible
from edgepress.packing import Compressed

METHODS = {
    "entropy_step": {
        "object": "LayerValues",
        "about": "`gptq_tensor` without bounds, its step so wide that codes of variable length take `bits` a weight",
        "family": "layer_values",
        "sweep": "bits",
        "examples": True,
        "args": {"values": "entropy"},
    },
    "layer_kmeans": {
        "object": "LayerValues",
        "about": "a layer's weights, divided by one scale per channel, rounded to 2^b integers that k-means finds",
        "family": "layer_values",
        "sweep": "bits",
        "examples": True,
        "args": {"values": "kmeans"},
    },
}
MOST_BITS = 5  # 32 values; of more, Vela's codebook has no room, and the layer takes as much as int8
_LARGEST = 127  # of int8
_OVERHEAD = 0.55  # bits per weight that Vela 5.2.0 adds to the entropy, at most: .3 on U55 and U65, .5 on U85
_HALVINGS = 30


def entropy(codes: Tensor) -> float:
    """Bits a number of ``codes``, of any shape, by how often each occurs."""
    _, counts = codes.unique(return_counts=True)
    shares = counts / counts.sum()
    return float(-(shares * shares.log2()).sum())


def entropy_step(weights: Tensor, bits: float) -> float:
    """The smallest step, to within a thousandth, whose multiples nearest to ``weights`` have an entropy of ``bits``.

    None of these is beyond 127. Weights that are all 0 have the step 1.
    """
    largest = float(weights.abs().max()) if weights.numel() else 0.0
    if not largest:
        return 1.0
    low, high = largest / _LARGEST, 2.1 * largest  # at which all become 0
    for _ in range(_HALVINGS):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if entropy((weights / middle).round()) > bits else (low, middle)
        if high < 1.001 * low:
            break
    return high


def on_entropy_step(layer: nn.Linear | nn.Conv2d, inputs: Tensor, bits: int) -> Encoding:
    """The weights of a layer as multiples of one step, rounded for its ``inputs``; codes of variable length."""
    weights = layer.weight.detach()
    step = entropy_step(weights, bits - _OVERHEAD)
    groups = 1 if isinstance(layer, nn.Linear) else layer.groups
    positions = (weights.flatten(1) / step).unflatten(0, (groups, -1))
    levels = gptq(positions, input_hessian(layer, inputs), -_LARGEST, _LARGEST).reshape(weights.shape)
    width = max(2, int(levels.abs().max()).bit_length() + 1)
    codes = (levels + (1 << width - 1)).to(code_type(width))
    return coded(Quantized(codes, Symmetric(width, torch.tensor([step]))))


def on_kmeans(layer: nn.Linear | nn.Conv2d, bits: int) -> Encoding:
    """The weights of a layer as one codebook of integers, times one scale per channel of least squared error."""
    rows = layer.weight.detach().flatten(1)
    scales = rows.abs().amax(dim=1, keepdim=True)
    scales = torch.where(scales > 0, scales, 1.0)
    levels = lloyd_max(rows / scales, bits).levels
    unit = levels.abs().max().clamp_min(torch.finfo(torch.float32).tiny) / _LARGEST
    whole = Table(bits, (levels / unit).round().unique())
    codes = whole.encode(rows / (scales * unit))
    values = whole.decode(codes)
    fitted = (rows * values).sum(1) / values.square().sum(1).clamp_min(1)
    factors = torch.where(fitted > 0, fitted, (scales * unit)[:, 0])
    return Scaled(Quantized(codes.reshape(layer.weight.shape), whole), factors)


@dataclass(frozen=True)
class LayerValues(Method):
    """Give the weights of each Linear and Conv layer few values; biases take up what outputs are off on average.

    With ``values`` ``entropy`` these are the multiples of one step a layer, no weight is clipped, and the level says
    the entropy in bits per weight; with ``kmeans``, the codebook of each layer has 2^bits integers.
    """

    values: Literal["entropy", "kmeans"]

    def skip(self, network: nn.Module, data: Prepared, level: Level) -> str | None:
        bits = asked(level.bits)
        if self.values == "entropy" and bits == 1:
            return "one bit a weight leaves too little entropy for three values"
        if self.values == "kmeans" and bits > MOST_BITS:
            return f"of more than {1 << MOST_BITS} values a layer, NPUs keep no codebook"
        return needs_plain_layers(network)

    def apply(
        self, stored: Compressed, network: nn.Module, data: Prepared, level: Level, generator: torch.Generator
    ) -> Compressed:
        must_come_first(stored, "a method that gives layers few values")
        bits, names = asked(level.bits), compressible(network)

        def encode(name: str, layer: Layer, seen: Tensor) -> Encoding | None:
            if name not in names:
                return None
            assert isinstance(layer, nn.Linear | nn.Conv2d)  # or needs_plain_layers says why not
            return on_entropy_step(layer, seen, bits) if self.values == "entropy" else on_kmeans(layer, bits)

        return stored.with_tensors(LayerByLayer(network, encode).encode_all(calibration_inputs(data)))
