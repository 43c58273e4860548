"""Structured pruning of Torch-Pruning (Fang et al. 2023, "DepGraph", arXiv 2301.12900)."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from edgepress import networks, tensor_files
from edgepress.levels import Level, asked
from edgepress.networks import compressible
from edgepress.peers import Peer
from edgepress.widths import with_state

PEERS = {
    "torch_pruning": {
        "object": "TorchPruning",
        "about": "structured pruning of Torch-Pruning: groups of channels of least L2 norm go, nothing is trained",
        "levels": ["s25", "s50", "s75"],
        "packages": ["torch_pruning"],
    },
}
_FILE = "model.safetensors"
_STEPS = 200  # in which all channels would go


class TorchPruning(Peer):
    """``torch_pruning.pruner.BasePruner`` with its group L2 norm: the same share of channels goes everywhere.

    A level is a share of the hidden weights, as in our pruning: the pruner goes on in small steps until they are gone.
    The library saves whole modules, as pickles; here their tensors are saved, which our layers take.
    """

    def compress(self, network: nn.Module, inputs: Tensor, level: Level, folder: Path) -> None:
        import torch_pruning

        *hidden, output = compressible(network)

        def left() -> int:
            return sum(network.get_parameter(name).numel() for name in hidden)

        pruner = torch_pruning.pruner.BasePruner(
            network,
            inputs[:1],
            importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
            pruning_ratio=1.0,
            iterative_steps=_STEPS,
            ignored_layers=[network.get_submodule(output.rpartition(".")[0])],
        )
        wanted = (1 - asked(level.sparsity)) * left()
        for _ in range(_STEPS):
            if left() <= wanted:
                break
            pruner.step()
        (folder / _FILE).write_bytes(networks.to_bytes(network))

    def load(self, folder: Path, network: nn.Module) -> nn.Module:
        return with_state(network, tensor_files.load(folder / _FILE)[0])
