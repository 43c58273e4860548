"""How long an inference takes on a real edge runtime: ONNX Runtime, on one thread of this machine's CPU.

Only what a kernel of the runtime computes is timed: float32, and 8-bit weights with 8-bit activations. Every file is
checked before it is timed: its outputs are compared with those of the network that it stands for. Needs the packages of
the extra ``deploy``; without them, rows say how to install these.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgepress import methods, registry
from edgepress.costs import export
from edgepress.evaluation import predict, score
from edgepress.folding import fold_batch_norm
from edgepress.integer import IntegerNetwork, NoIntegerFormError
from edgepress.levels import FLOAT_BITS, Level
from edgepress.packing import Compressed
from edgepress.peers import why_missing
from edgepress.provenance import cpu_model, version
from edgepress.sweep import Trained, generator_for

COLUMNS = {
    "dataset": "data set",
    "network": "network",
    "seed": "seed of the training",
    "peer": "the other library whose file it is; empty for ours",
    "level": "`w32` is float32; `w8a8` 8-bit weights, a step a channel, and 8-bit activations",
    "batch": "examples of one inference",
    "runtime": "what computes it",
    "runtime_version": "its version",
    "threads": "threads that it may use",
    "cpu": "model of the CPU",
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
    "exact integer arithmetic on what the file has before it",
    "status": "`ok`; `unavailable`, where no kernel computes the level; `skipped`, where a package is missing; "
    "`failed`, where the file computes something else",
    "reason": "why, where the status is not `ok`",
    "source": "`measured`, on the machine that made the run",
}
RUNTIME = "onnxruntime"
PACKAGES = ("onnx", "onnxscript", RUNTIME)
INSTALL = "pip install --requirement envs/requirements-deploy.lock"
CHAIN = ("nearest_symmetric_channel", "activations_mse")  # what a level with activations is compressed by
BATCHES = (1, 128)
NO_PEERS: Mapping[str, Path] = MappingProxyType({})
_THREADS = 1
_WARM_UP = 5
_REPEATS = 100
_SECONDS = 30  # after which a network is timed no longer, once it was a few times
_LEAST_REPEATS = 10
_ROWS_COMPARED = 256  # of which the codes at every activation are kept
_TOLERANCES = {"w32": 1e-3, "w8a8": 0.05}  # of an output, as a share of the range of outputs
_File = tuple[str, str]  # the peer that wrote it, '' for ours, and its level
_Run = Callable[[np.ndarray], np.ndarray]  # inputs to outputs


def measure(
    trained: Trained, levels: Sequence[str], batches: Sequence[int] = BATCHES, peers: Mapping[str, Path] = NO_PEERS
) -> list[dict[str, Any]]:
    """Rows of ``COLUMNS``, one a level and batch: times of the network ``trained``, its BatchNorms folded.

    To these come the files that ``peers`` made of it, each at all its levels: name of a peer → folder of its files.
    """
    identity = {"dataset": trained.data.name, "network": trained.network_name, "seed": trained.seed}
    identity |= {"runtime": RUNTIME, "runtime_version": version(RUNTIME), "threads": _THREADS, "cpu": cpu_model()}
    found: dict[_File, dict[str, Any]] = {}
    runs: dict[_File, _Run | None] = {}
    for level in levels:
        found["", level], runs["", level] = _ours(trained, level)
    for peer, folder in peers.items():
        for level in registry.peers()[peer].levels:
            found[peer, level], runs[peer, level] = _peers_own(trained, peer, folder / level)
    inputs = {batch: _repeated(trained.data.inputs["test"], batch) for batch in batches}
    times = _times({file: run for file, run in runs.items() if run and found[file]["status"] == "ok"}, inputs)
    return [
        {**identity, "peer": peer, "level": level, "batch": batch, **row, **times.get(((peer, level), batch), {})}
        for (peer, level), row in found.items()
        for batch in batches
    ]


def without_kernel(level: Level) -> str | None:
    """Why the runtime computes nothing at ``level`` that another level does not, or None where it does."""
    if level.sparsity is not None:
        return f"{RUNTIME} has no kernel that gains by zeros among the weights"
    if str(level) == f"w{FLOAT_BITS}" or (level.bits, level.act_bits) == (8, 8):
        return None
    if level.act_bits is None:
        return f"{RUNTIME} computes {level.bits}-bit weights with float32 activations in float32, as w{FLOAT_BITS}"
    return f"{RUNTIME} has no kernel for {level.bits or FLOAT_BITS}-bit weights and {level.act_bits}-bit activations"


def session(model: bytes, optimized: str | None = None) -> Any:
    """The ONNX file ``model``, ready to run; its graph as the runtime optimized it goes to the path ``optimized``."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = _THREADS
    options.log_severity_level = 3  # errors
    if optimized:
        options.optimized_model_filepath = optimized
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def codes(model: bytes, points: Sequence[str], inputs: Tensor) -> dict[str, Tensor]:
    """The codes at every quantized activation that the runtime computes for ``inputs``, by their names ``points``,
    which are in the order in which they are computed; int64.
    """
    import onnx

    proto = onnx.load_from_string(model)
    places = [node.output[0] for node in proto.graph.node if node.op_type == "QuantizeLinear"]
    if len(places) != len(points):
        raise ValueError(f"{len(places)} activations are quantized in the file, not {len(points)}")
    outputs = [onnx.helper.make_tensor_value_info(place, onnx.TensorProto.UINT8, None) for place in places]
    proto.graph.output.extend(outputs)
    found = session(proto.SerializeToString()).run(places, {export.INPUT: inputs.numpy()})
    return {point: torch.from_numpy(values).to(torch.int64) for point, values in zip(points, found, strict=True)}


