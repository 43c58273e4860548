"""Random small networks as they are stored: shapes, groups, strides, widths and encodings of every kind."""

import random

import torch
from torch import nn

from edgepress import methods
from edgepress.datasets import SPLITS, Prepared
from edgepress.levels import Level
from edgepress.packing import Compressed

WEIGHTS = [
    *("nearest_symmetric", "nearest_symmetric_channel", "nearest_uniform", "nearest_uniform_channel"),
    *("nearest_lloyd_max", "nearest_lloyd_max_channel", "nearest_normal", "midrise", "multipoint"),
]
PRUNING = [None, None, "magnitude", "magnitude_2_4"]


class Residual(nn.Module):
    """A body, and its input added to it, with a ReLU or without."""

    def __init__(self, body: nn.Module, after: nn.Module) -> None:
        super().__init__()
        self.body, self.after = body, after

    def forward(self, x):
        return self.after(x + self.body(x))


def _activation(draw: random.Random) -> nn.Module:
    return draw.choice([nn.ReLU(), nn.ReLU(), nn.ReLU6(), nn.Identity()])


def _convolution(draw: random.Random, channels: int, side: int) -> tuple[nn.Module, int]:
    groups = draw.choice([1, 1, 2, channels])
    groups = groups if channels % groups == 0 else 1
    out = groups * draw.randint(1, max(1, 12 // groups))
    kernel = (draw.randint(1, min(4, side)), draw.randint(1, min(4, side)))
    if draw.random() < 0.5:
        kernel = (min(3, side),) * 2
    dilation = draw.choice([1, 1, 2]) if 2 * (max(kernel) - 1) < side else 1
    bias = draw.random() < 0.8
    if draw.random() < 0.3:
        return nn.Conv2d(channels, out, kernel, padding="same", dilation=dilation, groups=groups, bias=bias), out
    stride = (draw.randint(1, 3), draw.randint(1, 2))
    padding = (draw.randint(0, 2), draw.randint(0, 2))
    return nn.Conv2d(channels, out, kernel, stride, padding, dilation, groups, bias), out


def _image_network(draw: random.Random, shape: tuple[int, ...]) -> nn.Module:
    layers: list[nn.Module] = []
    channels, side = shape[0], min(shape[1:])
    for _ in range(draw.randint(1, 4)):
        kind = draw.choice(["conv", "conv", "residual", "pool"])
        if kind == "residual":
            body = [nn.Conv2d(channels, channels, 3, padding=1), _activation(draw)]
            if draw.random() < 0.5:
                body += [nn.Conv2d(channels, channels, 1), nn.Identity()]
            layer, out = Residual(nn.Sequential(*body), _activation(draw)), channels
        elif kind == "pool" and side >= 2 and layers:
            layer, out = nn.MaxPool2d(2, draw.randint(1, 2), draw.randint(0, 1)), channels
        else:
            convolution, out = _convolution(draw, channels, side)
            layer = nn.Sequential(convolution, _activation(draw))
        found = nn.Sequential(*layers, layer)
        with torch.no_grad():
            sides = found(torch.zeros(1, *shape)).shape[2:]
        if min(sides) < 1:
            continue
        layers.append(layer)
        channels, side = out, min(sides)
    if draw.random() < 0.4:
        layers.append(nn.AdaptiveAvgPool2d(1))
    layers.append(nn.Flatten())
    with torch.no_grad():
        features = nn.Sequential(*layers)(torch.zeros(1, *shape)).shape[1]
    if draw.random() < 0.3:
        layers += [nn.Linear(features, 9), _activation(draw)]
        features = 9
    return nn.Sequential(*layers, nn.Linear(features, 3))


def network(seed: int) -> tuple[nn.Module, Compressed, torch.Tensor]:
    """A network, what is stored of it, and inputs."""
    draw = random.Random(seed)
    torch.manual_seed(seed)
    shape = (
        (draw.randint(1, 5), draw.randint(3, 9), draw.randint(3, 9)) if draw.random() < 0.85 else (draw.randint(1, 20),)
    )
    if len(shape) == 3:
        net = _image_network(draw, shape)
    else:
        net = nn.Sequential(nn.Linear(shape[0], 8), _activation(draw), nn.Linear(8, 3))
    for parameter in net.parameters():
        if parameter.dim() == 1:
            nn.init.uniform_(parameter, -1, 1)
    inputs = {split: torch.randn(12, *shape) * draw.choice([0.5, 3.0]) for split in SPLITS}
    data = Prepared("random", "classification", 3, inputs, {split: torch.arange(12) % 3 for split in SPLITS})
    steps, level = _chain(draw)
    chain = [methods.create(step) for step in steps]
    kept = []
    for step in chain:
        if step.skip(net, data, level) is None:
            kept.append(step)
    stored = methods.compress(kept, net.eval(), data, level, torch.Generator().manual_seed(seed))
    return net, Compressed.from_bytes(stored.to_bytes()), inputs["test"]


def _chain(draw: random.Random) -> tuple[list[str], Level]:
    steps, bits, act_bits, sparsity = [], None, None, None
    if draw.random() < 0.6:
        steps.append("activations_minmax")
        act_bits = draw.randint(2, 8)
    pruned = draw.choice(PRUNING)
    if pruned:
        steps.append(pruned)
        sparsity = 0.5 if pruned == "magnitude_2_4" else draw.choice([0.3, 0.8, 0.95])
    if act_bits or draw.random() < 0.9:
        weights = draw.choice(WEIGHTS)
        bits = draw.randint(2 if weights == "multipoint" else 1, 8)
        steps.append(weights)
        if draw.random() < 0.25:
            steps.append("huffman")
    return steps, Level(bits=bits, act_bits=act_bits, sparsity=sparsity)
