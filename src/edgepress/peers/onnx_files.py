"""ONNX files of peers: run by ONNX Runtime, and read for the bits and bytes that they hold."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import nn

from edgepress.costs import export, runtime
from edgepress.levels import FLOAT_BITS, Level
from edgepress.peers import Peer, Runtime
from edgepress.peers.precision import Operation, Precision, bits_of, precision

FILE = "model.onnx"
_LAYERS = ("Conv", "Gemm", "MatMul")
_HAND_ON = ("DequantizeLinear", "Flatten", "Reshape", "Identity", "MaxPool", "Squeeze", "Unsqueeze", "Transpose")


class OnnxPeer(Peer):
    """A peer whose file is ``model.onnx``, in QDQ form, for ONNX Runtime. In its exact mode, so that its quality is
    that on every device.
    """

    def load(self, folder: Path, network: nn.Module) -> Runtime:
        model = export.separated((folder / FILE).read_bytes())
        session = runtime.session(model, runtime.EXACT)
        (given,) = session.get_inputs()
        return Runtime(lambda rows: session.run(None, {given.name: rows})[0], model)

    def precision(self, folder: Path, network: nn.Module, level: Level) -> Precision:
        return precision(_operations(_graph(folder)), network)

    def tensor_bytes(self, folder: Path) -> int:
        return sum(math.ceil(math.prod(tensor.dims) * _bits(tensor.data_type) / 8) for tensor in _tensors(folder))


def _graph(folder: Path) -> Any:
    import onnx

    return onnx.load(folder / FILE).graph


def _tensors(folder: Path) -> Iterator[Any]:
    """The tensors that the file stores, those within nodes among them."""
    graph = _graph(folder)
    yield from graph.initializer
    yield from (attribute.t for node in graph.node if node.op_type == "Constant" for attribute in node.attribute)


def _operations(graph: Any) -> Iterator[Operation]:
    """The graph, an operation for each value."""
    from onnx import numpy_helper

    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            constants[node.output[0]] = node.attribute[0].t
    for name, tensor in constants.items():
        yield Operation(name, "constant", bits=_bits(tensor.data_type))
    for value in graph.input:
        yield Operation(value.name, "input")
    for value in graph.output:
        yield Operation(f"{value.name} of the network", "output", (value.name,))
    for node in graph.node:
        inputs, text = tuple(node.input), " ".join([node.name, *node.input])
        if node.op_type in _LAYERS:
            yield Operation(node.output[0], "layer", inputs, text=text)
        elif node.op_type == "QuantizeLinear":
            bits = _bits(constants[inputs[2]].data_type) if len(inputs) > 2 else 8
            yield Operation(node.output[0], "quantize", inputs, bits)
        elif node.op_type == "Clip" and all(_bits(constants[end].data_type) < FLOAT_BITS for end in inputs[1:]):
            low, high = (int(numpy_helper.to_array(constants[end])) for end in inputs[1:])  # of integers: fewer bits
            yield Operation(node.output[0], "quantize", inputs, bits_of(high - low + 1))
        elif node.op_type != "Constant":
            yield Operation(node.output[0], "pass" if node.op_type in _HAND_ON else "other", inputs)


def _bits(data_type: int) -> int:
    """The bits that a number of an ONNX type takes."""
    from onnx import TensorProto, helper

    name = TensorProto.DataType.Name(data_type)
    if name.lstrip("U").startswith("INT"):
        return int(name.rpartition("INT")[2])
    return int(helper.tensor_dtype_to_np_dtype(data_type).itemsize * 8)
