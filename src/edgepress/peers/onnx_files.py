"""ONNX files of peers: run by ONNX Runtime, and read for the bits and bytes that they hold."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import nn

from edgepress.levels import FLOAT_BITS, Level
from edgepress.peers import Peer
from edgepress.peers.precision import Operation, Precision, bits_of, precision
from edgepress.targets import Runtime
from edgepress.targets.onnx import FILE, Onnx, number_bits, separated

_LAYERS = ("Conv", "Gemm", "MatMul")
_HAND_ON = ("DequantizeLinear", "Flatten", "Reshape", "Identity", "MaxPool", "Squeeze", "Unsqueeze", "Transpose")


class OnnxPeer(Peer):
    """A peer whose file is ``model.onnx``, in QDQ form, for ONNX Runtime. In its exact mode, so that its quality is
    that on every device.
    """

    def load(self, folder: Path, network: nn.Module) -> Runtime:
        return Onnx().load({FILE: separated((folder / FILE).read_bytes())})

    def precision(self, folder: Path, network: nn.Module, level: Level) -> Precision:
        return precision(_operations(_graph(folder)), network)

    def tensor_bytes(self, folder: Path) -> int:
        return Onnx().size({FILE: (folder / FILE).read_bytes()}).tensors


def _graph(folder: Path) -> Any:
    import onnx

    return onnx.load(folder / FILE).graph


def _operations(graph: Any) -> Iterator[Operation]:
    """The graph, an operation for each value."""
    from onnx import numpy_helper

    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            constants[node.output[0]] = node.attribute[0].t
    for name, tensor in constants.items():
        yield Operation(name, "constant", bits=number_bits(tensor.data_type))
    for value in graph.input:
        yield Operation(value.name, "input")
    for value in graph.output:
        yield Operation(f"{value.name} of the network", "output", (value.name,))
    for node in graph.node:
        inputs, text = tuple(node.input), " ".join([node.name, *node.input])
        if node.op_type in _LAYERS:
            yield Operation(node.output[0], "layer", inputs, text=text)
        elif node.op_type == "QuantizeLinear":
            bits = number_bits(constants[inputs[2]].data_type) if len(inputs) > 2 else 8
            yield Operation(node.output[0], "quantize", inputs, bits)
        elif node.op_type == "Clip" and all(number_bits(constants[end].data_type) < FLOAT_BITS for end in inputs[1:]):
            low, high = (int(numpy_helper.to_array(constants[end])) for end in inputs[1:])  # of integers: fewer bits
            yield Operation(node.output[0], "quantize", inputs, bits_of(high - low + 1))
        elif node.op_type != "Constant":
            yield Operation(node.output[0], "pass" if node.op_type in _HAND_ON else "other", inputs)
