"""How long an inference takes on a real edge runtime: ONNX Runtime, on one thread of this machine's CPU.

Only what a kernel of the runtime computes is timed: float32, and 8-bit weights with 8-bit activations. Integers are
timed in each mode of the runtime (``edgepress.targets.onnx_runtime``), a row each. Every file is checked before it is
timed: its outputs are compared with those of the network that it stands for, its activations with exact integer
arithmetic.
Needs the packages of the extra ``deploy``; without them, rows say how to install these.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgepress import methods, registry
from edgepress.evaluation import predict, score
from edgepress.folding import fold_batch_norm
from edgepress.levels import FLOAT_BITS, Level
from edgepress.logs import one_line
from edgepress.packing import Compressed
from edgepress.provenance import cpu_model, version
from edgepress.sweep import Trained, generator_for
from edgepress.targets import NotServedError, Runtime, onnx_runtime
from edgepress.targets.integer import IntegerNetwork
from edgepress.targets.onnx import FILE, Onnx

COLUMNS = {
    "dataset": "data set",
    "network": "network",
    "seed": "seed of the training",
    "peer": "the other library whose file it is; empty for ours",
    "level": "`w32` is float32; `w8a8` 8-bit weights, one scale per channel, and 8-bit activations",
    "batch": "examples of one inference",
    "runtime": "what computes it",
    "runtime_version": "its version",
    "threads": "threads that it may use",
    "cpu": "model of the CPU",
    "mode": "of ONNX Runtime: `default`; or `exact`, in which products of 8-bit integers never saturate, as on ARM; "
    "empty where all is float32",
    "instructions": "the CPU's instructions for 8-bit integers, by its flags: `vnni`, `avx512`, `avx2`, `amx`, `neon`, "
    "`dotprod`, `i8mm`; empty where all is float32",
    "products": "`exact` or `inexact`, as measured: whether each activation is within one step of exact arithmetic on "
    "what the file has before it, and the outputs equal it",
    "integer_layers": "convolutions and matrix products in integers, in the graph that the runtime computes",
    "float_layers": "those in float32",
    "median_ms": "median time of one inference of the whole batch, in ms",
    "q1_ms": "lower quartile, in ms",
    "q3_ms": "upper quartile, in ms",
    "repeats": "inferences timed, one level and batch after the other, over and over",
    "max_output_difference": "largest difference between an output of the file and one of the network, on test",
    "accuracy": "of the file on test, 0–1, where it classifies",
    "r2": "of the file on test, for regression",
    "integer_accuracy": "the same from integer arithmetic alone, rounded exactly",
    "integer_r2": "the same for regression",
    "max_code_difference": "largest difference, in steps, between an activation of the file and the same one from "
    "exact integer arithmetic on what the file has before it; for a peer's file, from float32 arithmetic on that",
    "status": "`ok`; `unavailable`, where no kernel computes the level; `skipped`, where a package is missing; "
    "`failed`, where the file computes something else",
    "reason": "why, where the status is not `ok`; or that the CPU saturates in this mode",
    "source": "`measured`, on the machine that made the run",
}
CHAIN = ("nearest_symmetric_channel", "activations_mse")  # what a level with activations is compressed by
BATCHES = (1, 128)
NO_PEERS: Mapping[str, Path] = MappingProxyType({})
_FLOAT = f"w{FLOAT_BITS}"
_WARM_UP = 5
_REPEATS = 100
_SECONDS = 30  # after which a network is timed no longer, once it was a few times
_LEAST_REPEATS = 10
_ROWS_COMPARED = 256  # of which the codes at every activation are kept
_FLOAT_TOLERANCE, _INTEGER_TOLERANCE = 1e-3, 0.05  # of an output, as a share of the range of outputs
_SAME = 1e-4  # of the same integers, of which the file makes float32
_SATURATES = (
    "products are inexact in this mode, and exact in the mode `exact`: without VNNI instructions ONNX Runtime adds "
    "pairs of them in 16 bits, which saturate"
)
_Run = Callable[[np.ndarray], np.ndarray]  # inputs to outputs


@dataclass(frozen=True)
class _Measured:
    """What is to be said of a file in a mode, beside its time; and what runs it, if it is to be timed."""

    row: dict[str, Any]
    run: _Run | None = None


def measure(
    trained: Trained, levels: Sequence[str], batches: Sequence[int] = BATCHES, peers: Mapping[str, Path] = NO_PEERS
) -> list[dict[str, Any]]:
    """Rows of ``COLUMNS``, one a level, mode and batch: times of the network ``trained``, its BatchNorms folded.

    To these come the files that ``peers`` made of it, each at all its levels: name of a peer → folder of its files.
    """
    identity = {"dataset": trained.data.name, "network": trained.network_name, "seed": trained.seed}
    identity |= {"runtime": onnx_runtime.NAME, "runtime_version": version(onnx_runtime.NAME)}
    identity |= {"threads": onnx_runtime.THREADS, "cpu": cpu_model()}
    found = [each for level in levels for each in _ours(trained, level)]
    for peer, folder in peers.items():
        for level in registry.peers()[peer].levels:
            found += _peers_own(trained, peer, folder / level, level)
    inputs = {batch: _repeated(trained.data.inputs["test"], batch) for batch in batches}
    timed = {place: each.run for place, each in enumerate(found) if each.run and each.row["status"] == "ok"}
    times = _times(timed, inputs)
    return [
        {**identity, **each.row, "batch": batch, **times.get((place, batch), {})}
        for place, each in enumerate(found)
        for batch in batches
    ]


def without_kernel(level: Level) -> str | None:
    """Why the runtime computes nothing at ``level`` that another level does not, or None where it does."""
    if level.sparsity is not None:
        return f"{onnx_runtime.NAME} has no kernel that gains by zeros among the weights"
    if str(level) == _FLOAT or (level.bits, level.act_bits) == (8, 8):
        return None
    if level.act_bits is None:
        return f"{onnx_runtime.NAME} computes {level.bits}-bit weights with float32 activations in float32, as {_FLOAT}"
    bits = level.bits or FLOAT_BITS
    return f"{onnx_runtime.NAME} has no kernel for {bits}-bit weights and {level.act_bits}-bit activations"


def _ours(trained: Trained, level: str) -> list[_Measured]:
    """Our file of ``level``, in each mode that makes a difference to it."""
    row = {"peer": "", "level": level}
    entry = registry.targets()["onnx"]
    if reason := without_kernel(Level.parse(level)):
        return [_Measured(row | {"status": "unavailable", "reason": reason})]
    if entry.missing:
        return [_Measured(row | {"status": "skipped", "reason": entry.why_missing})]
    try:
        found = _in_float(trained) if level == _FLOAT else _in_integers(trained, Level.parse(level))
    except (NotServedError, OverflowError) as error:
        return [_Measured(row | {"status": "unavailable", "reason": one_line(error)})]
    return [_Measured(row | each.row, each.run) for each in found]


def _in_float(trained: Trained) -> list[_Measured]:
    shipped = fold_batch_norm(trained.network, trained.data.input_shape)
    model = Onnx().export(shipped, methods.in_full_precision(shipped), trained.data.inputs["test"])[FILE]
    loaded = _loaded(model, onnx_runtime.DEFAULT, trained)
    row = {name: value for name, value in loaded.row.items() if name not in ("mode", "instructions")}
    return [_Measured(row | _apart(loaded, shipped, trained, _FLOAT_TOLERANCE), loaded.run)]


def _in_integers(trained: Trained, level: Level) -> list[_Measured]:
    """In each mode; the rows say how far the file is from exact integer arithmetic, and what quality that has."""
    shape, inputs, targets = trained.data.input_shape, trained.data.inputs["test"], trained.data.targets["test"]
    shipped = fold_batch_norm(trained.network, shape)
    stored = compressed(trained, shipped, level)
    target = Onnx()
    network, integers = stored.rebuild(shipped), target.reference(shipped, stored)
    assert isinstance(integers, IntegerNetwork)  # since its activations are quantized
    exact = {f"integer_{name}": value for name, value in _quality(predict(integers, inputs), targets).items()}
    model = target.export(shipped, stored, inputs)[FILE]
    found = []
    for mode in onnx_runtime.MODES:
        loaded = _loaded(model, mode, trained)
        codes, outputs = onnx_runtime.codes(model, mode, inputs[:_ROWS_COMPARED])
        theirs = dict(zip(stored.activations, codes, strict=True))
        ours = integers.codes(inputs[:_ROWS_COMPARED], theirs)
        apart = max(int((ours[point] - theirs[point]).abs().max()) for point in ours)
        beside = integers(inputs[:_ROWS_COMPARED], theirs) - outputs
        row = loaded.row | exact | _products(apart, float(beside.abs().max() / _range(outputs)))
        found.append(_Measured(row | _apart(loaded, network, trained, _INTEGER_TOLERANCE), loaded.run))
    return _judged(found)


def _peers_own(trained: Trained, name: str, folder: Path, level: str) -> list[_Measured]:
    """The file that a peer wrote into ``folder``; one of ONNX Runtime in each mode, others as their runtime has it."""
    entry = registry.peers()[name]
    row: dict[str, Any] = {"peer": name, "level": level}
    row |= {"runtime": entry.runtime, "runtime_version": entry.runtime and version(entry.runtime)}
    if not entry.runtime:
        reason = f"{name} computes in torch, it has no runtime"
        return [_Measured(row | {"status": "unavailable", "reason": reason})]
    if entry.missing:
        return [_Measured(row | {"status": "skipped", "reason": entry.why_missing})]
    if not folder.is_dir() or not any(folder.iterdir()):
        reason = f"{name} gave no file, its row in metrics.csv says why"
        return [_Measured(row | {"status": "failed", "reason": reason})]
    loaded = entry.load()(**entry.args).load(folder, trained.network)
    assert isinstance(loaded, Runtime)  # which an entry with a runtime gives
    if loaded.model is None:
        quality = _quality(predict(loaded, trained.data.inputs["test"]), trained.data.targets["test"])
        return [_Measured(row | quality | {"mode": onnx_runtime.DEFAULT, "status": "ok"}, loaded.run)]
    found = []
    for mode in onnx_runtime.MODES:
        each = _loaded(loaded.model, mode, trained)
        apart = onnx_runtime.code_difference(loaded.model, mode, trained.data.inputs["test"][:_ROWS_COMPARED])
        found.append(_Measured(row | each.row | _products(*apart), each.run))
    return _judged(found)


def _loaded(model: bytes, mode: str, trained: Trained) -> _Measured:
    """An ONNX file in ``mode``: what the runtime makes of it, its quality, and what runs it."""
    made = onnx_runtime.session(model, mode)
    integer, floating = onnx_runtime.layers(model, mode)
    row = {
        "mode": mode,
        "instructions": onnx_runtime.instruction_set(),
        "integer_layers": integer,
        "float_layers": floating,
    }
    quality = _quality(onnx_runtime.outputs(made, trained.data.inputs["test"]), trained.data.targets["test"])
    (given,) = made.get_inputs()
    return _Measured(row | quality | {"status": "ok"}, lambda rows: made.run(None, {given.name: rows})[0])


def _apart(loaded: _Measured, network: nn.Module, trained: Trained, tolerance: float) -> dict[str, Any]:
    """How far outputs are from those of ``network``, and that the file failed where it is more than ``tolerance``."""
    inputs = trained.data.inputs["test"]
    assert loaded.run is not None
    expected, found = predict(network, inputs), predict(Runtime(loaded.run), inputs)
    difference, allowed = float((expected - found).abs().max()), tolerance * _range(expected)
    row: dict[str, Any] = {"max_output_difference": difference}
    if not difference <= allowed:
        reason = f"its outputs differ by up to {difference:.3g} from those of the network, more than {allowed:.3g}"
        row |= {"status": "failed", "reason": reason}
    return row


def _products(codes: int, outputs: float) -> dict[str, Any]:
    """Whether what differs is no more than what rounding does, from ``onnx_runtime.code_difference`` or the like."""
    exact = codes <= 1 and outputs <= _SAME
    return {"max_code_difference": codes, "products": "exact" if exact else "inexact"}


def _judged(found: list[_Measured]) -> list[_Measured]:
    """The same file in each mode, ``exact`` the last. Inexact products fail; but in the default mode they are a finding
    where the file is exact in the other: the CPU saturates."""
    judged = []
    right = found[-1].row["products"] == "exact" and found[-1].row["status"] == "ok"
    for each in found:
        row = each.row
        if row["products"] != "exact":
            apart = f"it differs from exact arithmetic, its activations by up to {row['max_code_difference']} steps"
            row = row | {"status": "failed", "reason": apart}
            if right:
                row |= {"status": "ok", "reason": _SATURATES}
        judged.append(_Measured(row, each.run))
    return judged


def compressed(trained: Trained, shipped: nn.Module, level: Level) -> Compressed:
    """``shipped``, the network as it goes to the device, compressed by ``CHAIN`` and read from its packed file.

    Raises NotServedError where ``CHAIN`` does not apply to it.
    """
    generator = generator_for(trained.data.name, trained.network_name, trained.seed, *CHAIN, str(level), 0)
    chain, visible = [methods.create(step) for step in CHAIN], trained.data.only("train", "val")
    if reason := next(filter(None, (step.skip(shipped, visible, level) for step in chain)), None):
        raise NotServedError(reason)
    stored = methods.compress(chain, shipped, visible, level, generator)
    return Compressed.from_bytes(stored.to_bytes())


def _quality(found: Tensor, targets: Tensor) -> dict[str, float]:
    return {name: value for name, value in score(found, targets).items() if name in ("accuracy", "r2")}


def _range(values: Tensor) -> float:
    """The range of outputs; 1 where all are equal."""
    return float(values.max() - values.min()) or 1.0


def _repeated(inputs: Tensor, rows: int) -> Tensor:
    """``rows`` inputs, from the first one on again where there are fewer."""
    return inputs[torch.arange(rows) % len(inputs)]


def _times(runs: Mapping[int, _Run], inputs: Mapping[int, Tensor]) -> dict[tuple[int, int], dict[str, Any]]:
    """Median and quartiles of each file and batch. They take turns, so that what slows the machine for a while
    slows all of them."""
    given = {(file, batch): rows.numpy() for file in runs for batch, rows in inputs.items()}
    spent: dict[tuple[int, int], list[float]] = {place: [] for place in given}
    until = None
    for turn in range(_WARM_UP + _REPEATS):
        if until is not None and time.monotonic() > until and turn >= _WARM_UP + _LEAST_REPEATS:
            break
        until = until or time.monotonic() + _SECONDS
        for (file, batch), rows in given.items():
            begin = time.perf_counter_ns()
            runs[file](rows)
            if turn >= _WARM_UP:
                spent[file, batch].append((time.perf_counter_ns() - begin) / 1e6)
    found = {}
    for place, milliseconds in spent.items():
        q1, median, q3 = statistics.quantiles(milliseconds, n=4, method="inclusive")
        numbers = {"median_ms": median, "q1_ms": q1, "q3_ms": q3}
        found[place] = {**numbers, "repeats": len(milliseconds), "source": "measured"}
    return found
