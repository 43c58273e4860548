"""ONNX Runtime on one thread of this machine's CPU, in a stated mode, and what it does with a file of 8-bit integers.

On x86-64 without VNNI, its kernels for uint8 × int8 add pairs of products in 16 bits, which saturate. The mode
``default`` does so on such a CPU; ``exact`` takes other kernels, which compute on every CPU what 32-bit accumulators
give, as ARM devices do. Both run the same file. Needs the packages of the extra ``deploy``.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

NAME = "onnxruntime"
THREADS = 1
DEFAULT, EXACT = "default", "exact"
MODES = (DEFAULT, EXACT)
_ERRORS = 3  # the least severe messages that are printed
# The best of these that the CPU has: the flag of torch.cpu.get_capabilities, and how the instructions are called.
_INSTRUCTIONS = {
    **{"amx_int8": "amx", "avx512_vnni": "vnni", "avx_vnni": "vnni", "avx512_bw": "avx512", "avx2": "avx2"},
    **{"i8mm": "i8mm", "dot": "dotprod", "neon": "neon"},
}
_INTEGER = {"QLinearConv", "QGemm", "QLinearMatMul", "MatMulInteger", "MatMulIntegerToFloat", "ConvInteger"}
_FLOAT = {"Conv", "FusedConv", "NhwcFusedConv", "Gemm", "FusedGemm", "MatMul", "FusedMatMul", "ConvTranspose"}


def instruction_set() -> str:
    """The instructions with which this CPU multiplies 8-bit integers, by what it says of itself; its architecture where
    none of those that the runtime has kernels for is there.
    """
    able = torch.cpu.get_capabilities()
    found = next((name for flag, name in _INSTRUCTIONS.items() if able.get(flag)), None)
    return found or str(able["architecture"])


def session(model: bytes, mode: str, *, optimized: str | Path | None = None, as_written: bool = False) -> Any:
    """The ONNX file ``model``, ready to run in ``mode``; its optimized graph goes to the path ``optimized``.

    ``as_written``: nothing is optimized, so that all between two quantized activations is computed in float32.
    """
    import onnxruntime

    if mode not in MODES:
        raise ValueError(f"'{mode}' is no mode; there are {', '.join(MODES)}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = THREADS
    options.log_severity_level = _ERRORS
    options.add_session_config_entry("session.x64quantprecision", str(int(mode == EXACT)))
    if optimized:
        options.optimized_model_filepath = str(optimized)
    if as_written:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def outputs(session: Any, inputs: Tensor, batch: int = 256) -> Tensor:
    """What a session computes for ``inputs``: float64, shape (rows, outputs)."""
    (given,) = session.get_inputs()
    parts = [session.run(None, {given.name: rows.numpy()})[0] for rows in inputs.split(batch)]
    return torch.from_numpy(np.concatenate(parts)).to(torch.float64)


def layers(model: bytes, mode: str) -> tuple[int, int]:
    """How many convolutions and matrix products the runtime computes in integers, and how many in float32."""
    import onnx

    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "optimized.onnx"
        session(model, mode, optimized=path)
        kinds = [node.op_type for node in onnx.load(path).graph.node]
    return sum(kind in _INTEGER for kind in kinds), sum(kind in _FLOAT for kind in kinds)


def codes(model: bytes, mode: str, inputs: Tensor) -> tuple[list[Tensor], Tensor]:
    """The codes at every quantized activation that the runtime computes for ``inputs``, int64, in the order in which
    they are computed, and the outputs, float64.
    """
    _, found, last = _computed(model, mode, inputs)
    return [torch.from_numpy(values).to(torch.int64) for values in found], torch.from_numpy(last).to(torch.float64)


def code_difference(model: bytes, mode: str, inputs: Tensor) -> tuple[int, float]:
    """How far the codes that the runtime computes for ``inputs`` are at most from those that float32 arithmetic gives
    for the codes before each; and the same of the outputs, as a share of their range.

    It asks no more of a file than that activations go through QuantizeLinear.
    """
    import onnx

    names, theirs, last = _computed(model, mode, inputs)
    proto = onnx.load_from_string(model)
    given = {proto.graph.input[0].name: inputs.numpy()}
    for node in (node for node in proto.graph.node if node.op_type == "QuantizeLinear"):
        place, values = node.output[0], theirs[names.index(node.output[0])]
        node.output[0] = f"{place}_computed"  # what comes after reads the runtime's codes
        kind = onnx.helper.np_dtype_to_tensor_dtype(values.dtype)
        proto.graph.input.append(onnx.helper.make_tensor_value_info(place, kind, values.shape))
        given[place] = values
    computed = [f"{name}_computed" for name in names]
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in computed)
    made = session(proto.SerializeToString(), mode, as_written=True)
    *expected, outputs = made.run([*computed, proto.graph.output[0].name], given)
    apart = [np.abs(ours.astype(int) - codes).max() for ours, codes in zip(expected, theirs, strict=True)]
    return int(max(apart, default=0)), float(np.abs(outputs - last).max() / (np.ptp(outputs) or 1.0))


def _computed(model: bytes, mode: str, inputs: Tensor) -> tuple[list[str], list[np.ndarray], np.ndarray]:
    """The names of all that QuantizeLinear gives in a file, and what the runtime computes there; and the outputs."""
    import onnx

    proto = onnx.load_from_string(model)
    places = [node.output[0] for node in proto.graph.node if node.op_type == "QuantizeLinear"]
    asked = [*places, proto.graph.output[0].name]
    proto.graph.output.extend(onnx.ValueInfoProto(name=place) for place in places)
    *found, last = session(proto.SerializeToString(), mode).run(asked, {proto.graph.input[0].name: inputs.numpy()})
    return places, found, last
