"""Networks as ONNX files: in float32, or in 8-bit integers with the very codes and steps of a packed file.

The integer file is in QDQ form: each activation goes through QuantizeLinear and DequantizeLinear, weights and biases
are int8 and int32 behind DequantizeLinear, and a runtime fuses these with the layer between them to its integer kernel.
Needs the packages of the extra ``deploy``; torch calls on them.
"""

from __future__ import annotations

import io
import logging
import math
import operator
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.func import functional_call

from edgepress.activations import ActivationGrid, with_quantized_activations
from edgepress.graph import Mean, UntraceableError, mean
from edgepress.levels import FLOAT_BITS
from edgepress.logs import one_line
from edgepress.networks import compressible
from edgepress.packing import Compressed
from edgepress.targets import Files, NotServedError, Runtime, Target, onnx_runtime
from edgepress.targets.integer import IntegerLayer, IntegerNetwork, NoIntegerFormError, integer_layers
from edgepress.tensor_files import FileSize

TARGETS = {
    "onnx": {
        "object": "Onnx",
        "about": "an ONNX file for ONNX Runtime and others: float32, or 8-bit weights and activations in QDQ form",
        "packages": ["onnx", "onnxscript", "onnxruntime"],
        "install": "pip install --requirement envs/requirements-deploy.lock",
    },
}
FILE = "model.onnx"
OPSET = 21
INPUT, OUTPUT = "input", "output"
# It warns on the terminal that torchvision is missing, of which nothing here is used.
logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)


class Onnx(Target):
    """An ONNX file, run by ONNX Runtime in its exact mode, so that results are those of every device."""

    def computes(self, network: nn.Module, stored: Compressed) -> str | None:
        try:
            _served(network, stored)
        except NotServedError as error:
            return one_line(error)
        return None

    def export(self, network: nn.Module, stored: Compressed, inputs: Tensor) -> Files:
        return {FILE: to_onnx(_served(network, stored), tuple(inputs.shape[1:]))}

    def load(self, files: Files) -> Runtime:
        model = files[FILE]
        session = onnx_runtime.session(model, onnx_runtime.EXACT)
        (given,) = session.get_inputs()
        return Runtime(lambda rows: session.run(None, {given.name: rows})[0], model)

    def reference(self, network: nn.Module, stored: Compressed) -> nn.Module:
        served = _served(network, stored)
        return IntegerNetwork(network, stored) if stored.activations else served

    def size(self, files: Files) -> FileSize:
        tensors = _tensors(files[FILE])
        held = sum(math.ceil(math.prod(tensor.dims) * number_bits(tensor.data_type) / 8) for tensor in tensors)
        return FileSize(sum(map(len, files.values())), held)


def _served(network: nn.Module, stored: Compressed) -> nn.Module:
    """The network that ``to_onnx`` writes. Raises NotServedError where ONNX Runtime gains nothing by ``stored``."""
    if stored.activations:
        try:
            return in_integers(network, stored)
        except UntraceableError as error:
            raise NotServedError(str(error)) from error
    for name in compressible(network):
        encoding = stored.tensors[name]
        if encoding.bits < FLOAT_BITS or encoding.mask is not None:
            raise NotServedError(f"'{name}' is compressed and its inputs are float32: ONNX Runtime computes that in "
                                 f"float32 from float32 weights, as at w{FLOAT_BITS}")  # fmt: skip
    return stored.rebuild(network)


def _tensors(model: bytes) -> Iterator[Any]:
    """The tensors that an ONNX file stores, including constants within nodes."""
    import onnx

    graph = onnx.load_from_string(model).graph
    yield from graph.initializer
    yield from (attribute.t for node in graph.node if node.op_type == "Constant" for attribute in node.attribute)


def number_bits(data_type: int) -> int:
    """The bits that one number of an ONNX type takes."""
    from onnx import TensorProto, helper

    name = TensorProto.DataType.Name(data_type)
    if name.lstrip("U").startswith("INT"):
        return int(name.rpartition("INT")[2])
    return int(helper.tensor_dtype_to_np_dtype(data_type).itemsize * 8)


