"""The C code compiled for this machine: what runs there is what runs on the device."""

from __future__ import annotations

import atexit
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from edgepress.activations import ActivationGrid
from edgepress.targets import Files, Runtime
from edgepress.targets.c.source import kernel_file

FLAGS = ("-std=c99", "-ffp-contract=off", "-fno-strict-aliasing", "-Wall", "-Wextra", "-Wconversion", "-Werror")
SANITIZERS = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
INSTALL = "apt-get install gcc"


class CompileError(RuntimeError):
    """What the compiler or the program said."""


def compiler() -> str:
    """The C compiler of this machine. Raises FileNotFoundError, with what to install, where there is none."""
    found = shutil.which("gcc") or shutil.which("cc")
    if found is None:
        raise FileNotFoundError(f"there is no C compiler: {INSTALL}")
    return found


def facts(files: Files) -> dict[str, str]:
    """The macros of ``network.h`` by name, less their prefix."""
    return dict(re.findall(r"#define NETWORK_(\w+) (\S+)", files["network.h"].decode()))


def run(files: Files, raw: np.ndarray, options: Sequence[str] = ("-O2",)) -> np.ndarray:
    """The device's outputs of raw inputs, shape (rows, numbers): int32 or float32, shape (rows, outputs)."""
    own = ("network.h", "network.c", "host.c")
    with tempfile.TemporaryDirectory() as folder:
        kernels = _kernels(tuple(options))
        for name in own[:2]:
            (Path(folder) / name).write_bytes(files[name])
        (Path(folder) / "host.c").write_text(kernel_file("host.c"))
        _call(
            [compiler(), *FLAGS, *options, f"-I{kernels}", *own[1:], *sorted(kernels.glob("*.o")), "-o", "host"], folder
        )
        output = _call([str(Path(folder) / "host")], folder, raw.tobytes())
    kind = np.int32 if b"typedef int32_t network_output_type" in files["network.h"] else np.float32
    return np.frombuffer(output, kind).reshape(len(raw), -1)


@cache
def _kernels(options: tuple[str, ...]) -> Path:
    """A folder of all kernels, compiled once for this process, which removes it when it ends."""
    folder = Path(tempfile.mkdtemp(prefix="edgepress_kernels_"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    names = [file.name for file in (resources.files(__package__) / "kernels").iterdir() if file.name.startswith("ep_")]
    for name in names:
        (folder / name).write_text(kernel_file(name))
    sources = sorted(name for name in names if name.endswith(".c"))
    _call([compiler(), *FLAGS, *options, "-c", *sources], str(folder))
    return folder


def _call(command: Sequence[str | Path], folder: str, given: bytes = b"") -> bytes:
    done = subprocess.run(command, cwd=folder, input=given, capture_output=True)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise CompileError(f"{Path(command[0]).name} ended with {done.returncode}: {said}")
    return done.stdout


class Host(Runtime):
    """Exported files, run on this machine: float32 inputs (rows, …) to float32 outputs (rows, outputs)."""

    def __init__(self, files: Files) -> None:
        compiler()
        super().__init__(self._run)
        self.files, self.facts = files, facts(files)

    def _run(self, inputs: np.ndarray) -> np.ndarray:
        known = {name: int(self.facts[f"INPUT_{name}"]) for name in ("CHANNELS", "HEIGHT", "WIDTH")}
        images = torch.from_numpy(inputs).reshape(-1, *known.values()).permute(0, 2, 3, 1).reshape(len(inputs), -1)
        raw = run(self.files, _raw(images, self.facts))
        scales = re.search(r"network_output_scale\[\d+\] = {([^}]*)}", self.files["network.c"].decode())
        if scales is None:
            return raw
        numbers = [each.strip().removesuffix("f") for each in scales.group(1).split(",") if each.strip()]
        return raw * np.array(numbers, np.float32)


def _raw(images: Tensor, known: dict[str, str]) -> np.ndarray:
    if "INPUT_SCALE" not in known:
        return np.ascontiguousarray(images.to(torch.float32).numpy())
    step, zero = float(known["INPUT_SCALE"].removesuffix("f")), int(known["INPUT_ZERO_POINT"])
    grid = ActivationGrid(int(known["INPUT_HIGHEST"]).bit_length(), step, zero)
    codes = ((images / grid.step).round() + grid.zero_point).clamp(0, grid.highest)
    return np.ascontiguousarray(codes.to(torch.uint8).numpy())
