"""Channels brought to like ranges before activations are quantized.

ReLU, pools and averages let a positive factor pass: the outputs of a layer can be divided, channel by channel, if the
weights that read them are multiplied by the same (Nagel et al. 2019, arXiv 1906.04721). So one grid for a whole tensor
serves all of its channels, and the network computes what it did.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from edgepress.datasets import Prepared
from edgepress.encodings import as_it_is
from edgepress.graph import LAYERS, Layer, called, does, recorded, trace
from edgepress.levels import Level
from edgepress.methods import calibration_inputs, must_come_first
from edgepress.methods.activations import QuantizedActivations
from edgepress.networks import layer_of
from edgepress.operations import Property
from edgepress.packing import Compressed

METHODS = {
    "activations_equalized": {
        "object": "EqualizedActivations",
        "about": "`activations_mse`, once factors that layers undo have brought channels to like ranges",
        "family": "activations",
        "sweep": "act_bits",
        "options": {"channels": "equalized"},
        "examples": True,
        "first": True,
        "args": {"ranges": "mse"},
    },
}
_INSIDE = 0.999  # share of a channel's values that its range holds
_SHARE = 0.75  # of the difference that goes to weights which share a step; chosen on val
_LEAST = 0.01  # of the largest range: what channels that are hardly used are taken to have


def equalized(network: nn.Module, inputs: Tensor) -> dict[str, Tensor]:
    """The tensors of ``network`` that change when its channels are brought to like ranges on ``inputs``.

    Raises UntraceableError where the network is no fixed graph.
    """
    traced = trace(network)
    values = recorded(traced, inputs)
    parameters = dict(traced.named_parameters(remove_duplicate=False))
    changed = {name: tensor.detach().clone() for name, tensor in parameters.items()}
    for before, after in _pairs(traced, values):
        layer, reader = layer_of(traced, f"{before.target}.weight"), layer_of(traced, f"{after.target}.weight")
        ranges = _ranges(values[after.all_input_nodes[0]], len(layer.weight))
        depthwise = not isinstance(reader, nn.Linear) and reader.groups > 1
        factors = ranges if depthwise else ranges**_SHARE  # a depthwise filter has a step of its own
        for name in ("weight", "bias") if layer.bias is not None else ("weight",):
            tensor = changed[f"{before.target}.{name}"]
            tensor /= factors.reshape(-1, *[1] * (tensor.dim() - 1))
        weight = changed[f"{after.target}.weight"]
        rows = weight if depthwise else weight.transpose(0, 1)
        rows *= factors.repeat_interleave(len(rows) // len(factors)).reshape(-1, *[1] * (weight.dim() - 1))
    return changed


def _pairs(traced: fx.GraphModule, values: Mapping[fx.Node, object]) -> Iterator[tuple[fx.Node, fx.Node]]:
    """Layers, one of which alone reads what the other computes, with nothing but what is homogeneous between them.

    Neither shares its weights with another; ``values`` are those of the graph on some inputs.
    """
    owners = Counter(id(tensor) for _, tensor in traced.named_parameters(remove_duplicate=False))
    layers = [
        node for node in traced.graph.nodes if node.op == "call_module" and isinstance(called(node, traced), LAYERS)
    ]
    used = [node.target for node in layers]
    for after in layers:
        before = after.all_input_nodes[0]
        while len(before.users) == 1 and _lets_factors_pass(before, traced):
            before = before.all_input_nodes[0]
        once = used.count(before.target) == used.count(after.target) == 1
        if before not in layers or len(before.users) > 1 or not once:
            continue
        layer, reader = (layer_of(traced, f"{node.target}.weight") for node in (before, after))
        own = all(owners[id(tensor)] == 1 for tensor in (*layer.parameters(), *reader.parameters()))
        if own and _reads_channels(layer, reader, values[before], values[after.all_input_nodes[0]]):
            yield before, after


def _lets_factors_pass(node: fx.Node, traced: fx.GraphModule) -> bool:
    """Whether a positive factor of a channel of the input is one of the same channel of the output."""
    keeps = (Property.CHANNELWISE, Property.FLATTENS)
    return any(does(node, traced, Property.HOMOGENEOUS | each) for each in keeps)


def _reads_channels(layer: Layer, reader: Layer, computed: object, read: object) -> bool:
    """Whether a layer reads all channels of the one before it, or each of its filters one of them, and the values that
    are ``computed`` and ``read`` have them on their second side.
    """
    for side, value in ((layer, computed), (reader, read)):
        if not isinstance(value, Tensor) or value.dim() != side.weight.dim():
            return False
    groups, channels = 1 if isinstance(reader, nn.Linear) else reader.groups, len(layer.weight)
    return groups in (1, channels) and reader.weight.shape[1] * groups % channels == 0


def _ranges(values: object, channels: int) -> Tensor:
    """How large the values of each channel get, over the geometric mean of all channels; shape (channels,)."""
    assert isinstance(values, Tensor)  # what a layer reads
    sizes = values.abs().reshape(len(values), channels, -1).transpose(0, 1).flatten(1)
    ranges = sizes.kthvalue(max(1, round(_INSIDE * sizes.shape[1])), dim=1).values
    ranges = ranges.clamp_min(_LEAST * float(ranges.max()))
    return ranges / ranges.log().mean().exp() if bool(ranges.all()) else torch.ones(channels)


@dataclass(frozen=True)
class EqualizedActivations(QuantizedActivations):
    """Bring the channels of activations to like ranges, then hold every value between layers as an integer.

    Where a layer alone reads another, its outputs are divided by a factor a channel: the range of the channel's values
    where a depthwise layer reads it, whose filters have steps of their own; a power of it elsewhere, which leaves some
    of the difference to the activations. Weights change, so in a chain it comes first, and after it one that rounds
    with one scale per channel.
    """

    def apply(
        self, stored: Compressed, network: nn.Module, data: Prepared, level: Level, generator: torch.Generator
    ) -> Compressed:
        must_come_first(stored, "a method that scales channels")
        tensors = equalized(network, calibration_inputs(data))
        stored = stored.with_tensors({name: as_it_is(tensor) for name, tensor in tensors.items()})
        return super().apply(stored, stored.rebuild(network), data, level, generator)