def outputs(session: Any, inputs: Tensor, batch: int = 256) -> Tensor:
    """What a session computes for ``inputs``: float64, shape (rows, outputs)."""
    parts = [session.run([export.OUTPUT], {export.INPUT: rows.numpy()})[0] for rows in inputs.split(batch)]
    return torch.from_numpy(np.concatenate(parts)).to(torch.float64)


def _ours(trained: Trained, level: str) -> tuple[dict[str, Any], _Run | None]:
    """What is to be said of our file of ``level`` beside its time, and what runs it."""
    missing = [package for package in PACKAGES if find_spec(package) is None]
    if reason := without_kernel(Level.parse(level)):
        return {"status": "unavailable", "reason": reason}, None
    if missing:
        return {"status": "skipped", "reason": f"{', '.join(missing)} missing: {INSTALL}"}, None
    try:
        row, made = _deployed(trained, level)
    except NoIntegerFormError as error:
        return {"status": "unavailable", "reason": str(error)}, None
    return row, lambda rows: made.run([export.OUTPUT], {export.INPUT: rows})[0]


def _peers_own(trained: Trained, name: str, folder: Path) -> tuple[dict[str, Any], _Run | None]:
    """What is to be said of the file that a peer wrote into ``folder``, beside its time, and what runs it."""
    entry = registry.peers()[name]
    row = {"runtime": entry.runtime, "runtime_version": entry.runtime and version(entry.runtime)}
    if not entry.runtime:
        return row | {"status": "unavailable", "reason": f"{name} computes in torch, it has no runtime"}, None
    if entry.missing:
        return row | {"status": "skipped", "reason": why_missing(entry)}, None
    if not folder.is_dir() or not any(folder.iterdir()):
        return row | {"status": "failed", "reason": f"{name} gave no file, its row in metrics.csv says why"}, None
    network = entry.load()(**entry.args).load(folder, trained.network)
    quality = _quality(predict(network, trained.data.inputs["test"]), trained.data.targets["test"])
    return row | {**quality, "status": "ok"}, network.run


def _deployed(trained: Trained, level: str) -> tuple[dict[str, Any], Any]:
    """What the file of ``level`` computes, and how far from the network it stands for; and its session."""
    shape = trained.data.input_shape
    shipped = fold_batch_norm(trained.network, shape)
    inputs, targets = trained.data.inputs["test"], trained.data.targets["test"]
    if level == f"w{FLOAT_BITS}":
        network, model, exact = shipped, export.to_onnx(shipped, shape), {}
    else:
        stored = compressed(trained, shipped, Level.parse(level))
        network, integers = stored.rebuild(shipped), IntegerNetwork(shipped, stored)
        model = export.to_onnx(export.in_integers(shipped, stored), shape)
        theirs = codes(model, list(stored.activations), inputs[:_ROWS_COMPARED])
        ours = integers.codes(inputs[:_ROWS_COMPARED], theirs)
        apart = max(int((ours[point] - theirs[point]).abs().max()) for point in ours)
        exact = {f"integer_{name}": value for name, value in _quality(predict(integers, inputs), targets).items()}
        exact |= {"max_code_difference": apart}
    made = session(model)
    expected, found = predict(network, inputs), outputs(made, inputs)
    difference = float((expected - found).abs().max())
    row = {"max_output_difference": difference, **_quality(found, targets), **exact, "status": "ok"}
    allowed = _TOLERANCES[level] * float(expected.max() - expected.min())
    if not difference <= allowed:
        reason = f"its outputs differ by up to {difference:.3g} from those of the network, more than {allowed:.3g}"
        row |= {"status": "failed", "reason": reason}
    return row, made


def compressed(trained: Trained, shipped: nn.Module, level: Level) -> Compressed:
    """``shipped``, the network as it goes to the device, compressed by ``CHAIN`` and read from its packed file."""
    generator = generator_for(trained.data.name, trained.network_name, trained.seed, *CHAIN, str(level), 0)
    chain = [methods.create(step) for step in CHAIN]
    stored = methods.compress(chain, shipped, trained.data.only("train", "val"), level, generator)
    return Compressed.from_bytes(stored.to_bytes())


def _quality(found: Tensor, targets: Tensor) -> dict[str, float]:
    return {name: value for name, value in score(found, targets).items() if name in ("accuracy", "r2")}


def _repeated(inputs: Tensor, rows: int) -> Tensor:
    """``rows`` inputs, from the first one on again where there are fewer."""
    return inputs[torch.arange(rows) % len(inputs)]


def _times(runs: Mapping[_File, _Run], inputs: Mapping[int, Tensor]) -> dict[tuple[_File, int], dict[str, Any]]:
    """Median and quartiles of each file and batch. They take turns, so that what slows the machine for a while
    slows all of them."""
    given = {(file, batch): rows.numpy() for file in runs for batch, rows in inputs.items()}
    spent: dict[tuple[_File, int], list[float]] = {place: [] for place in given}
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
