"""Quantization after training by Brevitas."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgepress.costs import export
from edgepress.levels import Level
from edgepress.peers import Peer, Runtime
from edgepress.peers.onnxruntime import FILE, load

PEERS = {
    "brevitas": {
        "object": "Brevitas",
        "about": "quantization after training by Brevitas, a step a channel, bias correction; as QCDQ, a byte a weight",
        "levels": ["w8a8", "w4a8", "w4a4"],
        "packages": ["brevitas", "onnx", "onnxoptimizer", "onnxruntime"],
        "runtime": "onnxruntime",
    },
}
_BATCH = 64


class Brevitas(Peer):
    """``brevitas.graph.quantize.quantize`` with its default maps of layers, calibrated, biases corrected after it.

    Two things differ from the defaults: weights have a step a channel, and the network's input keeps 8 bits, as in our
    methods. The file is what its export in QCDQ form writes: integers of few bits are clipped int8 there.
    """

    def compress(self, network: nn.Module, inputs: Tensor, level: Level, folder: Path) -> None:
        from brevitas.export import export_onnx_qcdq
        from brevitas.graph.calibrate import bias_correction_mode, calibration_mode

        quantized = _quantized(network, level)
        with torch.no_grad():
            for mode in (calibration_mode, bias_correction_mode):
                with mode(quantized):
                    for batch in inputs.split(_BATCH):
                        quantized(batch)
            # By the exporter that dynamo replaced: with the other one, Brevitas leaves weights in float32.
            export_onnx_qcdq(
                quantized,
                args=inputs[:1],
                export_path=str(folder / FILE),
                input_names=[export.INPUT],
                output_names=[export.OUTPUT],
                dynamic_axes={export.INPUT: {0: "rows"}, export.OUTPUT: {0: "rows"}},
                dynamo=False,
            )

    def load(self, folder: Path, network: nn.Module) -> Runtime:
        return load(folder)


def _quantized(network: nn.Module, level: Level) -> nn.Module:
    """A copy of ``network`` in Brevitas's layers, not yet calibrated."""
    from brevitas.graph import quantize
    from brevitas.nn import QuantIdentity
    from brevitas.quant import Int8ActPerTensorFloat, Int8WeightPerChannelFloat

    weights = {"weight_quant": Int8WeightPerChannelFloat, "weight_bit_width": level.bits}
    acts = {"bit_width": level.act_bits}
    graph = quantize.preprocess_for_quantize(network)
    for node in graph.graph.nodes:
        if node.op == "call_module" and isinstance(graph.get_submodule(node.target), nn.Identity):
            # Where BatchNorm was folded; Brevitas would quantize before it, so twice where a ReLU follows.
            node.replace_all_uses_with(node.args[0])
            graph.graph.erase_node(node)
    graph.recompile()
    quantized = quantize.quantize(
        graph,
        compute_layer_map=_with(quantize.COMPUTE_LAYER_MAP, weights, "weight_quant"),
        quant_act_map=_with(quantize.QUANT_ACT_MAP, acts, "act_quant"),
        quant_identity_map=_with(quantize.QUANT_IDENTITY_MAP, acts, "act_quant"),
    ).eval()
    given = next(node for node in quantized.graph.nodes if node.op == "placeholder")
    quantized.set_submodule(f"{given.name}_quant", QuantIdentity(Int8ActPerTensorFloat, return_quant_tensor=True))
    return quantized.eval()


def _with(layers: Mapping[Any, Any], settings: Mapping[str, Any], where: str) -> dict[Any, Any]:
    """One of Brevitas's maps, kind of layer to class and settings, with other ``settings`` where it has ``where``."""
    return {
        kind: (made[0], {**made[1], **settings}) if made and where in made[1] else made for kind, made in layers.items()
    }
