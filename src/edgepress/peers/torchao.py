"""Weights in few bits by torchao."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from edgepress.levels import FLOAT_BITS, Level, asked
from edgepress.networks import compressible, inference_state
from edgepress.peers import Peer
from edgepress.peers.precision import Precision

PEERS = {
    "torchao": {
        "object": "TorchAo",
        "about": "weights alone in integers by torchao, one scale per channel; 4 bits take a byte in its file, too",
        "levels": ["w8", "w4"],
        "packages": ["torchao"],
    },
}
_FILE = "model.safetensors"


class TorchAo(Peer):
    """``torchao.quantize_`` with ``IntxWeightOnlyConfig``, the one whose weights a CPU computes in convolutions, too.

    Convolutions of one input channel, depthwise ones among them, stay float32: torchao has no step for these. Its
    packed 4-bit weights (``Int4WeightOnlyConfig``) need a GPU. The file is what its safetensors support writes.
    """

    def compress(self, network: nn.Module, inputs: Tensor, level: Level, folder: Path) -> None:
        from torchao.prototype.safetensors.safetensors_support import flatten_tensor_state_dict
        from torchao.quantization import IntxWeightOnlyConfig, MappingType, quantize_

        dtype = getattr(torch, f"int{level.bits}")
        # With its default, SYMMETRIC, 7 steps of 4 bits reach 14/15 of the largest weight, so that one is clipped.
        config = IntxWeightOnlyConfig(dtype, mapping_type=MappingType.SYMMETRIC_NO_CLIPPING_ERR)
        quantize_(network, config, filter_fn=lambda module, name: _has_step(module))
        tensors, about = flatten_tensor_state_dict(inference_state(network))
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / _FILE, about)

    def load(self, folder: Path, network: nn.Module) -> nn.Module:
        from torchao.prototype.safetensors.safetensors_support import unflatten_tensor_state_dict

        with safe_open(folder / _FILE, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
            state, _ = unflatten_tensor_state_dict(tensors, file.metadata())
        loaded = copy.deepcopy(network)
        loaded.load_state_dict(state, strict=False, assign=True)
        return loaded

    def precision(self, folder: Path, network: nn.Module, level: Level) -> Precision:
        layers = network.named_modules()
        bits = {f"{name}.weight": asked(level.bits) for name, layer in layers if _has_step(layer)}
        return Precision(dict.fromkeys(compressible(network), FLOAT_BITS) | bits)


def _has_step(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.weight.shape[1] > 1)
