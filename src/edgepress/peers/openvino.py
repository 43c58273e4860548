"""NNCF's quantization after training to 8 bits, for OpenVINO."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgepress.levels import Level
from edgepress.peers import Peer
from edgepress.peers.precision import Operation, Precision, bits_of, precision
from edgepress.targets import Runtime

PEERS = {
    "openvino": {
        "object": "OpenVino",
        "about": "quantization of NNCF for OpenVINO: its own calibration, with fast bias correction",
        "levels": ["w8a8"],
        "packages": ["nncf", "openvino"],
        "runtime": "openvino",
    },
}
_FILE = "model.xml"  # and model.bin beside it, which has the weights
_EXACT = {"INFERENCE_PRECISION_HINT": "f32"}  # what is left in float is computed in float32, whatever the CPU can
_ONE_THREAD = {"INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY"}
_LAYERS = ("Convolution", "GroupConvolution", "MatMul")
_HAND_ON = ("Reshape", "Squeeze", "Unsqueeze", "Transpose", "MaxPool")
_SILENT = {"CI": "true", "NNCF_CI": "1"}  # or both libraries report over the network that they are used


class OpenVino(Peer):
    """``nncf.quantize`` on the network in OpenVINO's form, with all its defaults; saved by ``openvino.save_model``."""

    def compress(self, network: nn.Module, inputs: Tensor, level: Level, folder: Path) -> None:
        os.environ |= _SILENT
        import nncf
        import openvino

        rows = (-1, *inputs.shape[1:])
        model = openvino.convert_model(network, example_input=torch.zeros(2, *rows[1:]), input=[rows])
        calibration = nncf.Dataset([row.numpy() for row in inputs.split(1)])
        openvino.save_model(nncf.quantize(model, calibration, subset_size=len(inputs)), folder / _FILE)

    def load(self, folder: Path, network: nn.Module) -> Runtime:
        import openvino

        compiled = openvino.Core().compile_model(folder / _FILE, "CPU", {**_EXACT, **_ONE_THREAD})
        return Runtime(lambda rows: compiled(rows)[0])

    def precision(self, folder: Path, network: nn.Module, level: Level) -> Precision:
        import openvino

        return precision(_operations(openvino.Core().read_model(folder / _FILE)), network)

    def tensor_bytes(self, folder: Path) -> int:
        return sum(file.stat().st_size for file in folder.glob("*.bin"))


def _operations(model: Any) -> Iterator[Operation]:
    """The graph of a model in OpenVINO's form."""
    for node in model.get_ordered_ops():
        kind, name = node.get_type_name(), node.get_friendly_name()
        inputs = tuple(value.get_node().get_friendly_name() for value in node.input_values())
        if kind in _LAYERS:
            yield Operation(name, "layer", inputs, text=name)
        elif kind == "FakeQuantize":
            yield Operation(name, "quantize", inputs, bits_of(node.get_attributes()["levels"]))
        elif kind == "Constant":
            yield Operation(name, "constant", bits=node.get_element_type().bitwidth)
        elif kind in ("Parameter", "Result"):
            yield Operation(name, "input" if kind == "Parameter" else "output", inputs)
        else:
            yield Operation(name, "pass" if kind in _HAND_ON else "other", inputs)
