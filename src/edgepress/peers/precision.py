"""In how many bits a runtime's file has weights and activations, read from the graph that the file holds.

A peer's level says what was asked for. What the library did with each layer, with the network's input and with what is
added, only its file tells.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from torch import nn

from edgepress.graph import UntraceableError, called_weights
from edgepress.levels import FLOAT_BITS
from edgepress.networks import compressible


@dataclass(frozen=True)
class Precision:
    """Bits of the weights of Linear and Conv layers and of what these read, by the name of the weight tensor; a layer
    that reads float32 is left out of ``inputs``. ``adds`` are the fewest bits of what no layer reads, but a sum or an
    average, say; None where nothing is quantized there.
    """

    weights: dict[str, int]
    inputs: dict[str, int] = field(default_factory=dict)
    adds: int | None = None


@dataclass(frozen=True)
class Operation:
    """An operation of a file's graph: the operations whose results it takes, and what it does with them.

    A ``layer`` multiplies its first input by weights, its second; ``quantize`` puts values on a grid of ``bits``;
    ``constant`` is stored in ``bits``; ``pass`` hands on the values that it takes; ``input`` and ``output`` are those
    of the network. ``text`` has the name of a layer in it.
    """

    name: str
    kind: Literal["layer", "quantize", "constant", "pass", "input", "output", "other"]
    inputs: tuple[str, ...] = ()
    bits: int = FLOAT_BITS
    text: str = ""


def bits_of(values: int) -> int:
    """The bits that tell so many values apart."""
    return math.ceil(math.log2(values))


def precision(operations: Iterable[Operation], network: nn.Module) -> Precision:
    """What ``operations``, a file's graph in the order of computation, compute the layers of ``network`` in.

    Layers are found by name or, where an exporter renamed them, by order. One that is not found is left out.
    """
    graph = _Graph(operations)
    layers = [operation for operation in graph.operations.values() if graph.weight_bits(operation) is not None]
    stored: dict[str, int] = {}
    read: dict[str, list[int]] = {}
    for operation, name in zip(layers, _names([layer.text for layer in layers], network), strict=True):
        bits = graph.weight_bits(operation)
        if name is not None and bits is not None:
            stored[name] = bits
            read.setdefault(name, []).append(graph.input_bits(operation))
    inputs = {name: max(bits) for name, bits in read.items() if max(bits) < FLOAT_BITS}
    return Precision(stored, inputs, min(graph.unread_bits(), default=None))


class _Graph:
    """Operations by name, and who takes their results."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        self.operations = {operation.name: operation for operation in operations}
        self.users: dict[str, list[Operation]] = {}
        for operation in self.operations.values():
            for name in operation.inputs:
                self.users.setdefault(name, []).append(operation)

    def weight_bits(self, layer: Operation) -> int | None:
        """None where it is no layer, or multiplies by what is computed, as attention does."""
        operation, bits = self.operations.get(layer.inputs[1]) if layer.kind == "layer" else None, FLOAT_BITS
        while operation is not None and operation.kind != "constant":
            bits = min(bits, operation.bits)
            operation = self.operations.get(next(iter(operation.inputs), ""))
        return min(bits, operation.bits) if operation else None

    def input_bits(self, layer: Operation) -> int:
        operation = self.operations.get(layer.inputs[0])
        while operation is not None and operation.kind == "pass":
            operation = self.operations.get(operation.inputs[0])
        return operation.bits if operation and operation.kind == "quantize" else FLOAT_BITS

    def unread_bits(self) -> Iterator[int]:
        """The bits of activations that no layer reads; neither the network's input nor its output is one."""
        for operation in self.operations.values():
            if operation.kind != "quantize" or self._source(operation).kind in ("input", "constant"):
                continue
            if not {"layer", "output"} & {user.kind for user in self._readers(operation)}:
                yield operation.bits

    def _source(self, operation: Operation) -> Operation:
        """Where the values that it quantizes are from."""
        while operation.kind in ("quantize", "pass") and operation.inputs[0] in self.operations:
            operation = self.operations[operation.inputs[0]]
        return operation

    def _readers(self, operation: Operation) -> Iterator[Operation]:
        """What computes with its result, seen through what hands it on or quantizes it once more."""
        for user in self.users.get(operation.name, []):
            if user.kind in ("pass", "quantize"):
                yield from self._readers(user)
            else:
                yield user


def _names(texts: list[str], network: nn.Module) -> list[str | None]:
    """The weight tensors of the layers that ``texts``, of the layers of a file, name; or those of the layers in the
    order in which ``network`` calls them, where there are as many and no name contradicts.
    """
    weights = compressible(network)
    found = [_named(text, weights) for text in texts]
    if None not in found:
        return found
    try:
        called: list[str | None] = [weight for weight in called_weights(network) if weight in set(weights)]
    except UntraceableError:
        return found
    agree = len(called) == len(found) and all(name in (None, place) for name, place in zip(found, called, strict=True))
    return called if agree else found


def _named(text: str, weights: Iterable[str]) -> str | None:
    """The weight tensor whose layer is named in ``text``, the longest name where there are several."""
    for weight in sorted(weights, key=len, reverse=True):
        layer = weight.removesuffix("weight").rstrip(".")
        if re.search(rf"(?<![\w.])(?:__module\.)?{re.escape(layer)}(?=[./])", text):
            return weight
    return None
