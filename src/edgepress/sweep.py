"""One cell of the benchmark: a trained network compressed by one method at every level, and what each costs."""

from __future__ import annotations

import copy
import hashlib
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgepress import methods, networks, packing, registry, tensor_files
from edgepress.activations import add_bits, input_bits, with_quantized_activations
from edgepress.checkpoints import Checkpoints
from edgepress.costs.operations import Inference, bit_operations, macs_of, observed
from edgepress.datasets import Prepared
from edgepress.evaluation import evaluate, majority
from edgepress.files import FileError
from edgepress.folding import fold_batch_norm, fold_stored
from edgepress.levels import FLOAT_BITS, Level
from edgepress.logs import one_line
from edgepress.methods import Method
from edgepress.networks import compressible, inference_state, parameter_count, uncompressed
from edgepress.packing import Compressed
from edgepress.spec import STEPS
from edgepress.tensor_files import FileSize
from edgepress.training import Training
from edgepress.widths import with_state

# What ends the job, since another machine, or another try, may not meet it: these are no results.
_NOT_ITS_FAULT = (MemoryError, torch.OutOfMemoryError, OSError, FileError)


@dataclass(frozen=True)
class Trained:
    """A trained network on the CPU, and what it was trained on."""

    network_name: str
    seed: int
    network: nn.Module
    data: Prepared

    @classmethod
    def load(cls, network_name: str, seed: str | int, model: str | Path, data: str | Path) -> Trained:
        """The network whose weights are in the file ``model``, and the data set in the file ``data``."""
        prepared = Prepared.load(data)
        network = networks.build(network_name, prepared)
        networks.bake(network)
        networks.load_inference_state(network, tensor_files.load(model)[0])
        return cls(network_name, int(seed), network, prepared)


@dataclass(frozen=True)
class Result:
    """A level of a cell: the packed file of its first draw, and its rows of metrics, one a draw and split."""

    level: str
    packed: bytes
    rows: list[dict[str, Any]]


