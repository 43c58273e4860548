"""Methods of compression: one file a family.

A method module declares ``METHODS`` (see ``edgepress.registry``) and a frozen dataclass whose fields are the method's
settings. The quantizers themselves work on plain tensors and need nothing else of edgepress::

    from edgepress.codebooks import uniform
    from edgepress.methods.rounding import nearest

    codebook = uniform(weights, bits=4)
    codes = nearest(codebook, weights)
    approximation = codebook.decode(codes)
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import nn

from edgepress import registry
from edgepress.datasets import Prepared
from edgepress.levels import Level
from edgepress.packing import Compressed


class Method(ABC):
    """A named way to compress a trained network."""

    def skip(self, network: nn.Module, data: Prepared, level: Level) -> str | None:
        """Say in a few words why the level does not apply to this network, or None where it does."""
        return None

    @abstractmethod
    def compress(self, network: nn.Module, data: Prepared, level: Level, generator: torch.Generator) -> Compressed:
        """Compress ``network``, on the CPU, to ``level``; the network itself is left as it is.

        ``data`` holds the train and val splits alone: a method never sees test data. Every random number comes
        from ``generator``.
        """


def create(name: str) -> Method:
    """The method called ``name``, ready to use."""
    entry = registry.methods()[name]
    return entry.load()(**entry.args)
