"""TensorFlow Lite files: what is written, and that TensorFlow Lite Micro computes it exactly as the reference does."""

import random
from fractions import Fraction

import pytest
import torch
from torch import nn

from edgepress import methods, registry, targets
from edgepress.activations import ActivationGrid
from edgepress.encodings import Dense
from edgepress.evaluation import predict
from edgepress.folding import fold_batch_norm
from edgepress.levels import Level
from edgepress.methods.per_channel import rounded_per_channel
from edgepress.packing import Compressed
from edgepress.targets import NotServedError, tflite
from edgepress.targets.integer import IntegerNetwork
from edgepress.targets.tflite import arithmetic, lowering, runtimes, writer

from .eight_bit import NAMES, compressed, trained

LEVELS = ["w8a8", "w3a8", "w4a4"]
needs_runtimes = pytest.mark.skipif(
    bool(registry.targets()["tflite"].missing), reason=registry.targets()["tflite"].why_missing
)


def stored_at(name, level):
    """A small network, BatchNorms folded, its form at ``level``, and inputs."""
    given = trained(name)
    shipped = fold_batch_norm(given.network)
    chain = [methods.create(step) for step in ("nearest_symmetric_channel", "activations_mse")]
    generator = torch.Generator().manual_seed(0)
    data = given.data.only("train", "val")
    return (
        shipped,
        methods.compress(chain, shipped, data, Level.parse(level), generator),
        given.data.inputs["test"][:6],
    )


