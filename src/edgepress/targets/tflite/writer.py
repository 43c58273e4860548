"""Operators as the bytes of a TensorFlow Lite file, by the object API of its schema."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgepress.targets.tflite.lowering import Held, Operator, Weights

_VERSION = 3  # of the schema
_IDENTIFIER = b"TFL3"
_OPERATORS = {  # name in the schema, and the version that has int8, with scales for each channel
    "conv": ("CONV_2D", 3),
    "depthwise": ("DEPTHWISE_CONV_2D", 3),
    "dense": ("FULLY_CONNECTED", 12),
    "add": ("ADD", 2),
    "mean": ("MEAN", 2),
    "max_pool": ("MAX_POOL_2D", 2),
    "pad": ("PAD", 2),
    "reshape": ("RESHAPE", 1),
}
_INT4_RANGE = (-8, 7)


def written(operators: list[Operator], int4: bool = False) -> bytes:
    """The file of one subgraph, for one example at a time: the same bytes every time.

    ``int4``: weights whose codes fit 4 bits are stored two a byte where the runtime's kernels read that, which those of
    convolutions do, and those of dense layers with one scale.
    """
    return _Writer(int4).file(operators)


def fits_int4(operator: Operator) -> bool:
    """Whether an operator's weights can be stored as int4."""
    if operator.weights is None:
        return False
    codes = operator.weights.codes
    low, high = _INT4_RANGE
    in_range = bool(codes.min(initial=0) >= low and codes.max(initial=0) <= high)
    return in_range and (operator.kind != "dense" or operator.weights.one_scale)


def packed_int4(codes: np.ndarray) -> np.ndarray:
    """Two codes a byte, the first in the lower half; an odd last one has zeros beside it."""
    flat = np.append(codes.reshape(-1), np.zeros(codes.size % 2, np.int8)).view(np.uint8) & 15
    return flat[0::2] | (flat[1::2] << 4)


