"""Quantization after training by Brevitas."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
        "about": "quantization after training by Brevitas, a step a channel, MSE ranges; as QCDQ, a byte a weight",
        "levels": ["w8a8", "w4a8", "w4a4"],
        "packages": ["brevitas", "onnx", "onnxoptimizer", "onnxruntime"],
        "runtime": "onnxruntime",
    },
}
_BATCH = 64


class Brevitas(Peer):
    """``brevitas.graph.quantize.quantize`` with its maps of layers, calibrated.

    What differs from its defaults does so for its good, on val: weights have a step a channel, ranges of activations
    are of least squared error, and the network's input keeps 8 bits, as in our methods. Its bias correction is left
    out: at w4a4 it cost a network 21 points. The file is what its export in QCDQ form writes, in which integers of few
    bits are clipped int8.
    """

    def compress(self, network: nn.Module, inputs: Tensor, level: Level, folder: Path) -> None:
        from brevitas.export import export_onnx_qcdq
        from brevitas.graph.calibrate import calibration_mode

        quantized = _quantized(network, level)
        with torch.no_grad():
            with calibration_mode(quantized):
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
    """``network`` in Brevitas's layers, not yet calibrated."""
    from brevitas.graph import quantize
    from brevitas.nn import QuantIdentity
    from brevitas.quant import scaled_int as quantizers

    def with_weights(kind: Any, settings: dict[str, Any]) -> Any:
        """A layer with weights of the bits of the level; one that has none is left as it is."""
        weights = {"weight_quant": quantizers.Int8WeightPerChannelFloat, "weight_bit_width": level.bits}
        return kind, settings | (weights if "weight_quant" in settings else {})

    def on_grid(kind: Any, settings: dict[str, Any]) -> Any:
        """An activation in the bits of the level."""
        quantizer = getattr(quantizers, f"{settings['act_quant'].__name__}MSE", settings["act_quant"])
        return kind, settings | {"act_quant": quantizer, "bit_width": level.act_bits}

    graph = quantize.preprocess_for_quantize(network)
    for node in graph.graph.nodes:
        if node.op == "call_module" and isinstance(graph.get_submodule(node.target), nn.Identity):
            # Where BatchNorm was folded; Brevitas would quantize before it, so twice where a ReLU follows.
            node.replace_all_uses_with(node.args[0])
            graph.graph.erase_node(node)
    graph.recompile()
    quantized = quantize.quantize(
        graph,
        compute_layer_map=_changed(quantize.COMPUTE_LAYER_MAP, with_weights),
        quant_act_map=_changed(quantize.QUANT_ACT_MAP, on_grid),
        quant_identity_map=_changed(quantize.QUANT_IDENTITY_MAP, on_grid),
    )
    given = next(node for node in quantized.graph.nodes if node.op == "placeholder")
    quantized.set_submodule(
        f"{given.name}_quant", QuantIdentity(quantizers.Int8ActPerTensorFloatMSE, return_quant_tensor=True)
    )
    return quantized.eval()


def _changed(layers: Mapping[Any, Any], change: Callable[..., Any]) -> dict[Any, Any]:
    """One of Brevitas's maps, from a kind of layer to class and settings, with these changed; some have none."""
    return {kind: made and change(*made) for kind, made in layers.items()}
