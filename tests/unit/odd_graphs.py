"""Networks as people write them, for the tests of integer inference and of deployment."""

import torch
from torch import nn
from torch.nn import functional as F

from edgepress.datasets import SPLITS, Prepared
from edgepress.folding import fold_batch_norm
from edgepress.levels import Level
from edgepress.sweep import Trained
from edgepress.targets import latency

SHAPE = (2, 6, 6)  # of an input


class Net(nn.Module):
    """A convolution, something between, and a layer over what is left."""

    def __init__(self, between, features=4):
        super().__init__()
        torch.manual_seed(4)
        self.conv, self.fc, self.between = nn.Conv2d(2, 4, 3), nn.Linear(features, 3), between

    def forward(self, x):
        return self.fc(self.between(torch.relu(self.conv(x))))


class Reads(Net):
    """It reads a parameter itself."""

    def __init__(self, read):
        super().__init__(lambda x: x.mean((2, 3)))
        self.shift, self.read = nn.Parameter(torch.ones(4)), read

    def forward(self, x):
        return self.fc(self.read(self.between(torch.relu(self.conv(x))), self.shift))


class Branches(Net):
    """What it computes depends on its values."""

    def __init__(self):
        super().__init__(lambda x: x.mean((2, 3)))

    def forward(self, x):
        return super().forward(x) if x.sum() > 0 else super().forward(-x)


def _net(between, features=4):
    return lambda: Net(between, features)


IN_INTEGERS = {
    "mean tuple": _net(lambda x: x.mean((2, 3))),
    "mean list": _net(lambda x: x.mean([2, 3])),
    "mean from the end": _net(lambda x: torch.mean(x, dim=(-2, -1))),
    "mean named": _net(lambda x: x.mean(dim=(3, 2), keepdim=True).flatten(1)),
    "mean input named": _net(lambda x: torch.mean(input=x, dim=(2, 3))),
    "mean kept": _net(lambda x: x.mean((2, 3), True)[:, :, 0, 0]),
    "mean twice": _net(lambda x: x.mean(-1).mean(-1)),
    "mean of places": _net(lambda x: x.flatten(2).mean(2)),
    "pool to one": _net(lambda x: F.adaptive_avg_pool2d(x, 1).flatten(1)),
    "pool to one by one": _net(lambda x: F.adaptive_avg_pool2d(x, (1, 1)).squeeze(-1).squeeze(-1)),
    "pool named": _net(lambda x: torch.flatten(F.adaptive_avg_pool2d(x, output_size=1), 1)),
    "new axes": _net(lambda x: x.mean((2, 3))[:, None][:, 0]),
    "axis in the middle": _net(lambda x: x.mean((2, 3))[:, :, None].squeeze(2)),
    "unsqueezed": _net(lambda x: torch.squeeze(x.mean((2, 3)).unsqueeze(1), 1)),
    "part": _net(lambda x: x[:, :2, 1:3, ::2].flatten(1), 8),
    "last place": _net(lambda x: x[..., -1, -1]),
    "view by size": _net(lambda x: x.view(x.size(0), -1), 64),
    "view by shape": _net(lambda x: x.reshape(x.shape[0], x.shape[1] * 16), 64),
    "unflattened": _net(lambda x: x.flatten(1).unflatten(1, (4, 16)).mean(2)),
}
# name: network, words of the reason at w8a8, and what becomes of it in float32
OUT_OF_REACH = {
    "a parameter added": (lambda: Reads(lambda x, own: x + own), "reads 'shift' itself", "ok"),
    "a parameter first": (lambda: Reads(lambda x, own: own * x), "reads 'shift' itself", "ok"),
    "a parameter indexed": (lambda: Reads(lambda x, own: x * own[None]), "reads 'shift' itself", "ok"),
    "a number first": (_net(lambda x: 2.0 * x.mean((2, 3))), "mul, is not computed in integers", "ok"),
    "joined": (_net(lambda x: torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1), 8), "is not computed in integers", "ok"),
    "branches": (Branches, "is no fixed graph", "unavailable"),
}


def own_trained(network):
    """``network`` as one that was trained."""
    generator = torch.Generator().manual_seed(7)
    inputs = {split: torch.randn(40, *SHAPE, generator=generator) for split in SPLITS}
    data = Prepared("images", "classification", 3, inputs, {split: torch.arange(40) % 3 for split in SPLITS})
    return Trained("own", 0, network.eval(), data)


def own(network):
    """``network`` as it is shipped, its w8a8 form, and inputs to run it on."""
    given = own_trained(network)
    shipped = fold_batch_norm(given.network, SHAPE)
    return shipped, latency.compressed(given, shipped, Level(bits=8, act_bits=8)), given.data.inputs["test"]
