"""What Arm's compiler Vela makes of a TensorFlow Lite file for an Ethos-U NPU: bytes, memory, and cycles by its model.

Vela compresses weights without loss, and what that gives depends on how many values a layer has, how often each occurs
and how many are 0, not on their width. Cycles are its estimate, not a measurement. It runs in a process of its own: one
that dies or hangs takes its own row with it, and no other.
"""

from __future__ import annotations

import csv
import importlib.util
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgepress.logs import one_line

PACKAGE, INSTALL = "ethosu", "pip install --no-deps --requirement envs/requirements-npu.lock"
COLUMNS = {
    "npu": "the NPU and its number of multipliers",
    "system_config": "clock and memories, by their name in Vela's `Arm/vela.ini`",
    "memory_mode": "which memory holds weights and activations, by its name there",
    "optimise": "what Vela schedules for, `Performance` or `Size`",
    "stream_bytes": "bytes of the weights as the NPU reads them; scales and biases, 10 bytes a channel, come to these",
    "stream_bits_per_weight": "the same in bits per weight",
    "cycles": "cycles of one inference, by Vela's model of the NPU",
    "sram_bytes": "bytes of SRAM that it plans",
    "npu_operators": "operators that the NPU computes",
    "cpu_operators": "those that are left to the CPU",
    "status": "`ok`; `skipped`, where Vela is not installed; `failed`, where it ended otherwise",
    "reason": "why, where the status is not `ok`",
    "source": "`modelled`, by Vela",
}
_SECONDS = 120  # after which Vela is stopped; it takes one or two
_OPERATORS = re.compile(r"^(CPU|NPU) operators = (\d+)", re.MULTILINE)


@dataclass(frozen=True)
class Npu:
    """An NPU as Vela is told of it. Nothing is left to its defaults: with a memory that is fast enough, weights arrive
    while it still multiplies, and compressing them gains no cycles.
    """

    accelerator: str
    system_config: str
    memory_mode: str
    optimise: str = "Performance"


NPUS = {
    "u55-128": Npu("ethos-u55-128", "Ethos_U55_High_End_Embedded", "Shared_Sram"),
    "u65-512": Npu("ethos-u65-512", "Ethos_U65_Embedded", "Shared_Sram"),
    "u85-256": Npu("ethos-u85-256", "Ethos_U85_SYS_Flash_High", "Shared_Sram"),
}


def modelled(model: bytes, name: str, seconds: float = _SECONDS) -> dict[str, Any]:
    """A row of ``COLUMNS``: what Vela makes of the TensorFlow Lite file ``model`` for ``NPUS[name]``."""
    npu = NPUS[name]
    row: dict[str, Any] = {"npu": name, "source": "modelled"}
    row |= {"system_config": npu.system_config, "memory_mode": npu.memory_mode, "optimise": npu.optimise}
    if importlib.util.find_spec(PACKAGE) is None:
        return row | {"status": "skipped", "reason": f"{PACKAGE} missing: {INSTALL}"}
    with tempfile.TemporaryDirectory() as folder:
        try:
            summary, printed = _compiled(model, npu, Path(folder), seconds)
        except _FailedError as error:
            return row | {"status": "failed", "reason": str(error)}
    return row | _measured(summary, printed) | {"status": "ok"}


class _FailedError(RuntimeError):
    """Vela has written no summary; the message is one line that says how it ended."""


def _compiled(model: bytes, npu: Npu, folder: Path, seconds: float) -> tuple[Mapping[str, str], str]:
    """The summary that Vela writes of a file, and what it prints. Raises _FailedError where there is none."""
    (folder / "network.tflite").write_bytes(model)
    command = [sys.executable, "-m", "ethosu.vela", "network.tflite", "--output-dir", "out", "--config", "Arm/vela.ini"]
    command += ["--accelerator-config", npu.accelerator, "--system-config", npu.system_config]
    command += ["--memory-mode", npu.memory_mode, "--optimise", npu.optimise]
    try:
        ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        raise _FailedError(f"Vela was stopped after {seconds:g} s") from None
    summaries = list((folder / "out").glob("*_summary_*.csv"))
    if ended.returncode or len(summaries) != 1:
        said = (ended.stderr.strip() or ended.stdout.strip()).splitlines()
        last = f", {one_line(RuntimeError(said[-1]))}" if said else ""
        raise _FailedError(f"Vela ended with exit code {ended.returncode} and {len(summaries)} summaries{last}")
    with summaries[0].open(encoding="utf-8", newline="") as file:
        return next(csv.DictReader(file)), ended.stdout


def _measured(summary: Mapping[str, str], printed: str) -> dict[str, Any]:
    stream, weights = int(summary["total_npu_encoded_weights"]), int(summary["total_original_weights"])
    counts = {kind.lower(): int(count) for kind, count in _OPERATORS.findall(printed)}
    return {
        "stream_bytes": stream,
        "stream_bits_per_weight": round(8 * stream / weights, 4) if weights else None,
        "cycles": int(summary["cycles_total"]),
        "sram_bytes": round(1024 * float(summary["sram_memory_used"])),
        "npu_operators": counts.get("npu"),
        "cpu_operators": counts.get("cpu"),
    }
