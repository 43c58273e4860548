"""A peer for the tests: it halves the precision of every tensor, and writes two files."""

import copy

import safetensors.torch
import torch

from edgepress.networks import inference_state, load_inference_state
from edgepress.peers import Peer

PEERS = {
    "halves": {"object": "Halves", "about": "bf16", "levels": ["w16", "w8"], "packages": ["torch"]},
    "absent": {
        "object": "NotThere",
        "about": "a library that is not installed",
        "levels": ["w8a8", "w4"],
        "packages": ["torch", "no_such_library", "nor_this"],
        "runtime": "no_such_library",
    },
}


class Halves(Peer):
    """Keeps what it was given, for the tests to look at; of 8 bits it knows nothing."""

    given: list = []  # noqa: RUF012 - of the class, since each sweep makes its own

    def compress(self, network, inputs, level, folder):
        self.given.append(inputs)
        if level.bits == 8:
            raise NotImplementedError("8 bits\nare too few")
        state = {name: tensor.bfloat16() for name, tensor in inference_state(network).items()}
        (folder / "model.safetensors").write_bytes(safetensors.torch.save(state))
        (folder / "readme.txt").write_text("seven b")

    def load(self, folder, network):
        state = safetensors.torch.load((folder / "model.safetensors").read_bytes())
        loaded = copy.deepcopy(network)
        load_inference_state(loaded, {name: tensor.to(torch.float32) for name, tensor in state.items()})
        return loaded
