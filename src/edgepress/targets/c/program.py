"""A network as the numbers that its C code is made of: rows of weights, biases, multipliers, and the plan of memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from edgepress.activations import ActivationGrid
from edgepress.graph import UntraceableError
from edgepress.packing import Compressed
from edgepress.targets import NotServedError
from edgepress.targets.c.memory import Arena, Scratch, aligned, arena
from edgepress.targets.c.plan import Average, Convolution, Plan, Sum, plan
from edgepress.targets.c.weights import Levels, Rows, float_rows, in_int8, integer_rows
from edgepress.targets.integer import code_bounds, integer_layers, rescaling
from edgepress.widths import with_state

INFLATER = 944  # bytes of its state, as ep_weights.h has it
SPARSE_BELOW = 0.36  # of weights kept: from there on it costs fewer instructions to skip zeros than to multiply by them
_LARGEST_SUM = (1 << 31) - 1
_OFFSETS = 1 << 16


@dataclass(frozen=True)
class Rescaling:
    """Numbers, and others that are added, to codes: as ``ep_rescaling`` of the C code."""

    multipliers: tuple[int, ...]
    shift: int
    grid: ActivationGrid
    bounds: tuple[int, int]
    zeros: tuple[int, ...]


@dataclass(frozen=True)
class Layer:
    """What the C code is told of a layer: ``kernel`` computes it. Of a layer in floats, ``levels`` make floats of
    codes, and ``floats`` are these, which the bytes do not hold; ``rows`` is None where all are stored as they are.
    """

    step: Convolution
    kernel: str
    rows: Rows | None
    bias: np.ndarray
    levels: Levels | None = None
    floats: np.ndarray | None = None
    multipliers: np.ndarray | None = None
    shifts: np.ndarray | None = None
    scales: np.ndarray | None = None
    summed: Rescaling | None = None


@dataclass(frozen=True)
class Program:
    """All of it. ``scales``: of an integer network's outputs, float64, one or one an output."""

    plan: Plan
    layers: Mapping[str, Layer]
    rescalings: Mapping[str, Rescaling]
    arena: Arena
    scratch: Mapping[str, Scratch]
    scales: np.ndarray | None

    @property
    def integers(self) -> bool:
        """Whether nothing in it is a float."""
        return self.plan.integers

    def codes_of(self, step: Convolution) -> tuple[int, int, int]:
        """The zero point of the codes that a layer gives, before anything is added, and their bounds."""
        grid, ceiling = (step.inner, step.inner_ceiling) if step.inner else (step.writes.grid, step.ceiling)
        assert grid is not None
        return (grid.zero_point, *code_bounds(grid, ceiling))


@dataclass(frozen=True)
class Planned:
    """A network as the C code holds it: ``network`` has the tensors' shapes, ``stored`` their encodings, and
    ``as_computed`` those with weights in int8 where integers are computed.
    """

    network: nn.Module
    stored: Compressed
    as_computed: Compressed
    plan: Plan


def prepared(network: nn.Module, stored: Compressed, input_shape: tuple[int, ...]) -> Planned:
    """Raises NotServedError where C does not compute the network, or does not read what it is stored as."""
    try:
        network = with_state(network, stored.state_dict()).eval()
        steps = plan(network, stored, input_shape)
    except UntraceableError as error:
        raise NotServedError(str(error)) from error
    names = [f"{step.layer}.weight".lstrip(".") for step in steps.convolutions]
    as_computed = in_int8(stored, names) if steps.integers else stored
    return Planned(network, stored, as_computed, steps)


def program(given: Planned) -> Program:
    """The program of a network. Raises NotServedError as ``prepared`` does."""
    make = _integer_layers if given.plan.integers else _float_layers
    layers = make(given)
    if len({step.layer for step in given.plan.convolutions}) < len(list(given.plan.convolutions)):
        raise NotServedError("a layer is used at several places, which C does not have")
    scratch = {name: _scratch(layer, given.plan.integers) for name, layer in layers.items()}
    rescalings, scales = dict[str, Rescaling](), None
    for step in given.plan.steps if given.plan.integers else ():
        own = np.array([_step_of(step.source, step) if isinstance(step, Sum | Average) else 0.0])
        if step.writes == given.plan.end:
            scales = layers[step.layer].scales if isinstance(step, Convolution) else own
        elif isinstance(step, Sum | Average):
            others = [value.grid for value in step.reads[1:] if value.grid]
            rescalings[step.writes.name] = _rescaling(
                float(own[0]), step.source.grid, others, step.writes.grid, step.ceiling
            )
    return Program(given.plan, layers, rescalings, arena(given.plan, scratch), scratch, scales)


def _step_of(value: object, step: Sum | Average) -> float:
    grid = step.source.grid
    assert grid is not None
    height, width = step.window.kernel if isinstance(step, Average) else (1, 1)
    return grid.step / (height * width)


