"""Pictures of concepts that all methods have in common."""

from __future__ import annotations

import json
import re
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure

from edgepress import codebooks
from edgepress.encodings import masks
from edgepress.levels import Level
from edgepress.methods.dithering import dithered
from edgepress.methods.rounding import nearest, stochastic
from edgepress.reporting import style
from pictures import BLUE, GREY, ORANGE, WIDTH, compressed, panels, picture, weights

REPOSITORY = Path(__file__).parents[2]


@picture
def levels() -> Figure:
    """The values of each codebook over the weights of a layer."""
    kinds = ["uniform", "uniform_iqr", "histogram", "midrise", "symmetric", "normal", "kde", "lloyd_max"]
    figure, axes = plt.subplots(len(kinds), sharex=True, figsize=(WIDTH, 5.4), layout="constrained")
    for kind, ax in zip(kinds, axes, strict=True):
        ax.hist(weights().flatten(), bins=100, color="0.85")
        ax.vlines(getattr(codebooks, kind)(weights(), bits=3).levels, 0, ax.get_ylim()[1], color=style.colour(kind))
        ax.set_ylabel(kind, rotation=0, ha="right", va="center")
        ax.set(yticks=[])
        ax.grid(False)
    axes[-1].set_xlabel("weight")
    return figure


@picture
def rounding_ways() -> Figure:
    """Weights before and after each kind of rounding."""
    line = torch.linspace(-1, 1, 1200)
    grid = codebooks.Grid.of(2, -1.0, 2 / 3)
    after = {
        "nearest": grid.decode(nearest(grid, line)),
        "stochastic": grid.decode(stochastic(grid, line, torch.Generator().manual_seed(0))),
        "dithered": dithered(grid, line, seed=0).decode(),
    }
    figure, axes = panels(3, sharey=True)
    for (way, values), ax in zip(after.items(), axes, strict=True):
        ax.plot(line, line, color=GREY, linewidth=0.8)
        ax.plot(line, values, ".", markersize=1.5, color=BLUE, rasterized=True)
        ax.set(title=way, xlabel="weight before")
    axes[0].set_ylabel("weight after")
    return figure


@picture
def grids() -> Figure:
    """A per-tensor grid and per-channel grids."""
    channels = weights()[:12]
    figure, axes = panels(2, 3.0, sharey=True)
    whole = codebooks.uniform(channels, bits=2)
    for ax, title in zip(axes, ("one codebook per tensor", "one codebook per channel"), strict=True):
        for place, channel in enumerate(channels):
            grid = whole if ax is axes[0] else codebooks.uniform(channel, bits=2)
            ax.plot(channel, torch.full_like(channel, place), ".", color="0.6", markersize=3)
            ax.vlines(grid.levels, place - 0.38, place + 0.38, color=BLUE, linewidth=1.6)
        ax.set(title=title, xlabel="weight", yticks=range(0, 12, 2))
        ax.grid(False)
    axes[0].set_ylabel("output channel")
    return figure


@picture
def packed_file() -> Figure:
    """The bytes of packed files, to scale."""
    chains = {
        "4 bits": (["nearest_uniform"], Level(bits=4)),
        "4 bits, per-channel": (["nearest_uniform_channel"], Level(bits=4)),
        "80 % sparsity": (["magnitude"], Level(sparsity=0.8)),
        "80 % sparsity, 4 bits": (["magnitude", "nearest_uniform"], Level(bits=4, sparsity=0.8)),
    }
    figure, (ax,) = panels(1, 2.6)
    colours = {"header": "0.75", "biases": "0.5", "masks": "#E69F00", "codebooks": ORANGE, "weights": BLUE}
    for row, (names, level) in enumerate(chains.values()):
        stored = compressed(names, level)
        start = 0
        for part, size in _parts(stored).items():
            ax.barh(row, size / 1000, left=start / 1000, color=colours[part], label=None if row else part)
            start += size
        assert start == len(stored.to_bytes())
        ax.text(start / 1000, row, f" {start:,} bytes", va="center", fontsize=8)
    ax.set(yticks=range(len(chains)), yticklabels=list(chains), xlabel="kB")
    ax.invert_yaxis()
    ax.margins(x=0.15)
    ax.grid(False)
    figure.legend(loc="outside lower center", ncols=len(colours))
    return figure