class _Writer:
    def __init__(self, int4: bool) -> None:
        from ai_edge_litert import schema_py_generated

        self.schema: Any = schema_py_generated
        self.int4 = int4
        self.tensors: list[Any] = []
        self.buffers: list[Any] = [self.schema.BufferT()]  # the first one stands for no data
        self.places: dict[Held, int] = {}
        self.codes: dict[str, int] = {}

    def file(self, operators: list[Operator]) -> bytes:
        import flatbuffers

        schema = self.schema
        source = self._held(operators[0].inputs[0])
        graph = schema.SubGraphT()
        graph.operators = [self._operator(operator) for operator in operators]
        graph.inputs = np.array([source], np.int32)
        graph.outputs = np.array([self.places[operators[-1].output]], np.int32)
        graph.tensors, graph.name = self.tensors, "main"
        model = schema.ModelT()
        model.version, model.description = _VERSION, "edgepress"
        model.subgraphs, model.buffers = [graph], self.buffers
        model.operatorCodes = [self._operator_code(kind) for kind in self.codes]
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), _IDENTIFIER)
        return bytes(builder.Output())

    def _operator_code(self, kind: str) -> Any:
        name, version = _OPERATORS[kind]
        code = self.schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = getattr(self.schema.BuiltinOperator, name)
        code.version = version
        return code

    def _operator(self, operator: Operator) -> Any:
        written = self.schema.OperatorT()
        written.opcodeIndex = self.codes.setdefault(operator.kind, len(self.codes))
        inputs = [self.places[source] for source in operator.inputs] + self._constants(operator)
        written.inputs = np.array(inputs, np.int32)
        written.outputs = np.array([self._held(operator.output)], np.int32)
        name, options = self._options(operator)
        written.builtinOptionsType, written.builtinOptions = getattr(self.schema.BuiltinOptions, name), options
        return written

    def _constants(self, operator: Operator) -> list[int]:
        """The tensors that an operator reads beside its inputs."""
        name, types = operator.output.name, self.schema.TensorType
        if operator.weights is not None:
            return self._weights(operator, operator.weights)
        if operator.kind == "mean":
            return [self._tensor(f"{name}_axes", types.INT32, np.array([1, 2], np.int32))]
        if operator.kind == "reshape":
            return [self._tensor(f"{name}_shape", types.INT32, np.array([1, *operator.output.shape], np.int32))]
        if operator.kind == "pad":
            top, bottom, left, right = operator.padding
            sides = np.array([[0, 0], [top, bottom], [left, right], [0, 0]], np.int32)
            return [self._tensor(f"{name}_sides", types.INT32, sides)]
        return []

    def _weights(self, operator: Operator, weights: Weights) -> list[int]:
        name, types = operator.output.name, self.schema.TensorType
        axis = 3 if operator.kind == "depthwise" else 0
        packed = self.int4 and fits_int4(operator)
        scales = weights.scales[:1] if operator.kind == "dense" and weights.one_scale else weights.scales
        products = weights.scales * np.float32(operator.inputs[0].scale)
        data = packed_int4(weights.codes) if packed else weights.codes
        kernel = self._tensor(f"{name}_weight", types.INT4 if packed else types.INT8, data, scales, axis)
        self.tensors[kernel].shape = np.array(weights.codes.shape, np.int32)
        return [kernel, self._tensor(f"{name}_bias", types.INT32, weights.bias, products[: len(scales)], 0)]

    def _held(self, held: Held) -> int:
        """The tensor of an activation."""
        place = self._tensor(held.name, self.schema.TensorType.INT8, None, np.array([held.scale], np.float32), 0)
        tensor = self.tensors[place]
        tensor.shape = np.array([1, *held.shape], np.int32)
        tensor.quantization.zeroPoint = np.array([held.zero_point], np.int64)
        self.places[held] = place
        return place

    def _tensor(
        self, name: str, kind: int, data: np.ndarray | None, scales: np.ndarray | None = None, axis: int = 0
    ) -> int:
        tensor = self.schema.TensorT()
        tensor.name, tensor.type = name, kind
        if data is not None:
            tensor.buffer, tensor.shape = len(self.buffers), np.array(data.shape, np.int32)
            buffer = self.schema.BufferT()
            buffer.data = np.frombuffer(data.tobytes(), np.uint8)
            self.buffers.append(buffer)
        if scales is not None:
            grid = self.schema.QuantizationParametersT()
            grid.scale, grid.zeroPoint = scales.astype(np.float32), np.zeros(len(scales), np.int64)
            grid.quantizedDimension = axis
            tensor.quantization = grid
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def _options(self, operator: Operator) -> tuple[str, Any]:
        schema = self.schema
        rectifier = schema.ActivationFunctionType.NONE
        if operator.ceiling is not None:
            kinds = schema.ActivationFunctionType
            rectifier = kinds.RELU6 if operator.ceiling == 6 else kinds.RELU
        padding = schema.Padding.SAME if operator.same else schema.Padding.VALID
        (high, wide), (dilated_h, dilated_w) = operator.stride, operator.dilation
        if operator.kind == "conv":
            return "Conv2DOptions", schema.Conv2DOptionsT(padding, wide, high, rectifier, dilated_w, dilated_h)
        if operator.kind == "depthwise":
            multiplier = operator.output.shape[-1] // operator.inputs[0].shape[-1]
            options = schema.DepthwiseConv2DOptionsT(padding, wide, high, multiplier, rectifier, dilated_w, dilated_h)
            return "DepthwiseConv2DOptions", options
        if operator.kind == "dense":
            return "FullyConnectedOptions", schema.FullyConnectedOptionsT(rectifier)
        if operator.kind == "add":
            return "AddOptions", schema.AddOptionsT(rectifier)
        if operator.kind == "mean":
            return "ReducerOptions", schema.ReducerOptionsT(keepDims=True)
        if operator.kind == "max_pool":
            window_h, window_w = operator.window
            return "Pool2DOptions", schema.Pool2DOptionsT(padding, wide, high, window_w, window_h)
        if operator.kind == "pad":
            return "PadOptions", schema.PadOptionsT()
        return "ReshapeOptions", schema.ReshapeOptionsT([1, *operator.output.shape])
