"""Codes of variable length after quantization: what Deep Compression ends with."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from edgepress.datasets import Prepared
from edgepress.encodings.huffman import coded
from edgepress.levels import Level
from edgepress.methods import Method
from edgepress.packing import Compressed

METHODS = {
    "huffman": {
        "object": "EntropyCoding",
        "about": "codes that occur often in fewer bits, values as they were; the last step of a chain",
        "family": "huffman",
        "sweep": "",
        "options": {"codes": "huffman"},
    },
}


@dataclass(frozen=True)
class EntropyCoding(Method):
    """Store the codes of earlier steps by Huffman's code, where that makes the file smaller (Han et al. 2016, arXiv
    1510.00149).
    """

    def apply(
        self, stored: Compressed, network: nn.Module, data: Prepared, level: Level, generator: torch.Generator
    ) -> Compressed:
        return stored.smallest_with({name: coded(encoding) for name, encoding in stored.tensors.items()})
