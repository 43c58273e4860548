"""The bits of weights and activations of a peer's file, read from its graph: no library is needed here."""

import pytest
from torch import nn

from edgepress.peers.precision import Operation, Precision, bits_of, precision


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.inner, self.last = nn.Linear(4, 5), nn.Linear(5, 5), nn.Linear(5, 3)

    def forward(self, x):
        x = self.first(x).relu()
        return self.last((x + self.inner(x)).relu())


def graph(names=("/first/MatMul", "/inner/MatMul", "/last/MatMul"), adds=8):
    """The network in QDQ form: 4-bit weights, activations of 4 bits but the input's 8 and the sum's ``adds``."""
    weights = [Operation(f"w{i}", "constant", bits=8) for i in range(3)]
    clipped = [Operation(f"c{i}", "quantize", (f"w{i}",), 4) for i in range(3)]
    layers = [Operation(f"y{i}", "layer", (x, f"c{i}"), text=names[i]) for i, x in enumerate(["dx", "dr", "ds"])]
    return [
        *weights,
        *clipped,
        Operation("x", "input"),
        Operation("qx", "quantize", ("x",), 8),
        Operation("dx", "pass", ("qx",)),
        layers[0],
        Operation("relu", "other", ("y0",)),
        Operation("qr", "quantize", ("relu",), 8),  # 8 bits, of which 4 are left
        Operation("cr", "quantize", ("qr",), 4),
        Operation("dr", "pass", ("cr",)),
        layers[1],
        Operation("qi", "quantize", ("y1",), adds),
        Operation("di", "pass", ("qi",)),
        Operation("sum", "other", ("dr", "di")),
        Operation("qs", "quantize", ("sum",), 4),
        Operation("ds", "pass", ("qs",)),
        layers[2],
        Operation("qy", "quantize", ("y2",), 2),  # the network's output is no activation
        Operation("out", "output", ("qy",)),
    ]


EXPECTED = Precision(
    {"first.weight": 4, "inner.weight": 4, "last.weight": 4},
    {"first.weight": 8, "inner.weight": 4, "last.weight": 4},
    8,
)


def test_by_hand():
    assert precision(graph(), Net()) == EXPECTED
    assert precision(graph(adds=4), Net()).adds == 4


@pytest.mark.parametrize(
    "names",
    [
        ["node first.weight_quantized", "inner.weight", "last.weight"],
        ["__module.first/aten::linear", "__module.inner/aten::linear", "__module.last/aten::linear"],
        ["/a/Gemm", "/a_1/Gemm", "/last/Gemm"],  # an exporter renamed two
    ],
)
def test_layers_are_found_by_name_or_by_order(names):
    assert precision(graph(names), Net()) == EXPECTED


def test_a_layer_that_cannot_be_told_is_left_out():
    contradicting = precision(graph(["/a/Gemm", "/last/Gemm", "/b/Gemm"]), Net())
    assert contradicting.weights == {"last.weight": 4}


def test_float32_is_no_quantization():
    operations = [
        Operation("x", "input"),
        Operation("w", "constant"),
        Operation("y", "layer", ("x", "w"), text="/0/Gemm"),
        Operation("scores", "layer", ("y", "x"), text="/MatMul"),  # of two computed values, as in attention
        Operation("out", "output", ("scores",)),
    ]
    assert precision(operations, nn.Sequential(nn.Linear(2, 2))) == Precision({"0.weight": 32}, {}, None)


def test_bits_tell_values_apart():
    assert [bits_of(values) for values in (2, 15, 16, 17, 255, 256)] == [1, 4, 4, 5, 8, 8]


def test_operations_of_an_onnx_file(tmp_path):
    onnx = pytest.importorskip("onnx")
    from edgepress.levels import Level
    from edgepress.peers.onnx_files import OnnxPeer
    from edgepress.targets.onnx import FILE

    class Peer(OnnxPeer):
        def compress(self, network, inputs, level, folder): ...

    helper, types = onnx.helper, onnx.TensorProto
    tensors = [
        helper.make_tensor("scale", types.FLOAT, [], [0.5]),
        helper.make_tensor("u8", types.UINT8, [], [0]),
        helper.make_tensor("i8", types.INT8, [], [0]),
        helper.make_tensor("lo", types.INT8, [], [-7]),
        helper.make_tensor("hi", types.INT8, [], [7]),
        helper.make_tensor("0.weight", types.INT8, [2, 2], [1, -7, 7, 0]),
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["input", "scale", "u8"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "u8"], ["d"]),
        helper.make_node("Clip", ["0.weight", "lo", "hi"], ["c"]),
        helper.make_node("DequantizeLinear", ["c", "scale", "i8"], ["w"]),
        helper.make_node("MatMul", ["d", "w"], ["output"], name="/0/MatMul"),
    ]
    ends = [helper.make_tensor_value_info(name, types.FLOAT, ["n", 2]) for name in ("input", "output")]
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors)), tmp_path / FILE)
    network = nn.Sequential(nn.Linear(2, 2, bias=False))
    found = Peer().precision(tmp_path, network, Level(bits=4, act_bits=8))
    assert found == Precision({"0.weight": 4}, {"0.weight": 8}, None)
    assert Peer().tensor_bytes(tmp_path) == 4 + 1 + 1 + 1 + 1 + 4
