"""Inference in whole numbers alone, as an integer device does it: 32-bit accumulators, 8-bit values between layers.

A layer multiplies the codes of its input, less their zero point, by the codes of its weights and adds a bias that is a
whole number, too. What it gives is *rescaled* to the codes of the next activation by an integer multiplication and a
shift (Jacob et al. 2018, arXiv 1712.05877, section 2.2). ReLU is a bound on these codes, pools that select work on them
as they are, and sums and averages are accumulated and rescaled. Only the input's codes and the last layer's outputs
touch a float.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from torch import Tensor, fx, nn

from edgepress.activations import ActivationGrid, Quantize, with_quantized_activations
from edgepress.codebooks import Codebook, Symmetric, Table
from edgepress.encodings import Encoding, Huffman, PerChannel, Quantized, Scaled, Sparse
from edgepress.graph import LAYERS, Layer, called, layer_inputs, mean, operation, trace
from edgepress.operations import SHAPES, Property, ceiling_of, properties
from edgepress.packing import Compressed
from edgepress.targets import NotServedError

_LARGEST_BIAS = 1 << 30  # half of what an accumulator holds; the other half is for the products
_EXACT_IN_FLOAT32 = 1 << 24  # whole numbers below that, whatever the order of a sum
_LARGEST_SUM = (1 << 31) - 1
_FRACTION_BITS = 31  # of a multiplier
_LARGEST_RATIO = float(1 << 29)  # of two steps; from 2^16 on, one of the smaller is beyond all codes of the other


class NoIntegerFormError(NotServedError):
    """A network that integers alone do not compute; the message says which part of it."""


@dataclass(frozen=True)
class IntegerLayer:
    """A Linear or Conv layer in integers: value = step · input step · (Σ weight · (input − zero point) + bias).

    ``weight`` is int8 of the layer's shape; ``steps``, float32, and ``bias``, int32, are of shape (channels,);
    ``reads`` is the grid of the input.
    """

    weight: Tensor
    steps: Tensor
    bias: Tensor
    reads: ActivationGrid

    @property
    def reach(self) -> float:
        """What no accumulator gets beyond."""
        weights = self.weight.to(torch.float64).abs().flatten(1).sum(dim=1)
        return float((weights * self.reads.highest + self.bias.to(torch.float64).abs()).max())


def integer_layers(architecture: nn.Module, stored: Compressed) -> dict[str, IntegerLayer]:
    """The Linear and Conv layers that ``stored`` holds, by their names in ``architecture``.

    Raises NoIntegerFormError where weights are no multiples of a step in 8 bits at most, or inputs are float.
    """
    for point, grid in stored.activations.items():
        if grid.masked_from is not None:
            raise NoIntegerFormError(f"'{point}' holds masks, for which 8 bits have no code")
    traced = trace(architecture)
    sources = layer_inputs(traced, [node for node in traced.graph.nodes if node.name in stored.activations])
    layers = {}
    for name, module in architecture.named_modules():
        if isinstance(module, LAYERS):
            weight, bias = (f"{name}.{part}".lstrip(".") for part in ("weight", "bias"))
            if weight not in sources:
                raise NoIntegerFormError(f"the input of '{name}' is not quantized")
            grid, *others = {stored.activations[source] for source in sources[weight]}
            if others:
                raise NoIntegerFormError(f"'{name}' is used at several places, whose inputs have different steps")
            codes, steps = _codes_and_steps(weight, stored.tensors[weight])
            float_bias = stored.tensors[bias].decode() if bias in stored.tensors else torch.zeros(len(codes))
            layers[name] = _integer_layer(codes, steps, float_bias, grid)
    return layers


def _codes_and_steps(name: str, encoding: Encoding) -> tuple[Tensor, Tensor]:
    """The whole numbers that a tensor is made of, float64, and the step of each channel, float64."""
    channels = encoding.shape[0]
    encoding = encoding.coded if isinstance(encoding, Huffman) else encoding
    factors = encoding.factors.to(torch.float64) if isinstance(encoding, Scaled) else torch.ones(channels)
    kept = encoding.coded if isinstance(encoding, Scaled) else encoding
    kept = kept.kept if isinstance(kept, Sparse) else kept
    codebooks: list[Codebook] = []
    if isinstance(kept, PerChannel) and len(kept.codebooks) == channels:
        codebooks = kept.codebooks
    elif isinstance(kept, Quantized):
        codebooks = [kept.codebook] * channels
    found = [_step(codebook) for codebook in codebooks]
    known = [step for step in found if step is not None]
    if not known or len(known) < len(found) or kept.bits > 8:
        raise NoIntegerFormError(f"'{name}' is not stored as multiples of a step in 8 bits at most")
    steps = torch.tensor(known, dtype=torch.float64) * factors.abs()
    divisors = torch.where(steps > 0, steps, 1.0).reshape(-1, *[1] * (len(encoding.shape) - 1))
    return (encoding.decode().to(torch.float64) / divisors).round(), steps


def _step(codebook: Codebook) -> float | None:
    """What all levels of a codebook are multiples of: its step, or 1 for a table of whole numbers that int8 holds."""
    if isinstance(codebook, Symmetric):
        return codebook.step
    whole = isinstance(codebook, Table) and bool((codebook.levels == codebook.levels.round()).all())
    return 1.0 if whole and float(codebook.levels.abs().max()) <= torch.iinfo(torch.int8).max else None


def _integer_layer(codes: Tensor, steps: Tensor, bias: Tensor, reads: ActivationGrid) -> IntegerLayer:
    """Round the bias to the accumulator's step. A channel gets a coarser step, on which its weights are rounded again,
    where these are so small beside its bias that it does not fit, or where the lowest code changed its sign: 128.
    """
    bias = bias.to(torch.float64)
    least = torch.maximum(bias.abs() / (_LARGEST_BIAS * reads.step), torch.tensor(torch.finfo(torch.float32).tiny))
    fitting = steps * (codes.flatten(1).amax(dim=1) / torch.iinfo(torch.int8).max).clamp(min=1)
    coarser = torch.maximum(fitting, least).to(torch.float32).to(torch.float64)
    codes = (codes * (steps / coarser).reshape(-1, *[1] * (codes.dim() - 1))).round()
    whole = (bias / (coarser * reads.step)).round()
    return IntegerLayer(codes.to(torch.int8), coarser.to(torch.float32), whole.to(torch.int32), reads)


@dataclass(frozen=True)
class _Whole:
    """Σ numbers · step over ``terms``: numbers are whole, in a float type that holds them exactly; a step is float64,
    one or one a channel. ``ceiling``: sums are to be bounded by 0 and this value, None where they are not rectified.
    """

    terms: tuple[tuple[Tensor, Tensor], ...]
    ceiling: float | None = None

    @classmethod
    def held(cls, codes: Tensor, grid: ActivationGrid) -> _Whole:
        """What codes on a grid stand for."""
        return cls((((codes.to(torch.float32) - grid.zero_point), torch.tensor(grid.step, dtype=torch.float64)),))

    @property
    def is_held(self) -> bool:
        """Whether it is codes on a grid, less their zero point."""
        return len(self.terms) == 1 and not self.terms[0][1].dim() and self.ceiling is None

    def each(self, change: Callable[[Tensor], Tensor]) -> _Whole:
        """The same with the numbers of each term changed."""
        return replace(self, terms=tuple((change(numbers), step) for numbers, step in self.terms))

    @property
    def values(self) -> Tensor:
        """The sums as real numbers, float64."""
        total = sum((numbers * step for numbers, step in self.terms), start=torch.zeros((), dtype=torch.float64))
        return total if self.ceiling is None else total.clamp(0, self.ceiling)

    def rescaled(self, grid: ActivationGrid) -> Tensor:
        """The codes on ``grid``, int64: each term times a multiplier of 31 bits, and one shift that rounds."""
        multipliers, shift = rescaling([step for _, step in self.terms], grid.step)
        total = torch.zeros((), dtype=torch.int64)
        for (numbers, _), multiplier in zip(self.terms, multipliers, strict=True):
            total = total + numbers.to(torch.int64) * multiplier
        codes = (total + (torch.ones_like(shift) << (shift - 1)) >> shift) + grid.zero_point
        return codes.clamp(*code_bounds(grid, self.ceiling))


def rescaling(steps: Sequence[Tensor], onto: float) -> tuple[list[Tensor], Tensor]:
    """The multipliers, of 31 bits, that bring numbers of these steps onto the step ``onto``, and the one shift of all.

    Σ numbers · multiplier, shifted right by ``shift`` (1 to 62), is the sum in steps of ``onto``. ``steps`` are
    float64, of shapes that fit each other; all that is returned is int64, of their common shape.
    """
    ratios = torch.broadcast_tensors(*[(step / onto).clamp(max=_LARGEST_RATIO) for step in steps])
    shift = (_FRACTION_BITS - torch.stack([torch.frexp(ratio).exponent for ratio in ratios]).amax(0)).clamp(max=62)
    most = (1 << _FRACTION_BITS) - 1
    multipliers = [torch.ldexp(ratio, shift).round().clamp(max=most).to(torch.int64) for ratio in ratios]
    return multipliers, shift.to(torch.int64)


def code_bounds(grid: ActivationGrid, ceiling: float | None) -> tuple[int, int]:
    """The lowest and the highest code of values rectified at ``ceiling``, or not at all where it is None."""
    if ceiling is None:
        return 0, grid.highest
    return grid.zero_point, grid.zero_point + round(min(ceiling / grid.step, grid.highest - grid.zero_point))


class IntegerNetwork(nn.Module):
    """What ``stored`` holds, computed in integers; ``architecture`` has its layers, BatchNorms folded.

    Raises NoIntegerFormError where integers alone do not compute it; some of that shows only when it is run.
    """

    def __init__(self, architecture: nn.Module, stored: Compressed) -> None:
        super().__init__()
        layers = integer_layers(architecture, stored)
        self.graph = with_quantized_activations(architecture, stored.activations)
        for name, integers in layers.items():
            exact = torch.float32 if integers.reach < _EXACT_IN_FLOAT32 else torch.float64
            layer = self.graph.get_submodule(name)
            layer.weight = nn.Parameter(integers.weight.to(exact), requires_grad=False)
            layer.bias = nn.Parameter(integers.bias.to(exact), requires_grad=False)
            layer.register_buffer("steps", integers.steps.to(torch.float64))

    def forward(self, inputs: Tensor, others: Mapping[str, Tensor] | None = None) -> Tensor:
        """Float32 inputs, shape (rows, …), to outputs, float64, shape (rows, outputs); ``others`` as for ``codes``.

        Raises OverflowError where an accumulator leaves 32 bits.
        """
        with torch.inference_mode():
            outputs: Tensor = _Interpreter(self.graph, others).run(inputs)
            return outputs

    def codes(self, inputs: Tensor, others: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """The codes at every quantized activation, by its place in the network, int64.

        With ``others``, the codes that something else computes there, each is computed from these, so that what
        differs at one place does not spread to the next.
        """
        interpreter = _Interpreter(self.graph, others)
        with torch.inference_mode():
            interpreter.run(inputs)
        return interpreter.codes


class _Interpreter(fx.Interpreter):
    """Runs the graph of an IntegerNetwork: from the codes of its input on, values are ``_Whole``."""

    def __init__(self, graph: fx.GraphModule, others: Mapping[str, Tensor] | None = None) -> None:
        super().__init__(graph)
        self.others = others or {}
        self.codes: dict[str, Tensor] = {}

    def run_node(self, n: fx.Node) -> object:
        if n.op == "get_attr":
            raise NoIntegerFormError(f"the network reads '{n.target}' itself, which is not computed in integers here")
        read = [self.env[node] for node in n.all_input_nodes]
        if n.op == "placeholder" or not any(isinstance(each, _Whole | Tensor) for each in read):
            return super().run_node(n)  # the input, or what comes of shapes
        arguments, options = self.fetch_args_kwargs_from_env(n)
        value, *others = arguments or (None,)
        module = called(n, self.module) if n.op == "call_module" else None
        if isinstance(module, Quantize):
            return self._quantized(n.all_input_nodes[0].name, module.grid, value)
        if isinstance(value, _Whole) and (found := self._computed(n, module, value, others, options)) is not None:
            return found
        kind = operation(n, self.module)
        raise NoIntegerFormError(f"'{n.name}', {getattr(kind, '__name__', kind)}, is not computed in integers here")

    def _computed(
        self, n: fx.Node, module: nn.Module | None, value: _Whole, others: list[Any], options: dict[str, Any]
    ) -> object:
        """What a node gives of ``value``, its first argument; None where integers alone do not compute that."""
        kind = operation(n, self.module)
        known = properties(kind)

        def of(numbers: Tensor) -> Any:
            return getattr(self, n.op)(n.target, (numbers, *others), options)

        if n.op == "output":
            return value.values
        if kind in SHAPES:
            return of(value.values)
        if Property.RECTIFIES in known:
            ceiling = ceiling_of(kind)
            return replace(value, ceiling=ceiling if value.ceiling is None else min(ceiling, value.ceiling))
        if (
            Property.ADDS in known
            and len(others) == 1
            and isinstance(others[0], _Whole)
            and not options
            and value.ceiling is others[0].ceiling is None
        ):
            return _Whole(value.terms + others[0].terms)
        if Property.SELECTS in known and (value.is_held or Property.PASSES in known):
            return value.each(of)
        if not value.is_held:
            return None
        numbers, step = value.terms[0]
        if isinstance(module, LAYERS):
            return _layer(str(n.target), module, numbers, step)
        if whole := mean(n, self.module):
            sums = numbers.to(torch.float64).sum(whole.dims, whole.keepdim)
            return _Whole(((sums, step * sums.numel() / numbers.numel()),))
        return _average(str(n.target), of, numbers, step) if isinstance(module, nn.AdaptiveAvgPool2d) else None

    def _quantized(self, point: str, grid: ActivationGrid, value: Tensor | _Whole) -> _Whole:
        if isinstance(value, Tensor):  # the network's input
            codes = (grid.signed_codes(value) + grid.zero_point).to(torch.int64)
        else:
            codes = value.rescaled(grid)
        self.codes[point] = codes
        return _Whole.held(self.others.get(point, codes), grid)


def _layer(name: str, layer: Layer, numbers: Tensor, step: Tensor) -> _Whole:
    steps = layer.get_buffer("steps").reshape(-1, *[1] * (layer.weight.dim() - 2))
    sums = layer(numbers.to(layer.weight.dtype))
    if float(sums.abs().max()) > _LARGEST_SUM:
        raise OverflowError(f"an accumulator of '{name}' leaves 32 bits")
    return _Whole(((sums, step * steps),))


def _average(name: str, pool: Callable[[Tensor], Tensor], numbers: Tensor, step: Tensor) -> _Whole:
    """The sums over windows, whose step is smaller by the size of a window."""
    means = pool(numbers.to(torch.float64))
    sides = list(zip(numbers.shape[-2:], means.shape[-2:], strict=True))
    if any(before % after and after % before for before, after in sides):
        raise NoIntegerFormError(f"'{name}' averages windows of different sizes")
    entries = prod(max(1, before // after) for before, after in sides)
    return _Whole((((means * entries).round(), step / entries),))
