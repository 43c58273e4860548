"""Energy and cycles of an inference on an accelerator, modelled by ZigZag (Mei et al. 2021, IEEE Trans. Computers 70).

The accelerator is described once, at 8-bit weights and activations (``hardware/edge_array.yaml``), and rescaled to
other precisions. Each layer is simulated on its own, at the mapping of least energy × delay that ZigZag finds: what it
reads comes from the outermost memory, and what it makes goes back there. Biases, norms, activations and pools are not
counted. ZigZag is an extra: this module imports without it, and what simulates raises ModuleNotFoundError.
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from torch import nn

from edgepress.costs.energy import accumulator_bits, energy_per_mac, is_float
from edgepress.costs.operations import LayerCall, observed
from edgepress.levels import FLOAT_BITS, Level, asked
from edgepress.logs import one_line

DESCRIBED_BITS = 8  # those of weights and activations in a description
INSTALL = "pip install --requirement envs/requirements-hardware.lock"
_PERMUTED_LOOPS = 6  # of the temporal loops; ZigZag's own default


class CannotSimulateError(ValueError):
    """A layer that ZigZag has no loops for; the message says which."""


@dataclass(frozen=True)
class Shape:
    """The loops of a layer: channels are those of a group, and a Linear layer is a convolution of 1 × 1.

    Pairs are (height, width).
    """

    groups: int
    outputs: int
    inputs: int
    output: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    input: tuple[int, int]

    @classmethod
    def of(cls, call: LayerCall) -> Shape:
        """The shape of a layer where it is used. Raises CannotSimulateError for a three-dimensional convolution."""
        layer = call.layer
        if isinstance(layer, nn.Linear):
            positions = (math.prod(call.output_shape[:-1]), 1)
            one = (1, 1)
            return cls(1, layer.out_features, layer.in_features, positions, one, one, one, positions)
        if isinstance(layer, nn.Conv3d):
            raise CannotSimulateError(f"ZigZag has no loops for the three-dimensional convolution of {call.weight}")

        def pair(values: tuple[int, ...]) -> tuple[int, int]:
            return (1, values[0]) if len(values) == 1 else (values[0], values[1])

        return cls(
            layer.groups,
            layer.out_channels // layer.groups,
            layer.in_channels // layer.groups,
            pair(call.output_shape[2:]),
            pair(layer.kernel_size),
            pair(layer.stride),
            pair(layer.dilation),
            pair(call.input_shape[2:]),
        )

    def loops(self) -> dict[str, int]:
        """The size of each loop, by ZigZag's name for it."""
        (oy, ox), (fy, fx) = self.output, self.kernel
        return {"B": 1, "K": self.outputs, "G": self.groups, "OX": ox, "OY": oy, "C": self.inputs, "FX": fx, "FY": fy}


@dataclass(frozen=True)
class Cost:
    """What a layer or a network costs: multiply-accumulates as ZigZag counts them, cycles, and energy in pJ by where
    it goes, ``compute`` or the name of a memory.
    """

    macs: int
    cycles: int
    energy: Mapping[str, float]

    def __add__(self, other: Cost) -> Cost:
        energy = {part: value + other.energy.get(part, 0.0) for part, value in self.energy.items()}
        return Cost(self.macs + other.macs, self.cycles + other.cycles, energy)

    def __mul__(self, count: int) -> Cost:
        return Cost(count * self.macs, count * self.cycles, {p: count * value for p, value in self.energy.items()})


