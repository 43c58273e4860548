"""Small examples of user code: a module with a network, and a plugin."""

from pathlib import Path

NETS = """
from torch import nn

from layers import hidden


class Tiny(nn.Module):
    def __init__(self, width, outputs=2):
        super().__init__()
        self.hidden, self.head = hidden(3, width), nn.Linear(width, outputs)

    def forward(self, x):
        return self.head(self.hidden(x).relu())


def fixed():
    return Tiny(4, outputs=1)
"""
LAYERS = """
from torch import nn


def hidden(inputs, outputs):
    return nn.Linear(inputs, outputs)
"""
METHOD = '''
from dataclasses import dataclass

from edgepress.encodings import Quantized
from edgepress.codebooks import Table
from edgepress.methods import Method
from edgepress.networks import compressible

METHODS = {"signs": {"object": "Signs", "about": "sign times mean magnitude", "family": "signs", "sweep": "bits"}}


@dataclass(frozen=True)
class Signs(Method):
    """Two values per layer."""

    def skip(self, network, data, level):
        return None if level.bits == 1 else "signs are 1 bit"

    def apply(self, stored, network, data, level, generator):
        def encode(weights):
            size = weights.abs().mean()
            codebook = Table(1, size * weights.new_tensor([-1.0, 1.0]))
            return Quantized(codebook.encode(weights), codebook)

        return stored.with_tensors({name: stored.tensors[name].recoded(encode) for name in compressible(network)})
'''


def write(folder: Path) -> None:
    """Write nets.py, layers.py, my_method.py and a table, people.csv."""
    (folder / "nets.py").write_text(NETS, encoding="utf-8")
    (folder / "layers.py").write_text(LAYERS, encoding="utf-8")
    (folder / "my_method.py").write_text(METHOD, encoding="utf-8")
    rows = [f"{row % 7},{(row * 5) % 11},{(row * row) % 13},{'yes' if row % 3 else 'no'}" for row in range(60)]
    (folder / "people.csv").write_text("\n".join(["a,b,c,stays", *rows]) + "\n", encoding="utf-8")
