"""Peers: other libraries that compress networks, each through its own public API. One file a peer.

A peer declares ``PEERS`` (see ``edgepress.registry``) and a class that writes a network's file, or files, as the
library's own tools do, and reads them back. Everything else is ours: the trained network, calibration data, splits,
the count of bytes, the clock. So a peer is compared with our methods, row beside row. No peer trains, none sees test
data, and no pickle is written or read: where a library has nothing else, its tensors go to a safetensors file.

Needs the packages of the extra ``peers``; without them, rows say how to install these.
"""

from __future__ import annotations

import copy
import shutil
import traceback
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from edgepress import registry, tensor_files
from edgepress.levels import FLOAT_BITS, Level
from edgepress.logs import one_line
from edgepress.methods import calibration_inputs
from edgepress.networks import compressible
from edgepress.peers.precision import Precision
from edgepress.registry import PEER
from edgepress.sweep import Bench, identify
from edgepress.targets import Runtime
from edgepress.tensor_files import FileSize


class Peer(ABC):
    """Another library as it is meant to be used after training, with its own defaults where it does not say why not."""

    @abstractmethod
    def compress(self, network: nn.Module, inputs: Tensor, level: Level, folder: Path) -> None:
        """Compress ``network``, on the CPU, to ``level``, and write into ``folder`` what a device would get.

        ``network`` is a copy, with which the library may do as it likes; ``inputs`` are for calibration, unlabelled.
        """

    @abstractmethod
    def load(self, folder: Path, network: nn.Module) -> nn.Module:
        """What the files in ``folder`` hold: it maps (rows, …) to (rows, outputs). ``network`` has the architecture."""

    def precision(self, folder: Path, network: nn.Module, level: Level) -> Precision:
        """The bits of weights and activations in the files in ``folder``, which hold ``network`` at ``level``."""
        return Precision(dict.fromkeys(compressible(network), level.bits or FLOAT_BITS))

    def tensor_bytes(self, folder: Path) -> int:
        """How many bytes of the files in ``folder`` hold tensors; here, of those in safetensors form."""
        return sum(tensor_files.tensor_bytes(file.read_bytes()) for file in folder.glob("*.safetensors"))


def sweep(bench: Bench, name: str, folder: Path) -> Iterator[list[dict[str, Any]]]:
    """The rows of metrics of each level of the peer ``name``, one a split; its files go to ``folder``/<level>.

    What is measured is what the files hold. Where the library fails, the rows say so, and its traceback is printed.
    """
    entry = registry.peers()[name]
    for level in map(Level.parse, entry.levels):
        identity = {**identify(name, PEER, level), "draw": 0}
        if entry.missing:
            yield bench.rows_without_network(identity, "skipped", entry.why_missing)
            continue
        try:
            rows = _rows(bench, entry.load()(**entry.args), identity, level, folder / str(level))
        except Exception as error:  # whatever another library raises on a network that it was not made for
            traceback.print_exc()
            shutil.rmtree(folder / str(level), ignore_errors=True)  # half a file would be timed, say
            reason = f"{type(error).__name__}: {one_line(error)}"[:300]
            rows = bench.rows_without_network(identity, "failed", reason)
        yield rows


def _rows(bench: Bench, peer: Peer, identity: dict[str, Any], level: Level, folder: Path) -> list[dict[str, Any]]:
    folder.mkdir(parents=True)
    inputs = calibration_inputs(bench.trained.data.only("train"))
    peer.compress(copy.deepcopy(bench.shipped), inputs, level, folder)
    network = peer.load(folder, bench.shipped)
    layers = bench.shipped if isinstance(network, Runtime) else network
    found = peer.precision(folder, layers, level)
    size = FileSize(sum(file.stat().st_size for file in folder.iterdir()), peer.tensor_bytes(folder))
    bits = dict.fromkeys(compressible(layers), FLOAT_BITS) | found.weights
    costs = bench.costs(size, layers, bits, found.inputs) | {"add_bits": found.adds}
    if bits.keys() > found.weights.keys():  # a layer that the graph of the file does not name
        costs["bops"] = None
    if level.sparsity is not None:
        costs["sparsity"] = bench.sparsity(layers)
    return bench.rows(identity, network, costs)
