"""What runs TensorFlow Lite files on this machine, and what a file holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgepress.targets import Runtime
from edgepress.targets.tflite.lowering import HIGHEST, LOWEST

_ARENA = 1 << 20  # bytes at least that TensorFlow Lite Micro may use here
_ARENA_SHARE = 10  # times the file; what it plans in there is less, and a device is given what it planned
_Grid = tuple[float, int]  # scale and zero point


@dataclass(frozen=True)
class Constant:
    """A tensor that a file holds: its name, its type, ``INT4`` say, its shape, scales and bytes."""

    name: str
    type: str
    shape: tuple[int, ...]
    scales: np.ndarray
    data: bytes

    def codes(self) -> np.ndarray:
        """The integers of weights, int8."""
        if self.type != "INT4":
            return np.frombuffer(self.data, np.int8).reshape(self.shape)
        pairs = np.frombuffer(self.data, np.uint8)
        nibbles = np.stack([pairs & 15, pairs >> 4], axis=1).reshape(-1)[: int(np.prod(self.shape))]
        return (((nibbles ^ 8).astype(np.int8)) - 8).reshape(self.shape)


def constants(model: bytes) -> Iterator[Constant]:
    """The tensors that a file holds, in its order."""
    from ai_edge_litert import schema_py_generated as schema

    types = {value: name for name, value in vars(schema.TensorType).items() if not name.startswith("_")}
    whole = schema.ModelT.InitFromPackedBuf(model, 0)
    for tensor in whole.subgraphs[0].tensors:
        if (data := whole.buffers[tensor.buffer].data) is not None:
            scales = None if tensor.quantization is None else tensor.quantization.scale
            yield Constant(
                tensor.name.decode(),
                types[tensor.type],
                tuple(int(side) for side in tensor.shape),
                np.zeros(0, np.float32) if scales is None else np.array(scales, np.float32),
                bytes(data),
            )


def input_codes(scale: float, zero_point: int, inputs: Tensor) -> Tensor:
    """The codes that float32 inputs, shape (rows, …), are given to a file as: int64, channels last."""
    codes = ((inputs / scale).round() + zero_point).clamp(LOWEST, HIGHEST).to(torch.int64)
    return codes.permute(0, 2, 3, 1).contiguous() if codes.dim() == 4 else codes


def micro(model: bytes) -> Runtime:
    """The file as TensorFlow Lite Micro computes it, one example after the other."""
    from tflite_micro.python.tflite_micro import runtime

    interpreter = runtime.Interpreter.from_bytes(model, arena_size=max(_ARENA, _ARENA_SHARE * len(model)))

    def one(codes: np.ndarray) -> np.ndarray:
        interpreter.set_input(codes, 0)
        interpreter.invoke()
        return np.array(interpreter.get_output(0))

    def grid(details: dict[str, Any]) -> _Grid:
        parameters = details["quantization_parameters"]
        return float(parameters["scales"][0]), int(parameters["zero_points"][0])

    return _runtime(one, grid(interpreter.get_input_details(0)), grid(interpreter.get_output_details(0)))


def litert(model: bytes, reference_kernels: bool = False) -> Runtime:
    """The file as LiteRT computes it on one thread: by XNNPACK, as on a phone, or by its own reference kernels."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    resolver = OpResolverType.BUILTIN_REF if reference_kernels else OpResolverType.AUTO
    interpreter = Interpreter(model_content=model, num_threads=1, experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    (given,), (wanted,) = interpreter.get_input_details(), interpreter.get_output_details()

    def one(codes: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(given["index"], codes)
        interpreter.invoke()
        return np.array(interpreter.get_tensor(wanted["index"]))

    return _runtime(one, given["quantization"], wanted["quantization"])


def _runtime(one: Callable[[np.ndarray], np.ndarray], source: _Grid, output: _Grid) -> Runtime:
    """``one`` example's codes to codes, as float32 inputs to outputs."""
    scale, zero_point = output

    def run(rows: np.ndarray) -> np.ndarray:
        codes = input_codes(*source, torch.from_numpy(rows)).numpy().astype(np.int8)
        found = np.concatenate([one(row[None]) for row in codes])
        return ((found.astype(np.int64) - zero_point) * scale).astype(np.float32)

    return Runtime(run)
