"""Targets: runtimes and devices that run compressed networks. One file, or one package, per target.

A target declares ``TARGETS`` (see ``edgepress.registry``) and a class derived from ``Target``. It turns a network and
what a packed file holds of it into the files that a device loads, and runs these files on this machine. Every target
has an exact reference, so that a result can be checked and not only timed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from edgepress import registry
from edgepress.packing import Compressed
from edgepress.tensor_files import FileSize

Files = Mapping[str, bytes]  # by name; a name may hold folders, separated by "/"


class NotServedError(ValueError):
    """A network that a target cannot run; the message is one line and names the part that is not served."""


class Target(ABC):
    """A runtime or a device.

    In all methods ``network`` is the shipped architecture with BatchNorms folded, on the CPU, and ``stored`` what a
    packed file of it holds. Full precision is ``methods.in_full_precision(network)``. Neither is changed.
    """

    @abstractmethod
    def computes(self, network: nn.Module, stored: Compressed) -> str | None:
        """None if the target runs it, otherwise the reason in one line: which operation or encoding is not served."""

    @abstractmethod
    def export(self, network: nn.Module, stored: Compressed, inputs: Tensor) -> Files:
        """The files that the device loads, the same bytes every time.

        ``inputs`` are examples, float32, shape (rows, …). All targets take the shape of an input from them; one that
        writes a self-test takes its vectors from them. Raises NotServedError with the reason of ``computes``.
        """

    @abstractmethod
    def load(self, files: Files) -> nn.Module:
        """Run exported files on this machine: maps float32 inputs (rows, …) to outputs (rows, outputs), both on the
        CPU.

        Raises ModuleNotFoundError or FileNotFoundError where what runs them is not installed.
        """

    @abstractmethod
    def reference(self, network: nn.Module, stored: Compressed) -> nn.Module:
        """Exact arithmetic in torch that the target's outputs are compared with; called like what ``load`` returns.

        Raises NotServedError with the reason of ``computes``.
        """

    @abstractmethod
    def size(self, files: Files) -> FileSize:
        """The bytes of all that goes onto the device, and how many of these hold weights, biases, scales and tables."""


class Runtime(nn.Module):
    """A network that a runtime computes, not torch; ``run`` maps inputs to outputs, float32, one row per example.

    ``model`` is the ONNX file that it runs, where it is one: its latency is taken in each mode of ONNX Runtime.
    """

    def __init__(self, run: Callable[[np.ndarray], np.ndarray], model: bytes | None = None) -> None:
        super().__init__()
        self.run = run
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        """Shape (rows, …) to (rows, outputs)."""
        return torch.from_numpy(self.run(inputs.numpy()))


def create(name: str) -> Target:
    """The target called ``name``. Raises ModuleNotFoundError, with what to install, where its packages are missing."""
    entry = registry.targets()[name]
    if entry.missing:
        raise ModuleNotFoundError(entry.why_missing)
    target: Target = entry.load()(**entry.args)
    return target