def to_onnx(network: nn.Module, input_shape: tuple[int, ...]) -> bytes:
    """The ONNX file of ``network``, for any number of rows of ``input_shape``; float32 in and out.

    It holds nothing of where it was made: torch notes the lines of code behind each node, with their paths. Raises
    NotServedError where torch does not export the network, one that branches on values, say.
    """
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    try:
        program = torch.onnx.export(
            network.eval(),
            (torch.zeros(2, *input_shape),),
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({0: torch.export.Dim("rows", min=1)},),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    except torch.onnx.OnnxExporterError as error:
        raise NotServedError(f"torch does not export it to ONNX: {one_line(error.__cause__ or error)}") from error
    assert program is not None  # which only the exporter that dynamo replaces gives
    ClearMetadataAndDocStringPass()(program.model)
    _separate(program.model.graph)
    file = io.BytesIO()
    program.save(file)  # type: ignore[arg-type] # a file is as good as a path to onnx.save, which it calls
    return file.getvalue()


def in_integers(architecture: nn.Module, stored: Compressed) -> nn.Module:
    """What ``to_onnx`` makes an 8-bit file of; ``architecture`` has the layers of ``stored``, BatchNorms folded.

    It is for export alone: called, it gives no values. Raises NoIntegerFormError where ``stored`` has activations
    that are float or of other than 8 bits, or weights that are no multiples of a step.
    """
    graph = with_quantized_activations(architecture, stored.activations)
    for name, grid in stored.activations.items():
        if grid.bits != 8:
            raise NoIntegerFormError(f"activations of {grid.bits} bits have no kernel; those of 8 have")
        graph.set_submodule(f"quantize_{name}", _Codes(grid))
    for name, layer in integer_layers(architecture, stored).items():
        graph.set_submodule(name, _Layer(graph.get_submodule(name), layer))
    for node in list(graph.graph.nodes):
        if whole := mean(node, graph):
            _replace(node, graph, _Mean(whole))
        elif node.target is operator.getitem and _is_plain(node.args[1]):
            _replace(node, graph, _Part(node.args[1]))
    graph.recompile()
    return graph


def separated(model: bytes) -> bytes:
    """The ONNX file ``model`` with codes and a zero point of their own for each use of int8 weights.

    ONNX Runtime's exact mode replaces both behind each layer, and loads no file in which two layers share them.
    """
    import onnx
    import onnx_ir

    program = onnx_ir.from_proto(onnx.load_from_string(model))
    _separate(program.graph)
    return bytes(onnx_ir.to_proto(program).SerializeToString())


def _separate(graph: Any) -> None:
    import onnx_ir

    taken: set[str] = set()

    def own(value: Any) -> Any:
        """``value``, or a copy of it where another node has it already; what is computed stays one."""
        if value.name in taken and value.is_initializer():
            copied = onnx_ir.Value(name=f"{value.name}.{len(taken)}", const_value=value.const_value)
            copied.type, copied.shape, value = value.type, value.shape, copied
            graph.register_initializer(value)
        taken.add(value.name)
        return value

    for node in [node for node in graph.all_nodes() if node.op_type == "DequantizeLinear" and len(node.inputs) == 3]:
        codes, steps, zeros = node.inputs
        if zeros.dtype != onnx_ir.DataType.INT8 or not _is_constant(codes):
            continue
        for user, place in tuple(node.outputs[0].uses()):
            copied = onnx_ir.node(node.op_type, [own(codes), steps, own(zeros)], node.attributes)
            graph.insert_before(user, copied)
            user.replace_input_with(place, copied.outputs[0])
        graph.remove(node, safe=True)


def _is_constant(value: Any) -> bool:
    """Whether a value of a graph depends on initializers alone."""
    node = value.producer()
    return bool(value.is_initializer()) if node is None else all(map(_is_constant, filter(None, node.inputs)))


def _replace(node: fx.Node, graph: fx.GraphModule, module: nn.Module) -> None:
    """Have ``module`` compute a node, of its first argument alone."""
    name = f"{node.name}_as_integers"
    graph.add_submodule(name, module)
    node.op, node.target, node.args, node.kwargs = "call_module", name, node.args[:1], {}


def _onnx(kind: str, *inputs: Tensor, dtype: torch.dtype = torch.float32, **attributes: int) -> Tensor:
    """The node ``kind`` of ONNX; for torch, a tensor of that type and the shape of the first input."""
    return torch.onnx.ops.symbolic(kind, inputs, dict(attributes), dtype=dtype, shape=inputs[0].shape, version=OPSET)


class _Mean(nn.Module):
    """A mean; that of each channel by the node for which there is an integer kernel, torch's export gives another."""

    def __init__(self, mean: Mean) -> None:
        super().__init__()
        self.mean = mean

    def forward(self, values: Tensor) -> Tensor:
        if not self.mean.is_global(values.dim()):
            return values.mean(self.mean.dims, self.mean.keepdim)
        shape = (*values.shape[:2], *[1] * (values.dim() - 2))
        means = torch.onnx.ops.symbolic("GlobalAveragePool", (values,), dtype=values.dtype, shape=shape, version=OPSET)
        return means if self.mean.keepdim else means.flatten(1)


class _Part(nn.Module):
    """Values by index, as a slice and a reshape, both of which the runtime does to integers."""

    def __init__(self, index: tuple[Any, ...]) -> None:
        super().__init__()
        self.index = index

    def forward(self, values: Tensor) -> Tensor:
        shape = values[self.index].shape
        slices = [slice(i, i + 1 or None) if isinstance(i, int) else i for i in self.index if i is not None]
        return values[tuple(slices)].reshape(-1, *shape[1:])


def _is_plain(index: object) -> bool:
    """Whether it is an index of numbers and slices, which leaves the rows alone."""
    if not isinstance(index, tuple) or index[0] not in (slice(None), ...):
        return False
    ends = [
        end for part in index for end in ((part.start, part.stop, part.step) if isinstance(part, slice) else [part])
    ]
    return all(end is None or end is ... or type(end) is int for end in ends)


class _Codes(nn.Module):
    """Puts values on a grid, by way of its codes."""

    step: Tensor
    zero_point: Tensor

    def __init__(self, grid: ActivationGrid) -> None:
        super().__init__()
        self.register_buffer("step", torch.tensor(grid.step))
        self.register_buffer("zero_point", torch.tensor(grid.zero_point, dtype=torch.uint8))

    def forward(self, values: Tensor) -> Tensor:
        codes = _onnx("QuantizeLinear", values, self.step, self.zero_point, dtype=torch.uint8)
        return _onnx("DequantizeLinear", codes, self.step, self.zero_point)


class _Layer(nn.Module):
    """A Linear or Conv layer whose weights and biases are integers."""

    weight: Tensor
    bias: Tensor
    steps: Tensor
    zeros: Tensor
    bias_steps: Tensor

    def __init__(self, layer: nn.Module, integers: IntegerLayer) -> None:
        super().__init__()
        self.layer = layer
        self.register_buffer("weight", integers.weight)
        self.register_buffer("bias", integers.bias)
        self.register_buffer("steps", integers.steps)
        self.register_buffer("zeros", torch.zeros(len(integers.steps), dtype=torch.int8))
        self.register_buffer("bias_steps", integers.steps * integers.reads.step)

    def forward(self, values: Tensor) -> Tensor:
        weight = _onnx("DequantizeLinear", self.weight, self.steps, self.zeros, axis=0)
        bias = _onnx("DequantizeLinear", self.bias, self.bias_steps, axis=0)
        outputs: Tensor = functional_call(self.layer, {"weight": weight, "bias": bias}, (values,))
        return outputs