class Bench:
    """Measures networks that share an architecture with ``trained``, on the same splits and device.

    ``retraining`` says how methods fine-tune, ``checkpoints`` where they keep how far they are.
    What is measured is the network as it is shipped: with ``fold_bn``, its BatchNorms are part of the layers before
    them. Methods that do not train get it so, too, and it is the float32 file that sizes are compared with.
    """

    def __init__(
        self,
        trained: Trained,
        splits: Sequence[str],
        device: torch.device,
        retraining: Training | None = None,
        fold_bn: bool = True,
        checkpoints: Checkpoints | None = None,
    ) -> None:
        self.trained = trained
        self.splits = splits
        self.retraining = retraining
        self.checkpoints = checkpoints
        self.device = device
        self.data = trained.data.only(*splits).to(device)
        self.counts = {
            split: {"examples": len(targets), "majority": majority(targets)}
            for split, targets in self.data.targets.items()
        }
        self.shipped = fold_batch_norm(trained.network, trained.data.input_shape) if fold_bn else trained.network
        self.weights = sum(trained.network.get_parameter(name).numel() for name in compressible(trained.network))
        self.float32 = FileSize.of(float32_file(self.shipped))
        self.fp32_bytes = self.float32.whole
        self._scratch: nn.Module | None = None
        self._observed: dict[tuple[tuple[str, torch.Size], ...], Inference] = {}

    def baseline(self) -> list[dict[str, Any]]:
        """The rows of the network in full precision, method ``fp32``."""
        identity = {
            "method": "fp32",
            "family": "fp32",
            "steps": "fp32",
            "level": f"w{FLOAT_BITS}",
            "bits": FLOAT_BITS,
            "draw": 0,
        }
        return self._rows(identity, methods.in_full_precision(self.shipped), self.float32)

    def sweep(
        self, method: str, levels: Sequence[str], draws: int, steps: Sequence[str] | None = None
    ) -> Iterator[Result]:
        """Compress by ``method`` at each level, ``draws`` times where the method is stochastic.

        ``steps`` are the methods of a chain that goes by the name ``method``; without it, that is a method itself.

        What is measured is what the file holds: each network is packed, unpacked, and rebuilt from that.
        """
        names = steps or [method]
        entries = [registry.methods()[step] for step in names]
        family = registry.family(names)
        draws = draws if any(entry.stochastic for entry in entries) else 1
        chain = [methods.create(entry.name, self.retraining, self.checkpoints) for entry in entries]
        as_trained = any(entry.retrains and not entry.folded for entry in entries)
        visible = self.trained.data.only("train", "val")
        for name in levels:
            level = Level.parse(name)
            identity = identify(method, family, level, names)
            first = b""
            rows = []
            try:
                reason = next(filter(None, (step.skip(self.shipped, visible, level) for step in chain)), None)
                if reason is not None:
                    yield self._without_network(identity, "skipped", reason)
                    continue
                for draw in range(draws):
                    generator = generator_for(
                        self.trained.data.name, self.trained.network_name, self.trained.seed, method, name, draw
                    )
                    file = self._compressed(chain, as_trained, visible, level, generator).to_bytes(names)
                    first = first or file
                    rows += self._rows(identity | {"draw": draw}, Compressed.from_bytes(file), FileSize.of(file))
            except _NOT_ITS_FAULT:
                raise
            except Exception as error:  # whatever a method raises on a network that it was not made for
                yield self._without_network(identity, "failed", _why(error))
                continue
            yield Result(name, first, rows)

    def _compressed(
        self, chain: Sequence[Method], as_trained: bool, data: Prepared, level: Level, generator: torch.Generator
    ) -> Compressed:
        """The shipped network, compressed; ``as_trained``, the first method trains it again with its BatchNorms."""
        if not as_trained:
            return methods.compress(chain, self.shipped, data, level, generator)
        again, *rest = chain
        stored = again.compress(self.trained.network, data, level, generator)
        if self.shipped is not self.trained.network:
            stored = fold_stored(stored, self.trained.network, data.input_shape)
        return methods.compress(rest, self.shipped, data, level, generator, stored)

    def _without_network(self, identity: Mapping[str, Any], status: str, reason: str) -> Result:
        """A level that gave no network, and why: rows that say so, and a packed file that does."""
        return Result(
            identity["level"], packing.without_network(reason), self.rows_without_network(identity, status, reason)
        )

    def rows_without_network(self, identity: Mapping[str, Any], status: str, reason: str) -> list[dict[str, Any]]:
        """The rows of a level that gave no network, which say why."""
        return [self._row(identity, split, status=status, reason=reason) for split in self.splits]

    def _rows(self, identity: Mapping[str, Any], stored: Compressed, size: FileSize) -> list[dict[str, Any]]:
        network = self._decoded(stored)
        bits = {name: stored.tensors[name].bits for name in compressible(network)}
        read = input_bits(network, stored.activations, self.trained.data.input_shape)
        costs = self.costs(size, network, bits, read)
        costs |= {"sparsity": self.sparsity(network), "add_bits": add_bits(network, stored.activations)}
        measured = with_quantized_activations(network, stored.activations) if stored.activations else network
        return self.rows(identity, measured, costs)

    def _decoded(self, stored: Compressed) -> nn.Module:
        """The network that ``stored`` is, on the CPU. Where no tensor is narrower, the next one takes its place: a copy
        costs more than a small network's evaluation.
        """
        state = stored.state_dict()
        if _shapes(state) != _shapes(inference_state(self.shipped)):
            return with_state(self.shipped, state)
        if self._scratch is None:
            self._scratch = copy.deepcopy(self.shipped)
        networks.load_inference_state(self._scratch.cpu(), state)
        return self._scratch

    def costs(
        self, size: FileSize, layers: nn.Module, weight_bits: Mapping[str, float], act_bits: Mapping[str, int]
    ) -> dict[str, Any]:
        """What a file of ``size`` saves, and what an inference by the Linear and Conv layers of ``layers`` costs.

        ``weight_bits`` are the bits of their weights, ``act_bits`` those of what they read, float32 where it says none.
        Operations are None where other layers multiply, too; a note says so, and which weights are never compressed.
        """
        inference = self._inference(layers)
        macs = None if inference.uncounted else macs_of(inference.calls)
        return {
            "bytes": size.whole,
            "tensor_bytes": size.tensors,
            "bits_per_weight": 8 * size.whole / parameter_count(self.shipped),
            "compression_ratio": self.fp32_bytes / size.whole,
            "macs": macs and sum(macs.values()),
            "bops": macs and bit_operations(macs, weight_bits, act_bits),
            "note": left_out(self.shipped, inference.uncounted),
        }

    def _inference(self, layers: nn.Module) -> Inference:
        """What ``layers`` does in an inference. The shapes of its tensors decide, so it is observed once for each."""
        shapes = _shapes(inference_state(layers))
        if shapes not in self._observed:
            self._observed[shapes] = observed(layers, self.trained.data.input_shape)
        return self._observed[shapes]

    def sparsity(self, network: nn.Module) -> float:
        """The share of the trained network's weights that are 0 in ``network``, or gone from it."""
        left = sum(int(network.get_parameter(name).count_nonzero()) for name in compressible(network))
        return (self.weights - left) / self.weights

    def rows(self, identity: Mapping[str, Any], network: nn.Module, costs: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The quality of ``network`` beside its ``costs``, a row a split."""
        network = network.to(self.device)
        rows = []
        for split in self.splits:
            try:
                quality = {**evaluate(network, self.data, split), "status": "ok"}
            except ArithmeticError as error:
                quality = {"status": "failed", "reason": one_line(error)}
            rows.append(self._row(identity, split, **costs, **quality))
        return rows

    def _row(self, identity: Mapping[str, Any], split: str, **measured: Any) -> dict[str, Any]:
        cell = {"dataset": self.data.name, "network": self.trained.network_name, "seed": self.trained.seed}
        return {**cell, **identity, "split": split, **self.counts[split], **measured}


def _shapes(state: Mapping[str, torch.Tensor]) -> tuple[tuple[str, torch.Size], ...]:
    return tuple((name, tensor.shape) for name, tensor in state.items())


def left_out(network: nn.Module, uncounted: Sequence[str] = ()) -> str:
    """What is to be said of the weights of ``network`` that no method compresses, and of operations that are not
    counted; nothing where there are none.
    """
    layers = uncompressed(network)
    every = sum(layers.values()) + sum(network.get_parameter(name).numel() for name in compressible(network))
    notes = []
    if layers:
        share = 100 * sum(layers.values()) / every
        largest = sorted(layers, key=lambda name: -layers[name])
        notes.append(f"{share:.3g} % of the weights are in layers that no method compresses: {_some(largest)}")
    if uncounted:
        notes.append(f"operations are not counted, since not Linear and Conv layers alone multiply: {_some(uncounted)}")
    return "; ".join(notes)


def _some(names: Sequence[str], most: int = 4) -> str:
    more = [f"and {len(names) - most} more"] if len(names) > most else []
    return ", ".join([*names[:most], *more])


def _why(error: Exception) -> str:
    """What failed, in one line, without the node of a graph that torch adds; an unexpected error is traced, too."""
    said = one_line(error)[:300]
    if isinstance(error, ArithmeticError):
        return said
    traceback.print_exception(error)
    kind = type(error).__name__
    return kind if said == kind else f"{kind}: {said}"


def identify(method: str, family: str, level: Level, steps: Sequence[str] = ()) -> dict[str, Any]:
    """The columns of a row that say what was done to the network; ``steps`` are the methods that ``method`` consists
    of, none for a peer.
    """
    point = {"bits": level.bits, "act_bits": level.act_bits, "sparsity_target": level.sparsity}
    settings = vars(registry.spec(steps)) if steps else {}
    return {
        **{"method": method, "family": family, "steps": STEPS.join(steps or [method]), "level": str(level)},
        **point,
        **settings,
    }


def float32_file(network: nn.Module) -> bytes:
    """The network's safetensors file in full precision; a shared parameter is in it once."""
    return networks.to_bytes(network)


def generator_for(*key: object) -> torch.Generator:
    """A generator of its own for every key, the same on every machine and in whatever order things run."""
    digest = hashlib.sha256("/".join(map(str, key)).encode("utf-8")).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
