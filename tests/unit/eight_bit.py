"""Small networks as a device with 8-bit integers gets them, for the tests of integer inference and of deployment."""

from functools import cache

import torch
from torch import nn

from edgepress import networks
from edgepress.datasets import SPLITS, Prepared
from edgepress.folding import fold_batch_norm
from edgepress.levels import Level
from edgepress.sweep import Trained
from edgepress.targets import latency

NAMES = ["resnet8", "ds_cnn", "cnn", "dnn_complex"]


def with_statistics(network, inputs, seed):
    """The network, its BatchNorms having seen data, with scales and shifts that are not 1 and 0."""
    torch.manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.uniform_(module.bias, -1, 1)
    with torch.no_grad():
        network.train()(inputs)
    return network.eval()


@cache
def trained(name):
    """A network whose BatchNorms have statistics, and what they are of."""
    generator = torch.Generator().manual_seed(5)
    inputs = {split: torch.randn(64, 1, 16, 16, generator=generator) for split in SPLITS}
    data = Prepared("images", "classification", 4, inputs, {split: torch.arange(64) % 4 for split in SPLITS})
    return Trained(name, 0, with_statistics(networks.build(name, data), data.inputs["train"], seed=6), data)


@cache
def compressed(name):
    """The network with BatchNorm folded, its w8a8 form, and inputs to run it on."""
    given = trained(name)
    shipped = fold_batch_norm(given.network)
    return shipped, latency.compressed(given, shipped, Level(bits=8, act_bits=8)), given.data.inputs["test"]
