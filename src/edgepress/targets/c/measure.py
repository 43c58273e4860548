"""Compressed networks on microcontrollers: flash, RAM, instructions and exactness of the C code, one row a build.

Needs the compiler and the emulator of ``device.INSTALL``; without them rows are ``skipped`` and say how to get them,
and the same C, compiled for this machine, still proves the code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from edgepress.evaluation import score
from edgepress.folding import fold_batch_norm, fold_stored
from edgepress.networks import inference_state
from edgepress.packing import Compressed, PackedFileError
from edgepress.sweep import Trained
from edgepress.targets import Files, NotServedError
from edgepress.targets.c import device, exported, host, made
from edgepress.targets.c.program import Program, kernel_shape, scratch_parts
from edgepress.targets.c.reference import Reference, outputs_of, raw_inputs

COLUMNS = {
    "dataset": "data set",
    "network": "network",
    "seed": "seed of the training",
    "method": "method of compression",
    "level": "its level",
    "arithmetic": "`integers` throughout, where activations are quantized; or `float32`, with weights in their codes",
    "board": "machine that QEMU emulates",
    "cpu": "its CPU",
    "kernel": "`dsp`, with the CPU's instructions for pairs of 16-bit numbers; or `portable`",
    "compiler": "the compiler and its version",
    "flags": "its flags",
    "packed_bytes": "bytes of the packed file",
    "flash": "bytes of flash that the network takes: the three that follow",
    "text": "bytes of code",
    "weights": "bytes of weights and masks, in their codes",
    "tables": "bytes of biases, multipliers, codebooks and sizes of layers",
    "ram": "bytes of RAM: arena, stack and outputs",
    "arena": "bytes of the arena, which the input and what is decoded are in",
    "decode_buffer": "bytes of it, at most, for decoded weights and what decoding needs",
    "stack": "bytes of stack that a run took",
    "macs": "multiply-accumulates of one inference, zeros of padding included",
    "instructions": "instructions of one inference, counted in QEMU; neither cycles nor a time",
    "instructions_per_mac": "the same for each multiply-accumulate",
    "decoding": "share of them that decoding weights takes, 0–1",
    "device_rows": "test inputs that ran on the device",
    "device_difference": "largest difference between a number that the device gives and one of the exact reference, "
    "on these inputs: accumulators, or float32 outputs; 0 is exact",
    "host_rows": "test inputs that ran in the same C, compiled for this machine",
    "host_difference": "largest difference between a number of these and one of the exact reference",
    "accuracy": "of the C code on these inputs, 0–1, where it classifies",
    "r2": "the same for regression",
    "status": "`ok`; `unavailable`, where C does not have it; `skipped`, where a package is missing; `failed`, "
    "where numbers differ",
    "reason": "why, where the status is not `ok`",
    "source": "`measured`, by counting in an emulator",
}
ROWS = 32  # inputs that run on the device
_BUILDS = {
    "integers": (("mps2-an386", "dsp"), ("mps2-an386", "portable"), ("mps2-an385", "portable")),
    "float32": (("mps2-an386", "portable"), ("mps2-an385", "portable")),
}
_ROWS_IN_SOFTWARE = 4  # of floats on a CPU without an FPU, which take ten times the instructions
_ULPS = 4  # of a float, that reference and device may be apart


def measure(trained: Trained, files: Mapping[tuple[str, str], Path]) -> list[dict[str, Any]]:
    """Rows of ``COLUMNS``, one a packed file and build; ``files`` are the packed files by method and level."""
    rows = []
    for (method, level), path in files.items():
        identity = {"dataset": trained.data.name, "network": trained.network_name, "seed": trained.seed}
        identity |= {"method": method, "level": level, "packed_bytes": path.stat().st_size}
        try:
            found = _of_file(trained, Compressed.load(path))
        except (NotServedError, PackedFileError) as error:
            found = [{"status": "unavailable", "reason": str(error)}]
        rows += [{**identity, **row} for row in found]
    return rows


def _of_file(trained: Trained, stored: Compressed) -> list[dict[str, Any]]:
    shape, inputs, targets = trained.data.input_shape, trained.data.inputs["test"], trained.data.targets["test"]
    shipped = fold_batch_norm(trained.network, shape)
    if set(stored.tensors) == set(inference_state(trained.network)) != set(inference_state(shipped)):
        stored = fold_stored(stored, trained.network, shape)
    given, program = made(shipped, stored, shape)
    files, expected = exported(given, program, inputs), Reference(given, program).raw(inputs)
    row = _planned(program) | _on_host(files, program, inputs, targets, expected)
    raw, found = raw_inputs(program, inputs), []
    for board, kernel in _BUILDS[row["arithmetic"]]:
        slow = not program.integers and not device.BOARDS[board].has_fpu
        some = slice(_ROWS_IN_SOFTWARE if slow else ROWS)
        found.append(row | _on_device(files, program, raw[some], expected[some], board, kernel, row))
    return found


def _planned(program: Program) -> dict[str, Any]:
    """What is known before anything is compiled."""
    macs = sum(step.writes.count * prod(kernel_shape(step)) for step in program.plan.convolutions)
    buffers = [sum(scratch_parts(layer, program.integers)) for layer in program.layers.values()]
    arithmetic = "integers" if program.integers else "float32"
    return {"arithmetic": arithmetic, "arena": program.arena.size, "decode_buffer": max(buffers), "macs": macs}


def _on_host(files: Files, program: Program, inputs: Tensor, targets: Tensor, expected: np.ndarray) -> dict[str, Any]:
    try:
        found = host.run(files, raw_inputs(program, inputs))
    except FileNotFoundError as error:
        return {"status": "skipped", "reason": str(error)}
    quality = {name: value for name, value in score(outputs_of(program, found).double(), targets).items()
               if name in ("accuracy", "r2")}  # fmt: skip
    row = {"host_rows": len(found), "host_difference": difference(found, expected), **quality}
    if not agree(found, expected):
        return row | {"status": "failed", "reason": f"the host's numbers differ by up to {row['host_difference']:g}"}
    return row | {"status": "ok"}


def _on_device(
    files: Files, program: Program, raw: np.ndarray, expected: np.ndarray, board: str, kernel: str,
    so_far: Mapping[str, Any],
) -> dict[str, Any]:  # fmt: skip
    machine = device.BOARDS[board]
    row: dict[str, Any] = {"board": board, "cpu": machine.cpu, "kernel": kernel, "source": "measured"}
    row["flags"] = " ".join(device.flags(machine, kernel))
    if missing := device.missing():
        return row | {"status": "skipped", "reason": f"{' and '.join(missing)} missing: {device.INSTALL}"}
    flash, run = device.flash(files, machine, kernel), device.run(files, raw, machine, kernel)
    macs, apart = so_far["macs"], difference(run.outputs, expected)
    row |= {"compiler": f"arm-none-eabi-gcc {device.compiler_version()}", "flash": flash.whole, "text": flash.text}
    row |= {"weights": flash.weights, "tables": flash.tables, "stack": run.stack}
    row |= {"ram": program.arena.size + run.stack + program.plan.end.size, "instructions": run.instructions}
    row |= {"instructions_per_mac": run.instructions / macs, "decoding": run.decoding}
    row |= {"device_rows": len(raw), "device_difference": apart}
    if not agree(run.outputs, expected):
        row |= {"status": "failed", "reason": f"the device's numbers differ by up to {apart:g}"}
    return row


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference between two numbers."""
    return float(np.abs(found.astype(np.float64) - expected.astype(np.float64)).max(initial=0))


def agree(found: np.ndarray, expected: np.ndarray) -> bool:
    """Whether integers are equal, and floats within a few units in the last place."""
    if expected.dtype.kind != "f":
        return bool((found == expected).all())
    return bool((np.abs(found - expected) <= _ULPS * np.spacing(np.abs(expected))).all())


def files_of(folder: Path, levels: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Path]:
    """The packed files, by method and level, in the folder of a trained network."""
    return {(method, level): folder / method / f"{level}.safetensors" for method, level in levels}