def _rescaling(
    step: float, grid: ActivationGrid | None, others: list[ActivationGrid], onto: ActivationGrid | None,
    ceiling: float | None,
) -> Rescaling:  # fmt: skip
    assert grid is not None and onto is not None
    steps = [torch.tensor(each, dtype=torch.float64) for each in (step, *[other.step for other in others])]
    multipliers, shift = rescaling(steps, onto.step)
    zeros = (grid.zero_point, *[other.zero_point for other in others])
    largest = round(grid.highest * grid.step / step)  # of the numbers, which the device shifts left by what 32 lacks
    if largest << max(0, 32 - int(shift)) > _LARGEST_SUM:
        raise NotServedError(f"a step of {step:g} is too large for codes of a step of {onto.step:g}")
    return Rescaling(tuple(map(int, multipliers)), int(shift), onto, code_bounds(onto, ceiling), zeros)


def _integer_layers(given: Planned) -> dict[str, Layer]:
    integers, layers = integer_layers(given.network, given.as_computed), dict[str, Layer]()
    for step in given.plan.convolutions:
        layer, name = integers[step.layer], f"{step.layer}.weight".lstrip(".")
        if layer.reach > _LARGEST_SUM:
            raise NotServedError(f"an accumulator of '{step.layer}' may leave 32 bits")
        rows = integer_rows(name, given.stored.tensors[name], layer.weight, kernel_shape(step))
        scales = layer.steps.to(torch.float64) * layer.reads.step
        multipliers = shifts = summed = None
        grid = step.inner or step.writes.grid
        if grid is not None:
            (found,), shift = rescaling([scales], grid.step)
            multipliers, shifts = found.numpy(), shift.numpy()
        if step.inner is not None:
            summed = _rescaling(step.inner.step, step.inner, [step.reads[1].grid], step.writes.grid, step.ceiling)  # type: ignore[list-item]
        layers[step.layer] = Layer(
            step, _kernel(step, rows), rows, layer.bias.numpy(), multipliers=multipliers, shifts=shifts,
            scales=scales.numpy(), summed=summed,
        )  # fmt: skip
    return layers


def _float_layers(given: Planned) -> dict[str, Layer]:
    layers = {}
    for step in given.plan.convolutions:
        weight, bias = (f"{step.layer}.{part}".lstrip(".") for part in ("weight", "bias"))
        rows, levels, floats = float_rows(weight, given.stored.tensors[weight], kernel_shape(step))
        own = given.stored.tensors[bias].decode() if bias in given.stored.tensors else torch.zeros(len(floats))
        kernel = "sparse" if rows is not None and _kernel(step, rows) == "sparse" else "dense"
        layers[step.layer] = Layer(step, kernel, rows, own.float().numpy(), levels, floats)
    return layers


def kernel_shape(step: Convolution) -> tuple[int, int, int]:
    """(channels, height, width) of what one output of a layer reads."""
    return (step.source.channels // step.window.groups, *step.window.kernel)


def band_sides(step: Convolution) -> tuple[int, int]:
    """Input columns that a row of outputs reads, padding included, and channels of them."""
    columns = (
        (step.writes.width - 1) * step.window.stride[1] + (step.window.kernel[1] - 1) * step.window.dilation[1] + 1
    )
    return columns, step.source.channels // step.window.groups


def _kernel(step: Convolution, rows: Rows) -> str:
    columns, channels = band_sides(step)
    reach = ((step.window.kernel[0] - 1) * step.window.dilation[0] + 1) * columns * channels
    if rows.mask is not None and rows.density < SPARSE_BELOW and reach < _OFFSETS:
        return "sparse"
    alone = channels == 1 and step.window.kernel == (3, 3) and step.window.dilation == (1, 1)
    return "depthwise" if alone else "dense"


def _scratch(layer: Layer, integers: bool) -> Scratch:
    step = layer.step
    columns, channels = band_sides(step)
    size = 2 if integers else 4
    return Scratch(
        fixed=sum(scratch_parts(layer, integers)),
        row=columns * channels * size,
        stride=step.window.stride[0],
        least=(step.window.kernel[0] - 1) * step.window.dilation[0] + 1,
        out_rows=step.writes.height,
        whole=step.window.groups > 1 or layer.kernel == "depthwise",
    )  # fmt: skip


def scratch_parts(layer: Layer, integers: bool) -> tuple[int, int, int]:
    """Bytes of decoded weights, of a table of floats, and of what decoding needs."""
    rows, length = layer.rows, int(np.prod(kernel_shape(layer.step)))
    weights, table, temp = 4 * length if integers else (6 if layer.kernel == "sparse" else 8) * length, 0, 0
    if rows is None:
        weights = 0  # they are read where they lie
    else:
        temp += INFLATER * rows.inflates
        temp += 4 * length * (rows.mask is not None and layer.kernel != "sparse")
        temp += 6 * rows.most * (rows.factors is not None)
        if not integers and rows.bits:
            table = 4 << rows.bits if rows.points is None else 0
            temp += 2 * length
    return aligned(weights), aligned(table), aligned(temp)
