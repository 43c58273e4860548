"""Compressing layer after layer, each on the inputs that the ones before it, already compressed, give it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, fx, nn

from edgepress.encodings import Dense, Encoding
from edgepress.graph import LAYERS, Layer, UntraceableError, called, called_weights, trace, weight_names
from edgepress.networks import compressible


class LayerByLayer(fx.Interpreter):
    """Runs calibration data through a network and compresses each layer when its inputs arrive; then its bias, where it
    has one, takes up what its outputs are off on average.

    ``encode`` gets the name of the layer's weight tensor, the layer and its inputs, and returns None for one that is
    to stay as it is. Raises UntraceableError where the network is no fixed graph.
    """

    def __init__(self, network: nn.Module, encode: Callable[[str, Layer, Tensor], Encoding | None]) -> None:
        super().__init__(trace(network))
        self.encode = encode
        self.names = weight_names(network)
        self.exact = trace(network)
        self.encodings: dict[str, Encoding] = {}

    @torch.no_grad()
    def encode_all(self, inputs: Tensor) -> dict[str, Encoding]:
        """The tensors that have changed, by name; ``inputs`` are those of the network, shape (rows, …)."""
        self.corrected = set[str]()
        self.means = _MeanOutputs(self.exact).of(inputs)
        self.run(inputs)
        return self.encodings

    def run_node(self, n: fx.Node) -> object:
        """Compress a layer, the first time that its weight is used, before it computes."""
        name = self.names.get(f"{n.target}.weight")
        layer = called(n, self.module) if n.op == "call_module" else None
        if isinstance(layer, LAYERS) and name is not None:
            (inputs, *_), _ = self.fetch_args_kwargs_from_env(n)
            if name not in self.encodings:
                encoding = self.encode(name, layer, inputs)
                if encoding is not None:
                    self.encodings[name] = encoding
                    layer.weight.copy_(encoding.decode())
            if name in self.encodings and layer.bias is not None and str(n.target) not in self.corrected:
                layer.bias += self.means[n.name] - _channel_means(layer(inputs), layer)
                self.encodings[f"{n.target}.bias"] = Dense(layer.bias)
                self.corrected.add(str(n.target))
        return super().run_node(n)


def needs_called_layers(network: nn.Module) -> str | None:
    """Why layers of ``network`` cannot be compressed one after the other: it is no fixed graph, or uses one of them in
    another way than to call it, or not at all. None where they can.
    """
    try:
        calls = called_weights(network)
    except UntraceableError as error:
        return str(error)
    name = next((name for name in compressible(network) if name not in calls), None)
    return name and f"{name} belongs to a layer that the network does not call"


class _MeanOutputs(fx.Interpreter):
    """Runs data through a network and keeps the mean output of each channel of each layer."""

    def of(self, inputs: Tensor) -> dict[str, Tensor]:
        self.means: dict[str, Tensor] = {}
        self.run(inputs)
        return self.means

    def run_node(self, n: fx.Node) -> object:
        value = super().run_node(n)
        if n.op == "call_module" and isinstance(layer := called(n, self.module), LAYERS):
            self.means[n.name] = _channel_means(value, layer)
        return value


def _channel_means(outputs: Tensor, layer: nn.Module) -> Tensor:
    channels = outputs.flatten(0, -2) if isinstance(layer, nn.Linear) else outputs.transpose(0, 1).flatten(1).T
    return channels.mean(dim=0)