def by_hand(network, shape, seed, bits=8):
    """A form of ``network`` with weights of ``bits``, and the random inputs on which its activations are calibrated."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(12, *shape, generator=generator)
    symmetric = {
        f"{name}.weight": rounded_per_channel(layer.weight.detach(), "symmetric", bits)
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv2d)
    }
    stored = methods.in_full_precision(network).with_tensors(symmetric)
    calibrated = methods.activations._Calibration(
        stored.rebuild(network), methods.activations.RANGES["minmax"], 8, 8
    ).grids(inputs)
    return stored.with_activations(calibrated), inputs


def differing(network, stored, inputs, int4=False):
    """The share of outputs in which TensorFlow Lite Micro differs from the reference, and the number of distinct ones.

    Both take the scale of outputs from the same inputs.
    """
    target = targets.create("tflite_int4" if int4 else "tflite")
    found = target.load(target.export(network, stored, inputs))(inputs)
    expected = target.reference(network, stored, inputs)(inputs)
    return float((found != expected).float().mean()), found.unique().numel()


@needs_runtimes
@pytest.mark.parametrize("name", NAMES)
def test_micro_computes_every_output_as_the_reference(name):
    for level in LEVELS:
        network, stored, inputs = stored_at(name, level)
        assert differing(network, stored, inputs)[0] == 0, level
        if Level.parse(level).bits <= 4 and name != "dnn_complex":  # whose layers have several scales each
            assert differing(network, stored, inputs, int4=True)[0] == 0, level


@needs_runtimes
@pytest.mark.parametrize("name", NAMES)
def test_micro_computes_every_activation_as_the_reference(name):
    network, stored, inputs = stored_at(name, "w4a8")
    served = tflite.with_outputs(network, stored, inputs)
    for end in range(1, len(served), 2):
        output = served[end - 1].output
        found = runtimes.micro(writer.written(served[:end]))(inputs) / output.scale + output.zero_point
        expected = arithmetic.run(served[:end], tflite._codes(served, inputs))
        assert torch.equal(found.round().long(), expected), output.name
        assert expected.unique().numel() > 20, (output.name, "the test sees few of the codes")


def random_network(draw):
    """A small network of the operations that are served, and the shape of its inputs."""
    channels, side = draw.choice([1, 3, 4]), draw.choice([7, 8, 11])
    layers: list[nn.Module] = []
    shape = (channels, side, side + draw.choice([0, 2]))
    for _ in range(draw.randint(1, 3)):
        groups = draw.choice([1, 1, channels])
        wider = channels * draw.choice([1, 2]) if groups > 1 else draw.choice([2, 4, 5])
        kernel, stride, dilation = draw.choice([1, 3, (3, 1)]), draw.choice([1, 2, (2, 1)]), draw.choice([1, 1, 2])
        padding = draw.choice([0, 1, (1, 0), dilation])
        layers += [nn.Conv2d(channels, wider, kernel, stride, padding, dilation, groups, bias=draw.random() < 0.7)]
        layers += draw.choice([[], [nn.ReLU()], [nn.ReLU6()]])
        channels = wider
    pool = draw.choice([nn.AdaptiveAvgPool2d(1), nn.MaxPool2d(2, draw.choice([1, 2])), nn.Identity()])
    front = nn.Sequential(*layers, pool, nn.Flatten())
    try:
        features = front(torch.zeros(2, *shape)).shape[1]
    except RuntimeError:  # smaller than a window
        return random_network(draw)
    return nn.Sequential(*front, nn.Linear(features, 6), nn.ReLU(), nn.Linear(6, draw.choice([1, 3]))), shape


@needs_runtimes
def test_random_networks_are_exact():
    draw, distinct = random.Random(3), 0
    for seed in range(60):
        torch.manual_seed(seed)
        network, shape = random_network(draw)
        stored, inputs = by_hand(network, shape, seed, draw.choice([2, 4, 8]))
        apart, values = differing(network, stored, inputs)
        assert apart == 0, (seed, network)
        distinct += values
    assert distinct > 600, "the networks are dead"


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right, self.head = nn.Linear(5, 7), nn.Linear(5, 7), nn.Linear(7, 1)

    def forward(self, x):
        y = torch.relu(self.left(x) + self.right(x))
        return self.head(y + y)


@needs_runtimes
def test_sums_and_a_single_output_are_exact():
    """A dense layer with one scale has its multiplier from a product in float32, another one than with several."""
    for seed in range(20):
        torch.manual_seed(seed)
        network = Residual()
        stored, inputs = by_hand(network, (5,), seed)
        apart, distinct = differing(network, stored, inputs)
        assert apart == 0 and distinct > 5, seed


@needs_runtimes
def test_the_file_holds_our_codes_and_scales():
    network, stored, inputs = stored_at("ds_cnn", "w4a8")
    operators = tflite.with_outputs(network, stored, inputs)
    sizes = {}
    for int4 in (False, True):
        model = writer.written(operators, int4)
        assert model == writer.written(operators, int4)
        held = {constant.name: constant for constant in runtimes.constants(model)}
        sizes[int4] = len(model)
        for operator in operators:
            if operator.weights is None:
                continue
            weight, bias = held[f"{operator.output.name}_weight"], held[f"{operator.output.name}_bias"]
            assert weight.type == ("INT4" if int4 and operator.kind != "dense" else "INT8")
            assert (weight.codes() == operator.weights.codes).all()
            assert abs(weight.codes()).max() <= 8, "few-bit weights stay integers of few bits"
            assert (weight.scales == operator.weights.scales).all()
            assert bias.type == "INT32" and bias.data == operator.weights.bias.tobytes()
    packed = sum(operator.weights.codes.size // 2 for operator in operators if writer.fits_int4(operator))
    assert abs(sizes[False] - sizes[True] - packed) <= 4 * len(operators)


@needs_runtimes
def test_litert_differs_by_steps_only():
    """Its kernels round otherwise: the outputs are compared, and a few steps apart."""
    network, stored, inputs = stored_at("resnet8", "w8a8")
    target = targets.create("tflite")
    model = target.export(network, stored, inputs)[tflite.FILE]
    exact, scale = runtimes.micro(model)(inputs), tflite.with_outputs(network, stored, inputs)[-1].output.scale
    for reference_kernels in (False, True):
        apart = ((runtimes.litert(model, reference_kernels)(inputs) - exact) / scale).abs()
        assert float(apart.max()) <= 8


@pytest.mark.parametrize("name", NAMES)
def test_the_reference_is_the_integer_network_but_for_roundings(name):
    network, stored, inputs = compressed(name)
    found = tflite.TFLite().reference(network, stored)(inputs).double()
    expected = predict(IntegerNetwork(network, stored), inputs)
    assert float((found - expected).abs().max()) <= 0.03 * float(expected.max() - expected.min())


def test_rescaling_rounds_twice():
    ratios = [2**-20, 0.0123456789, 0.3, 0.5, 0.999999999, 1.0, 3.7]
    numbers = [*range(-300, 300), 2**20 + 1, -(2**20) - 1, 2**23 - 1]
    for ratio in ratios:
        multiplier, shift = arithmetic._multipliers([ratio])
        found = arithmetic._multiplied(torch.tensor(numbers), multiplier, shift)
        second = Fraction(1, 2 << max(0, -int(shift))) if shift < 0 else 0
        for number, code in zip(numbers, found.tolist(), strict=True):
            exact = Fraction(ratio) * number
            assert abs(exact - code) <= Fraction(1, 2) + second + abs(exact) / 2**29


def test_int4_codes_are_packed_two_a_byte_with_the_first_below():
    codes = torch.tensor([-8, 7, 3, -1, 5], dtype=torch.int8).numpy()
    assert writer.packed_int4(codes).tolist() == [0x78, 0xF3, 0x05]
    constant = runtimes.Constant("w", "INT4", (5,), codes[:0], writer.packed_int4(codes).tobytes())
    assert constant.codes().tolist() == codes.tolist()


def refused(network, stored):
    target = tflite.TFLite()
    reason = target.computes(network, stored)
    for call in (lambda: target.export(network, stored, torch.zeros(2, 3)), lambda: target.reference(network, stored)):
        with pytest.raises(NotServedError) as error:
            call()
        assert str(error.value) == reason and "\n" not in reason
    return reason


def test_what_is_not_served_is_said_in_one_line():
    layer = nn.Linear(3, 2)
    network = nn.Sequential(layer)
    symmetric = rounded_per_channel(layer.weight.detach(), "symmetric", 4)
    uniform = rounded_per_channel(layer.weight.detach(), "uniform", 4)
    grid = ActivationGrid(8, 0.1, 5)

    def reason(weight, grids, network=network):
        return refused(network, Compressed({"0.weight": weight, "0.bias": Dense(layer.bias)}, grids))

    assert "input of '0' is not quantized" in reason(symmetric, {})
    assert "not stored as multiples of a step" in reason(uniform, {"input_1": grid})
    assert "16-bit activations" in reason(symmetric, {"input_1": ActivationGrid(16, 0.1, 5)})
    assert "can be negative" in reason(symmetric, {"input_1": ActivationGrid(4, 0.1, 5)})
    softmax = nn.Sequential(layer, nn.Softmax(dim=1))
    assert "Softmax, has no operator" in reason(symmetric, {"input_1": grid}, softmax)


def test_few_bits_of_activations_lie_where_int8_saturates():
    held = lowering.held_on(ActivationGrid(4, 0.5, 0), "a", (3,), rectified=True)
    assert (held.zero_point, held.scale) == (127 - 15, 0.5)
    assert lowering.held_on(ActivationGrid(8, 0.5, 7), "a", (3,), rectified=False).zero_point == 7 - 128
