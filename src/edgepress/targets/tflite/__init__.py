"""TensorFlow Lite files, for microcontrollers and for NPUs: our codes, scales and zero points, written as they are.

The file is run by TensorFlow Lite Micro, which is the runtime of microcontrollers and computes exactly what
``reference`` does. LiteRT runs the same file on phones; its kernels round otherwise (``runtimes.litert``).
"""

from __future__ import annotations

import contextlib
from dataclasses import replace

import torch
from torch import Tensor, nn

from edgepress.activations import ActivationGrid
from edgepress.graph import LAYERS, UntraceableError, trace
from edgepress.logs import one_line
from edgepress.packing import Compressed
from edgepress.targets import Files, NotServedError, Runtime, Target
from edgepress.targets.tflite import arithmetic, runtimes, writer
from edgepress.targets.tflite.lowering import Operator, held_on, operators
from edgepress.tensor_files import FileSize

TARGETS = {
    "*": {
        "object": "TFLite",
        "packages": ["ai_edge_litert", "flatbuffers", "tflite_micro"],
        "install": "pip install --no-deps --requirement envs/requirements-npu.lock",
    },
    "tflite": {
        "about": "a TensorFlow Lite file for microcontrollers and Ethos-U NPUs: weights of up to 8 bits as int8",
    },
    "tflite_int4": {
        "about": "`tflite` with weights of up to 4 bits two a byte where kernels of microcontrollers read that",
        "args": {"int4": True},
    },
}
FILE = "network.tflite"
_SIDES = (32, 28, 16, 8, 64, 96, 224)  # of images, tried where none is given


class TFLite(Target):
    """A TensorFlow Lite file, run by TensorFlow Lite Micro. Weights of few bits stay integers of few bits: NPUs pay
    for the number of values and of zeros in a layer, so they are never scaled up to the range of int8.

    The outputs are int8, too: their scale covers those of the examples.
    """

    def __init__(self, int4: bool = False) -> None:
        self.int4 = int4

    def computes(self, network: nn.Module, stored: Compressed) -> str | None:
        """As for every target. Nothing says the shape of inputs here: for images that are not square, of one of the
        usual sides, only ``export`` knows whether the file can be written.
        """
        try:
            if (inputs := _some_inputs(network)) is not None:
                operators(network, stored, inputs)
        except (NotServedError, UntraceableError) as error:
            return one_line(error)
        return None

    def export(self, network: nn.Module, stored: Compressed, inputs: Tensor) -> Files:
        return {FILE: writer.written(with_outputs(network, stored, inputs), self.int4)}

    def load(self, files: Files) -> Runtime:
        return runtimes.micro(files[FILE])

    def reference(self, network: nn.Module, stored: Compressed, inputs: Tensor | None = None) -> nn.Module:
        """Exact arithmetic; ``inputs`` are the examples that ``export`` got, by default those of the first call."""
        if reason := self.computes(network, stored):
            raise NotServedError(reason)
        return Reference(network, stored, inputs)

    def size(self, files: Files) -> FileSize:
        return FileSize(len(files[FILE]), sum(len(each.data) for each in runtimes.constants(files[FILE])))


class Reference(nn.Module):
    """What the file of ``stored`` computes; its outputs have the scale that follows from ``examples``."""

    def __init__(self, network: nn.Module, stored: Compressed, examples: Tensor | None) -> None:
        super().__init__()
        self.network, self.stored = network, stored
        self.served = None if examples is None else with_outputs(network, stored, examples)

    def forward(self, inputs: Tensor) -> Tensor:
        """Float32 inputs, shape (rows, …), to outputs, shape (rows, outputs)."""
        if self.served is None:
            self.served = with_outputs(self.network, self.stored, inputs)
        output = self.served[-1].output
        codes = arithmetic.run(self.served, _codes(self.served, inputs))
        return ((codes - output.zero_point) * output.scale).float()


def with_outputs(network: nn.Module, stored: Compressed, examples: Tensor) -> list[Operator]:
    """The operators of ``stored``, outputs on the int8 grid that covers those of ``examples``, shape (rows, …)."""
    served = operators(network, stored, examples)
    last = served[-1]
    if last.output.scale:
        return served
    real = arithmetic.real_outputs(served, _codes(served, examples))
    if last.ceiling is not None:
        real = real.clamp(0, last.ceiling)
    grid = ActivationGrid.between(float(real.min()), float(real.max()), 8)
    return [*served[:-1], replace(last, output=held_on(grid, last.output.name, last.output.shape, rectified=False))]


def _codes(served: list[Operator], inputs: Tensor) -> Tensor:
    source = served[0].inputs[0]
    return runtimes.input_codes(source.scale, source.zero_point, inputs)


def _some_inputs(network: nn.Module) -> Tensor | None:
    """Inputs of a shape that ``network`` takes, by its first layer; for images of the first side that it can be run on.

    None where there is no such shape. Raises UntraceableError where the network is no fixed graph.
    """
    traced = trace(network)
    first = next((module for module in traced.modules() if isinstance(module, LAYERS)), None)
    if isinstance(first, nn.Linear):
        return torch.zeros(2, first.in_features)
    if isinstance(first, nn.Conv2d):
        for side in _SIDES:
            inputs = torch.zeros(2, first.in_channels, side, side)
            with contextlib.suppress(RuntimeError), torch.inference_mode():
                traced(inputs)
                return inputs
    return None
