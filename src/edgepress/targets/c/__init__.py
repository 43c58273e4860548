"""Networks as C for microcontrollers: C99 that allocates nothing, weights in the codes of the packed file.

Where a network's activations are on grids, it is computed in integers alone, as ``edgepress.targets.integer`` defines
them; otherwise in float32, with weights decoded from their codes. Kernels are in ``kernels/``: portable ones, and the
same with the DSP instructions of a Cortex-M4, which compute the same codes.
"""

from __future__ import annotations

import contextlib
import re

import torch
from torch import Tensor, nn

from edgepress.graph import LAYERS
from edgepress.packing import Compressed
from edgepress.provenance import version
from edgepress.targets import Files, NotServedError, Target
from edgepress.targets.c import host
from edgepress.targets.c.program import Planned, Program, prepared, program
from edgepress.targets.c.reference import Reference, raw_inputs
from edgepress.targets.c.source import array, kernel_file, sources
from edgepress.tensor_files import FileSize
from edgepress.widths import with_state

TARGETS = {
    "c": {
        "object": "CSource",
        "about": "C99 for microcontrollers, in integers or float32; weights of 1 to 8 bits stay in their codes",
        "packages": [],
    },
}
_ROWS = 4  # inputs of the self-test
_SIDES = (32, 28, 8, 16, 64, 96, 224)  # of images, tried where only the network is known
_BYTES = {"uint8_t": 1, "int8_t": 1, "int32_t": 4, "float": 4}
_CONSTANT = re.compile(r"const (u?int\d+_t|float) \w+\[(\d+)\]")


class CSource(Target):
    """C files for a microcontroller."""

    def computes(self, network: nn.Module, stored: Compressed) -> str | None:
        try:
            made(network, stored, _input_shape(with_state(network, stored.state_dict())))
        except NotServedError as error:
            return str(error)
        return None

    def export(self, network: nn.Module, stored: Compressed, inputs: Tensor) -> Files:
        return exported(*made(network, stored, tuple(inputs.shape[1:])), inputs)

    def load(self, files: Files) -> nn.Module:
        return host.Host(files)

    def reference(self, network: nn.Module, stored: Compressed) -> nn.Module:
        if (reason := self.computes(network, stored)) is not None:
            raise NotServedError(reason)
        return _ReferenceOfAnyShape(network, stored)

    def size(self, files: Files) -> FileSize:
        """All constants. Code is not counted: its size depends on the compiler, and a build for a board measures it."""
        arrays = _CONSTANT.findall(files["network.c"].decode())
        constants = sum(_BYTES[kind] * int(count) for kind, count in arrays)
        return FileSize(constants, constants)


class _ReferenceOfAnyShape(nn.Module):
    """A ``Reference`` made for the shape of the inputs that it gets."""

    def __init__(self, network: nn.Module, stored: Compressed) -> None:
        super().__init__()
        self.network, self.stored = network, stored

    def forward(self, inputs: Tensor) -> Tensor:
        """Float32 inputs (rows, …) to float32 outputs (rows, outputs)."""
        outputs: Tensor = Reference(*made(self.network, self.stored, tuple(inputs.shape[1:])))(inputs)
        return outputs


def made(network: nn.Module, stored: Compressed, input_shape: tuple[int, ...]) -> tuple[Planned, Program]:
    """A network as C holds it, and its program. Raises NotServedError where C does not have a part of it."""
    given = prepared(network, stored, input_shape)
    return given, program(given)


def exported(given: Planned, own: Program, inputs: Tensor) -> Files:
    """The C files of a program, whose self-test has the first of ``inputs``. Raises NotServedError as ``made`` does."""
    files = sources(own)
    rows = inputs[:_ROWS]
    try:
        expected = Reference(given, own).raw(rows)
    except OverflowError as error:
        raise NotServedError(str(error)) from error
    vectors = [
        array("network_input_type", "inputs", raw_inputs(own, rows)),
        array("network_output_type", "expected", expected),
    ]
    test = kernel_file("selftest.c.in").replace("@ROWS@", str(len(rows)))
    files["selftest.c"] = test.replace("@VECTORS@", "\n".join(vectors))
    arithmetic = "in integers throughout" if own.integers else "in float32, weights in their codes"
    facts = {"VERSION": version("edgepress"), "ARENA": own.arena.size, "ABOUT": arithmetic}
    readme = kernel_file("README.md.in")
    facts["WEIGHTS"] = CSource().size({"network.c": files["network.c"].encode()}).whole
    for name, fact in facts.items():
        readme = readme.replace(f"@{name}@", str(fact))
    files["README.md"] = readme
    return {name: text.encode() for name, text in sorted(files.items())}


def _input_shape(network: nn.Module) -> tuple[int, ...]:
    """A shape of inputs that the network takes, found by trying. Raises NotServedError where none is found."""
    first = next((layer for layer in network.modules() if isinstance(layer, LAYERS)), None)
    if isinstance(first, nn.Linear):
        return (first.in_features,)
    for side in _SIDES:
        if first is None:
            break
        shape = (first.in_channels, *[side] * (first.weight.dim() - 2))
        with contextlib.suppress(RuntimeError, ValueError), torch.no_grad():
            network(torch.zeros(1, *shape))
            return shape
    raise NotServedError("the network takes no input whose shape its first layer tells")
