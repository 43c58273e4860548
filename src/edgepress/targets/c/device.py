"""The C code on a microcontroller: built by Debian's arm-none-eabi-gcc, run in QEMU, its instructions counted.

QEMU counts what the guest executes (``-icount shift=6``: 64 ns an instruction) and its timer of 25 MHz tells: 1.6 ticks
an instruction, the same at every run. Every instruction counts one; memory and pipeline cost nothing: so these are
instructions, never cycles.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from edgepress.targets import Files
from edgepress.targets.c.host import CompileError, facts
from edgepress.targets.c.source import array

INSTALL = "apt-get install gcc-arm-none-eabi qemu-system-arm"
_COMMON = (
    *(
        "-std=c99",
        "-mthumb",
        "-O2",
        "-ffp-contract=off",
        "-fno-strict-aliasing",
        "-ffreestanding",
        "-fbuiltin",
        "-ffunction-sections",
    ),
    *("-fdata-sections", "-fno-tree-loop-distribute-patterns", "-Wall", "-Wextra", "-Wconversion", "-Werror"),
)
_TICKS = 1.6  # of the timer, an instruction
_SECONDS = 600


@dataclass(frozen=True)
class Board:
    """A machine of QEMU. ``flags`` choose its CPU."""

    name: str
    cpu: str
    flags: tuple[str, ...]
    script: str

    @property
    def has_fpu(self) -> bool:
        """Whether its CPU computes with floats."""
        return "-mfloat-abi=hard" in self.flags


BOARDS = {
    board.name: board
    for board in (
        Board(
            "mps2-an386",
            "Cortex-M4F",
            ("-mcpu=cortex-m4", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard"),
            "mps2.ld",
        ),
        Board("mps2-an385", "Cortex-M3", ("-mcpu=cortex-m3",), "mps2.ld"),
    )
}
KERNELS = {"dsp": (), "portable": ("-DEP_PORTABLE",)}


@dataclass(frozen=True)
class Flash:
    """Bytes of code, of weights in their codes, and of tables: biases, multipliers, codebooks, sizes of layers."""

    text: int
    weights: int
    tables: int

    @property
    def whole(self) -> int:
        """All of it."""
        return self.text + self.weights + self.tables


@dataclass(frozen=True)
class Run:
    """What a device computed: ``outputs``, raw, a row an input; instructions of one inference, the share of them that
    decoding weights takes, and the bytes of stack.
    """

    outputs: np.ndarray
    instructions: int
    decoding: float
    stack: int


def missing() -> list[str]:
    """The programs that are not installed."""
    return [name for name in ("arm-none-eabi-gcc", "qemu-system-arm") if shutil.which(name) is None]


def compiler_version() -> str:
    """What the compiler calls itself."""
    return _call(["arm-none-eabi-gcc", "-dumpfullversion"], ".").strip()


def flags(board: Board, kernel: str) -> tuple[str, ...]:
    """All flags of the compiler."""
    return (*board.flags, *_COMMON, *KERNELS[kernel])


def flash(files: Files, board: Board, kernel: str) -> Flash:
    """What the network takes of a device's flash, the board's own start left out."""
    with tempfile.TemporaryDirectory() as folder:
        _build(files, board, kernel, folder, "alone.c")
        sizes = _call(["arm-none-eabi-nm", "--print-size", "--defined-only", "network.elf"], folder)
    text = weights = tables = 0
    for line in sizes.splitlines():
        address, *rest = line.split()
        if len(rest) < 3 or int(address, 16) >= 0x20000000:  # no size, or in RAM
            continue
        size, name = int(rest[0], 16), rest[2]
        if re.search(r"_(codes|mask|raw)$", name):
            weights += size
        elif rest[1] in "rRdD":
            tables += size
        elif not re.match(r"board_|vectors$|semihosting$|stack_pointer$", name):
            text += size
    return Flash(text, weights, tables)


def run(files: Files, raw: np.ndarray, board: Board, kernel: str) -> Run:
    """Run it on raw inputs, shape (rows, numbers). Raises CompileError where it does not build or run."""
    outputs, plain, stack = _run(files, raw, board, kernel, ())
    _, timed, _ = _run(files, raw[:1], board, kernel, ("-DEP_CLOCK",))
    return Run(outputs, round(plain[0] / _TICKS), timed[1] / timed[0], stack)


def _run(
    files: Files, raw: np.ndarray, board: Board, kernel: str, options: Sequence[str]
) -> tuple[np.ndarray, list[int], int]:
    """Outputs; ticks of the first run, and those of its decoding; bytes of stack."""
    with tempfile.TemporaryDirectory() as folder:
        vectors = array("static const network_input_type", "inputs", raw, "")
        (Path(folder) / "vectors.h").write_text(f"#define ROWS {len(raw)}u\n{vectors}\n")
        _build(files, board, kernel, folder, "run.c", options)
        said = _call(
            ["qemu-system-arm", "-M", board.name, "-nographic", "-monitor", "none", "-serial", "none",
             "-semihosting-config", "enable=on,target=native", "-icount", "shift=6", "-kernel", "network.elf"], folder,
        )  # fmt: skip
    found: dict[str, list[int]] = {"output": [], "ticks": [], "stack": [], "decoding": []}
    for line in said.splitlines():
        name, number = line.split()
        found[name].append(int(number))
    count = int(facts(files)["OUTPUTS"])
    kind = np.int32 if b"typedef int32_t network_output_type" in files["network.h"] else np.float32
    outputs = np.array(found["output"], np.uint32).view(kind).reshape(-1, count)
    if len(outputs) != len(raw):
        raise CompileError(f"{board.name} gave {len(outputs)} rows of outputs for {len(raw)} inputs")
    return outputs, [found["ticks"][0], *found["decoding"][:1]], max(found["stack"])


def _build(files: Files, board: Board, kernel: str, folder: str, main: str, options: Sequence[str] = ()) -> None:
    for name, data in files.items():
        (Path(folder) / name).write_bytes(data)
    for name in ("board.c", "board.h", main, board.script):
        (Path(folder) / name).write_text((resources.files(__package__) / "boards" / name).read_text(encoding="utf-8"))
    names = sorted(name for name in [*files, "board.c", main] if name.endswith(".c") and name != "selftest.c")
    link = ("-nostdlib", "-T", board.script, "-Wl,--gc-sections", "-o", "network.elf", *names, "-lgcc")
    _call(["arm-none-eabi-gcc", *flags(board, kernel), *options, *link], folder)


def _call(command: Sequence[str], folder: str) -> str:
    """What a program says on both of its outputs: QEMU's semihosting uses the second."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_SECONDS)
    except FileNotFoundError:
        raise FileNotFoundError(f"{command[0]} is not installed: {INSTALL}") from None
    if done.returncode:
        raise CompileError(f"{command[0]} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout + done.stderr
