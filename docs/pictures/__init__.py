"""Pictures of the site. The library draws them from real results, so they cannot disagree with it.

A picture is a function that returns a figure. Its name, the key in ``PICTURES``, is the file name.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from edgepress import datasets, methods, networks, registry
from edgepress.datasets import Prepared
from edgepress.levels import Level
from edgepress.packing import Compressed
from edgepress.reporting import style
from edgepress.training import Training, train

WIDTH = 6.2  # inches; text stays legible on a page 400 pixels wide
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#999999"
PICTURES: dict[str, Callable[[], Figure]] = {}


def picture(draw: Callable[[], Figure]) -> Callable[[], Figure]:
    """Register a function as a picture of the site."""
    PICTURES[draw.__name__] = draw
    return draw


def draw_all(folder: Path) -> None:
    """Draw every picture into ``folder``, as SVG. Unchanged pictures give identical bytes."""
    for module in ("concepts", "quantization", "pruning"):
        import_module(f"pictures.{module}")
    torch.set_num_threads(1)
    style.apply()
    mpl.rcParams |= {"svg.hashsalt": "edgepress", "figure.facecolor": "white"}
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in PICTURES.items():
        figure = draw()
        figure.savefig(folder / f"{name}.svg", bbox_inches="tight", metadata={"Date": None})
        plt.close(figure)


def panels(columns: int, height: float = 2.5, **options: object) -> tuple[Figure, list[plt.Axes]]:
    """A figure with ``columns`` panels side by side."""
    figure, axes = plt.subplots(1, columns, figsize=(WIDTH, height), layout="constrained", **options)
    return figure, list(axes) if columns > 1 else [axes]


@cache
def digits() -> Prepared:
    """The data set of all pictures."""
    return datasets.prepare("digits", split_seed=0)


@cache
def network() -> nn.Module:
    """A small trained network."""
    built = networks.build("dnn_complex", digits(), seed=0)
    train(built, digits(), Training(lr=0.01, batch_size=128, max_epochs=25, patience=25), seed=0)
    return built.eval()


@cache
def weights() -> Tensor:
    """The weights of one layer of the network, shape (60, 40)."""
    return network().get_parameter(networks.compressible(network())[2]).detach()


def compressed(names: Sequence[str], level: Level) -> Compressed:
    """The network compressed by a chain of methods. Methods that fine-tune take ten epochs."""
    again = Training(lr=0.005, batch_size=128, max_epochs=10, patience=10)
    chain = [methods.create(name, again if registry.methods()[name].retrains else None) for name in names]
    with contextlib.redirect_stdout(io.StringIO()):  # training prints each epoch
        return methods.compress(
            chain, network(), digits().only("train", "val"), level, torch.Generator().manual_seed(0)
        )


def error(before: Tensor, after: Tensor) -> float:
    """‖before − after‖ / ‖before‖."""
    return float((before - after).norm() / before.norm())
