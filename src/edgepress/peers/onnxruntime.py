"""ONNX Runtime's static quantization to 8 bits."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from edgepress.levels import Level
from edgepress.peers.onnx_files import OnnxPeer
from edgepress.targets.onnx import FILE, INPUT, to_onnx

PEERS = {
    "onnxruntime": {
        "object": "OnnxRuntime",
        "about": "static quantization of ONNX Runtime in QDQ form: one scale per channel, its own min-max calibration",
        "levels": ["w8a8"],
        "packages": ["onnx", "onnxscript", "onnxruntime"],
        "runtime": "onnxruntime",
    },
}


class OnnxRuntime(OnnxPeer):
    """``onnxruntime.quantization.quantize_static`` on the network in float32, after the runtime's own preparation.

    All defaults but two: one scale per channel of weights, without which depthwise convolutions lose most, and unsigned
    activations, without which the runtime computes most convolutions in float32.
    """

    def compress(self, network: nn.Module, inputs: Tensor, level: Level, folder: Path) -> None:
        from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process

        class Rows(CalibrationDataReader):  # type: ignore[misc] # it has no types
            """Hands out one example after the other."""

            def __init__(self) -> None:
                self.left = iter(inputs.split(1))

            def get_next(self) -> dict[str, Any] | None:
                row = next(self.left, None)
                return None if row is None else {INPUT: row.numpy()}

        with tempfile.TemporaryDirectory() as scratch:
            exported, prepared = (str(Path(scratch) / name) for name in ("exported.onnx", "prepared.onnx"))
            Path(exported).write_bytes(to_onnx(network, tuple(inputs.shape[1:])))
            quant_pre_process(exported, prepared)
            quantize_static(prepared, str(folder / FILE), Rows(), per_channel=True, activation_type=QuantType.QUInt8)