def _parts(stored: object) -> dict[str, int]:
    """Bytes of a packed file by content."""
    data = stored.to_bytes()
    parts = dict.fromkeys(("header", "codebooks", "masks", "weights", "biases"), 0)
    parts["header"] = 8 + struct.unpack("<Q", data[:8])[0]
    json.loads(data[8 : parts["header"]])  # check that it is the header of the format
    for name, encoding in stored.tensors.items():
        pieces: list[bytes] = []
        layout = encoding.write(pieces)
        sizes = [len(piece) for piece in pieces]
        if name.endswith("bias"):
            parts["biases"] += sum(sizes)
            continue
        if layout[0] == "sparse":
            parts["masks"] += sizes.pop(0)
        parts["weights"] += sizes.pop()
        parts["codebooks"] += sum(sizes)
    return parts


@picture
def mask_forms() -> Figure:
    """The cost of storing which weights are kept."""
    shares = np.linspace(0.02, 0.99, 40)
    count = 1 << 14
    figure, (ax,) = panels(1, 2.5)
    chosen = []
    for share in shares:
        mask = np.random.default_rng(0).random(count) >= share
        chosen.append(len(masks.pack(mask)[1]) * 8 / count)
    pattern = np.tile([True, False, False, True], count // 4)
    ax.plot(shares, np.ones_like(shares), color=GREY, linestyle="--", label="bitmap: one bit per weight")
    ax.plot(shares, chosen, color=BLUE, label="stored: the smaller of bitmap and gaps")
    ax.plot(0.5, len(masks.pack(pattern)[1]) * 8 / count, "D", color=ORANGE, label="2:4 pattern: 3 bits per 4 weights")
    ax.set(xlabel="sparsity", ylabel="bits of mask per weight", ylim=(0, 1.1))
    ax.legend(loc="lower left")
    return figure


@picture
def workflow() -> Figure:
    """The rules of the starter run and their dependencies, as Snakemake reports them."""
    edges = _rules()
    depth: dict[str, int] = {}

    def place(rule: str) -> int:
        if rule not in depth:
            depth[rule] = 1 + max((place(before) for before, after in edges if after == rule), default=-1)
        return depth[rule]

    columns: dict[int, list[str]] = {}
    for rule in sorted({rule for edge in edges for rule in edge} - {"all"}):
        columns.setdefault(place(rule), []).append(rule)
    figure, ax = plt.subplots(figsize=(WIDTH, 2.8))
    at = {rule: (x, (len(rules) - 1) / 2 - y) for x, rules in columns.items() for y, rule in enumerate(rules)}
    for before, after in edges:
        if after != "all" and depth[after] == depth[before] + 1:
            ends = (at[before][0] + 0.38, at[after][0] - 0.38), (at[before][1], at[after][1])
            ax.plot(*ends, color="0.7", linewidth=1, zorder=0)
    for rule, (x, y) in at.items():
        box = {"boxstyle": "round,pad=0.35", "facecolor": "white", "edgecolor": BLUE}
        ax.text(x, y, rule.replace("_", "\n", 1), ha="center", va="center", fontsize=6.5, bbox=box, linespacing=1)
    ax.set(xlim=(-0.5, max(columns) + 0.5), ylim=(-3.2, 3.2))
    ax.axis("off")
    return figure


def _rules() -> set[tuple[str, str]]:
    """Pairs of rules of the starter run: each rule and one that depends on it."""
    with tempfile.TemporaryDirectory() as folder:
        line = [sys.executable, "-m", "snakemake", "--rulegraph", "--snakefile", str(REPOSITORY / "Snakefile")]
        line += ["--configfile", str(REPOSITORY / "config/config.yaml"), "--directory", folder]
        graph = subprocess.run(line, capture_output=True, text=True, check=True).stdout
    names = dict(re.findall(r'(\d+)\[label = "(\w+)"', graph))
    return {(names[before], names[after]) for before, after in re.findall(r"(\d+) -> (\d+)", graph)}
