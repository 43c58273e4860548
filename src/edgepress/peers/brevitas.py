"""Quantization after training by Brevitas."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

from edgepress.levels import Level, asked
from edgepress.operations import Property, properties
from edgepress.peers.onnx_files import OnnxPeer
from edgepress.targets.onnx import FILE, INPUT, OUTPUT

PEERS = {
    "*": {
        "object": "Brevitas",
        "levels": ["w8a8", "w4a8", "w4a4"],
        "packages": ["brevitas", "onnx", "onnxoptimizer", "onnxruntime"],
        "runtime": "onnxruntime",
    },
    "brevitas": {
        "about": "quantization after training by Brevitas, one scale per channel, MSE ranges; as QCDQ, a byte a weight",
        "args": {"gptq": False},
    },
    "brevitas_gptq": {
        "about": "`brevitas` with its GPTQ and bias correction, and 8 bits at least for what is only added or averaged",
        "args": {"gptq": True},
    },
}
_BATCH = 64
_OTHER_BITS = 8  # at least, of the network's input and output, and with GPTQ of what is only added or averaged
_AVERAGES = (nn.AvgPool2d, nn.AdaptiveAvgPool2d)


@dataclass(frozen=True)
class Brevitas(OnnxPeer):
    """``brevitas.graph.quantize.quantize`` with its maps of layers, calibrated.

    Defaults that improve on val are changed: weights have one scale per channel, activation ranges minimize the squared
    error, and the network's input and output keep 8 bits.

    ``gptq`` adds ``gptq_mode`` and ``bias_correction_mode``, and keeps 8 bits where values are only added or averaged,
    as our methods do. Steps of weights are then of least squared error: with its default, the largest weight, Brevitas
    takes the largest of the slice that GPTQ is about to round, so that nothing is rounded. Without GPTQ, these steps
    and the correction of biases cost accuracy, up to 18 points at w4a4.

    The file is what its export in QCDQ form writes, in which integers of few bits are clipped int8.
    """

    gptq: bool

    def compress(self, network: nn.Module, inputs: Tensor, level: Level, folder: Path) -> None:
        from brevitas.export import export_onnx_qcdq
        from brevitas.graph.calibrate import calibration_mode

        quantized = _quantized(network, level, "MSE" if self.gptq else "")
        if self.gptq:
            _widen_what_is_only_summed(quantized, asked(level.act_bits))
        with torch.no_grad():
            with calibration_mode(quantized):
                for batch in inputs.split(_BATCH):
                    quantized(batch)
            if self.gptq:
                _round_for_outputs(quantized, inputs)
            # By the exporter that dynamo replaced: with the other one, Brevitas leaves weights in float32.
            export_onnx_qcdq(
                quantized,
                args=inputs[:1],
                export_path=str(folder / FILE),
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_axes={INPUT: {0: "rows"}, OUTPUT: {0: "rows"}},
                dynamo=False,
            )


def _quantized(network: nn.Module, level: Level, steps: str) -> fx.GraphModule:
    """``network`` in Brevitas's layers, not yet calibrated, its weights' steps by the quantizer of that ending."""
    from brevitas.graph import quantize
    from brevitas.quant import scaled_int as quantizers

    def with_weights(kind: Any, settings: dict[str, Any]) -> Any:
        """A layer with weights of the bits of the level; one that has none is left as it is."""
        quantizer = getattr(quantizers, f"Int8WeightPerChannelFloat{steps}")
        weights = {"weight_quant": quantizer, "weight_bit_width": level.bits}
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
    quantized: fx.GraphModule = quantize.quantize(
        graph,
        compute_layer_map=_changed(quantize.COMPUTE_LAYER_MAP, with_weights),
        quant_act_map=_changed(quantize.QUANT_ACT_MAP, on_grid),
        quant_identity_map=_changed(quantize.QUANT_IDENTITY_MAP, on_grid),
    )
    nodes = list(quantized.graph.nodes)
    ends = {"input": f"{nodes[0].name}_quant", "output": str(nodes[-1].args[0].target)}
    for end, name in ends.items():
        if isinstance(quantized.get_submodule(name), _identity()):
            bits = max(asked(level.act_bits), _OTHER_BITS)
            quantized.set_submodule(name, _on_own_grid(_identity(), bits, as_quantized=end == "input"))
    return quantized.eval()


def _identity() -> type[nn.Module]:
    """Brevitas's layer that puts values on a grid, and does no more."""
    from brevitas.nn import QuantIdentity

    kind: type[nn.Module] = QuantIdentity
    return kind


def _on_own_grid(kind: type[nn.Module], bits: int, as_quantized: bool) -> nn.Module:
    """A layer that puts values on a grid of its own, signed unless it is a ReLU; it gives these with the grid, or,
    not ``as_quantized``, as they are."""
    from brevitas.quant import scaled_int as quantizers

    signed = kind is _identity()
    quantizer = quantizers.Int8ActPerTensorFloatMSE if signed else quantizers.Uint8ActPerTensorFloatMSE
    return kind(act_quant=quantizer, bit_width=bits, return_quant_tensor=as_quantized)


def _widen_what_is_only_summed(quantized: fx.GraphModule, act_bits: int) -> None:
    """Give 8 bits to activations that are only added or averaged, in place.

    Brevitas has one grid for all that goes into a sum, and adds none but equal ones; so each gets a grid of its own,
    and what was on a grid is added as floats.
    """
    from brevitas.nn import QuantReLU

    for node in list(quantized.graph.nodes):
        kind = type(quantized.get_submodule(node.target)) if node.op == "call_module" else None
        summed = [_sums(user, quantized) for user in node.users]
        if kind is None or kind not in (_identity(), QuantReLU) or not any(summed):
            continue
        bits = max(act_bits, _OTHER_BITS) if all(summed) else act_bits
        name = f"{node.name}_own_grid"
        quantized.add_submodule(name, _on_own_grid(kind, bits, as_quantized=not all(summed)).eval())
        node.target = name
    quantized.recompile()


def _sums(node: fx.Node, network: nn.Module) -> bool:
    if node.op == "call_module":
        return isinstance(network.get_submodule(str(node.target)), _AVERAGES)
    return node.op == "call_function" and Property.ADDS in properties(node.target)


def _round_for_outputs(quantized: nn.Module, inputs: Tensor) -> None:
    """Brevitas's GPTQ, layer by layer, then its correction of biases, in place."""
    from brevitas.graph.calibrate import bias_correction_mode
    from brevitas.graph.gptq import gptq_mode

    quantized(inputs[:1])  # which gives weights their steps
    with gptq_mode(quantized) as gptq:
        for _ in range(gptq.num_layers):
            for batch in inputs.split(_BATCH):
                gptq.model(batch)
            gptq.update()
    with bias_correction_mode(quantized):
        for batch in inputs.split(_BATCH):
            quantized(batch)


def _changed(layers: Mapping[Any, Any], change: Callable[..., Any]) -> dict[Any, Any]:
    """One of Brevitas's maps, from a kind of layer to class and settings, with these changed; some have none."""
    return {kind: made and change(*made) for kind, made in layers.items()}