class Accelerator:
    """A description in ZigZag's format, whose array has two dimensions: columns, which output channels are spread
    over, and rows, which input channels are.
    """

    def __init__(self, path: str | Path) -> None:
        self.description = yaml.safe_load(Path(path).read_text(encoding="utf-8"))

    @property
    def parts(self) -> list[str]:
        """Where energy goes: ``compute``, and the memories from the multipliers outwards."""
        return ["compute", *self.description["memories"]]

    def at(self, weight_bits: int, act_bits: int) -> dict[str, Any]:
        """The description for operands of so many bits; 32 is float32.

        Silicon and wires stay what they are: since a multiplier's area grows with b_w · b_a, columns take as many
        weights, and rows as many activations, as have the same bits together (as in Bit Fusion, Sharma et al. 2018,
        arXiv 1712.01507). For float32 that is generous: its adders are larger than an integer's. Memories that do not
        serve the whole array are registers in it, which have the width of their operand.
        """
        description: dict[str, Any] = copy.deepcopy(self.description)
        array = description["operational_array"]
        widths = (FLOAT_BITS, FLOAT_BITS) if is_float(weight_bits, act_bits) else (weight_bits, act_bits)
        array["sizes"] = [
            max(1, DESCRIBED_BITS * size // bits) for size, bits in zip(array["sizes"], widths, strict=True)
        ]
        array["unit_energy"] = energy_per_mac(weight_bits, act_bits)
        described = _operand_bits(DESCRIBED_BITS, DESCRIBED_BITS)
        operands = _operand_bits(weight_bits, act_bits)
        for memory in description["memories"].values():
            if set(memory["served_dimensions"]) != set(array["dimensions"]):
                (operand,) = memory["operands"]
                _scale(memory, operands[operand], described[operand])
        return description


def _operand_bits(weight_bits: int, act_bits: int) -> dict[str, int]:
    return {"I1": act_bits, "I2": weight_bits, "O": accumulator_bits(weight_bits, act_bits)}


def _scale(memory: dict[str, Any], bits: int, described: int) -> None:
    """Give a register, in place, words of ``bits`` instead of ``described`` bits."""
    memory["size"] = memory["size"] * bits // described
    for cost in ("r_cost", "w_cost"):
        memory[cost] *= bits / described
    for port in memory["ports"]:
        for bound in ("bandwidth_min", "bandwidth_max"):
            port[bound] = port[bound] * bits // described


def inference(
    network: nn.Module,
    input_shape: tuple[int, ...],
    level: Level,
    accelerator: Accelerator,
    on_layer: Callable[[Shape, Cost], None] = lambda shape, cost: None,
) -> Cost:
    """What the inference of one example costs at ``level``, which says bits of weights and of activations.

    Layers of equal shapes are simulated once; ``on_layer`` gets the cost of each shape as it comes. Raises
    CannotSimulateError where a layer cannot be simulated.
    """
    inference = observed(network, input_shape)
    if inference.uncounted:
        raise CannotSimulateError(f"it multiplies outside of Linear and Conv layers: {', '.join(inference.uncounted)}")
    shapes = Counter(Shape.of(call) for call in inference.calls)
    total = Cost(0, 0, dict.fromkeys(accelerator.parts, 0.0))
    for shape, count in shapes.items():
        cost = layer(shape, level, accelerator)
        on_layer(shape, cost)
        total += cost * count
    return total


def layer(shape: Shape, level: Level, accelerator: Accelerator) -> Cost:
    """What one layer costs at ``level``, at the mapping of least energy × delay.

    Columns take output channels, or groups where there are more of these; rows take input channels, or the kernel's
    width where that is larger. So a depthwise layer leaves few multipliers idle, as far as it can.
    """
    from zigzag.mapping.temporal_mapping import TemporalMappingType
    from zigzag.parser.accelerator_factory import AcceleratorFactory
    from zigzag.parser.accelerator_validator import AcceleratorValidator
    from zigzag.stages.evaluation.cost_model_evaluation import CostModelStage
    from zigzag.stages.main import MainStage
    from zigzag.stages.mapping.spatial_mapping_generation import SpatialMappingGeneratorStage
    from zigzag.stages.mapping.temporal_mapping_generator_stage import TemporalMappingGeneratorStage
    from zigzag.stages.results.reduce_stages import MinimalEDPStage

    checked = AcceleratorValidator(accelerator.at(asked(level.bits), asked(level.act_bits)))
    if not checked.validate():
        raise ValueError(f"ZigZag does not take the accelerator's description: {checked.validator.errors}")
    built = AcceleratorFactory(checked.normalized_data).create()
    stages: list[Any] = [MinimalEDPStage, SpatialMappingGeneratorStage, TemporalMappingGeneratorStage, CostModelStage]
    ((found, _),) = MainStage(
        stages,
        accelerator=built,
        layer=_zigzag_layer(shape, level, checked.normalized_data["operational_array"]["sizes"]),
        loma_lpf_limit=_PERMUTED_LOOPS,
        loma_show_progress_bar=False,
        temporal_mapping_type=TemporalMappingType.UNEVEN,
    ).run()
    energy = dict.fromkeys(accelerator.parts, 0.0) | {"compute": float(found.mac_energy)}
    for operand, energies in found.mem_energy_breakdown.items():
        memories = built.memory_hierarchy.get_memory_levels(found.memory_operand_links.layer_to_mem_op(operand))
        for memory, picojoules in zip(memories, energies, strict=True):
            energy[memory.name] += float(picojoules)
    return Cost(int(found.layer.total_mac_count), math.ceil(found.latency_total2), energy)


def _zigzag_layer(shape: Shape, level: Level, sizes: list[int]) -> Any:
    """The layer as ZigZag describes one, spread over an array of ``sizes``, columns and rows."""
    from zigzag.parser.mapping_validator import MappingValidator
    from zigzag.parser.workload_factory import LayerNodeFactory

    loops, (columns, rows) = shape.loops(), sizes
    across, down = max("K", "G", key=loops.__getitem__), max("C", "FX", key=loops.__getitem__)
    spread = {"D1": [f"{across}, {min(columns, loops[across])}"], "D2": [f"{down}, {min(rows, loops[down])}"]}
    mapping = MappingValidator([{"name": "default", "spatial_mapping": spread}]).normalized_data
    description = {
        "id": 0,
        "name": "layer",
        "operator_type": "default",
        "equation": "O[b][g][k][oy][ox]+=W[g][k][c][fy][fx]*I[b][g][c][iy][ix]",
        "dimension_relations": [
            f"i{axis}={shape.stride[place]}*o{axis}+{shape.dilation[place]}*f{axis}"
            for place, axis in ((1, "x"), (0, "y"))
        ],
        "loop_dims": list(loops),
        "loop_sizes": list(loops.values()),
        "pr_loop_dims": ["IY", "IX"],
        "pr_loop_sizes": list(shape.input),
        "operand_precision": {
            "W": level.bits,
            "I": level.act_bits,
            "O": accumulator_bits(asked(level.bits), asked(level.act_bits)),
            "O_final": level.act_bits,
        },
        "operand_source": {"W": 0, "I": 0},
    }
    return LayerNodeFactory(description, mapping).create()


def columns(accelerator: Accelerator) -> list[str]:
    """The columns of a table of costs: identity, energy in all and by part in µJ, cycles, and how sure all that is."""
    energies = [f"{part}_uj" for part in ("energy", *accelerator.parts)]
    identity = ["dataset", "network", "level", "bits", "act_bits", "accelerator"]
    return [*identity, "macs", *energies, "cycles", "source", "status", "reason"]


def row(network: nn.Module, input_shape: tuple[int, ...], level: Level, accelerator: Accelerator) -> dict[str, Any]:
    """The row of a table of costs, but for data set and network; ``skipped`` where it cannot be simulated.

    Prints the cost of each layer.
    """
    identity = {"level": str(level), "bits": level.bits, "act_bits": level.act_bits}
    identity["accelerator"] = accelerator.description["name"]
    try:
        cost = inference(network, input_shape, level, accelerator, on_layer=print)
    except ModuleNotFoundError as error:
        reason = f"{error.name} is not installed: {INSTALL}"
        return {**identity, "source": "unavailable", "status": "skipped", "reason": reason}
    except CannotSimulateError as error:
        return {**identity, "source": "unavailable", "status": "skipped", "reason": one_line(error)}
    energies = {"energy": sum(cost.energy.values()), **cost.energy}
    measured = {f"{part}_uj": picojoules / 1e6 for part, picojoules in energies.items()}
    return {
        **identity, "macs": cost.macs, **measured, "cycles": cost.cycles, "source": "modelled", "status": "ok"
    }  # fmt: skip
