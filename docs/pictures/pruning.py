"""Pictures of pruning."""

from __future__ import annotations

import torch
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from edgepress import networks
from edgepress.evaluation import evaluate
from edgepress.levels import Level
from edgepress.methods import calibration_inputs
from edgepress.methods.n_of_m import keep_two_of_four
from edgepress.methods.obs import hessian, relative_costs
from edgepress.reporting import style
from pictures import BLUE, GREY, ORANGE, compressed, digits, network, panels, picture, weights

MASK = ListedColormap(["white", BLUE])


@picture
def pruning() -> Figure:
    """The fraction of each layer that is kept, and which weights are removed."""
    names = networks.compressible(network())
    figure, axes = panels(2)
    for place, method in enumerate(("magnitude", "magnitude_global", "random")):
        stored = compressed([method], Level(sparsity=0.7))
        kept = [float((stored.tensors[name].decode() != 0).float().mean()) for name in names]
        axes[0].bar([x + 0.27 * (place - 1) for x in range(len(names))], kept, 0.25,
                    color=style.colour(method), label=style.label(method))  # fmt: skip
    axes[0].set(xlabel="layer", ylabel="fraction kept at 70 % sparsity", xticks=range(len(names)), ylim=(0, 1.4))
    axes[0].legend()
    after = compressed(["magnitude"], Level(sparsity=0.7)).tensors[names[2]].decode().flatten()
    bins = torch.linspace(float(weights().min()), float(weights().max()), 80).tolist()
    axes[1].hist(weights().flatten(), bins=bins, color="0.85", label="removed")
    axes[1].hist(after[after != 0], bins=bins, color=style.colour("magnitude"), label="kept by magnitude")
    axes[1].set(xlabel="weight", yticks=[])
    axes[1].legend()
    for ax in axes:
        ax.grid(False)
    return figure


@picture
def surgeon() -> Figure:
    """The cost to the layer's output of removing a weight, against its magnitude."""
    layer = network().get_submodule(networks.compressible(network())[0].removesuffix(".weight"))
    inputs = calibration_inputs(digits()).flatten(1)
    costs = relative_costs(layer.weight.detach()[None], hessian(layer, inputs))[0].flatten()
    sizes = layer.weight.detach().abs().flatten()
    half = len(costs) // 2
    gone = costs.argsort().argsort() < half
    small = sizes.argsort().argsort() < half
    figure, (ax,) = panels(1, 3.0)
    for which, colour, label in (
        (~gone & ~small, GREY, "kept by both"),
        (gone & small, "0.8", "removed by both"),
        (gone & ~small, BLUE, "large but unimportant: removed only by obs"),
        (~gone & small, ORANGE, "small but important: removed only by magnitude"),
    ):
        shown = which & (costs > costs.max() * 1e-9) & (sizes > sizes.max() * 1e-3)
        ax.plot(sizes[shown], costs[shown], ".", color=colour, markersize=3, label=label)
    ax.set(xlabel="magnitude of the weight", ylabel="cost to the output", xscale="log", yscale="log")
    ax.legend(loc="upper left", fontsize=7)
    return figure


@picture
def patterns() -> Figure:
    """Masks of 50 % sparsity: unstructured and 2:4."""
    part = weights()[:12, :24]
    anywhere = part.abs() >= part.abs().flatten().median()
    figure, axes = panels(2, 2.0)
    for ax, mask, title in zip(axes, (anywhere, keep_two_of_four(part.abs())), ("anywhere", "2:4"), strict=True):
        ax.imshow(mask, cmap=MASK, aspect="auto")
        ax.set(title=title, xticks=[], yticks=[])
    axes[1].vlines([x - 0.5 for x in range(4, 24, 4)], -0.5, 11.5, color="black", linewidth=1.2)
    return figure


@picture
def narrower() -> Figure:
    """The weights of two layers before and after channel pruning."""
    names = networks.compressible(network())[1:3]
    before, after = network().state_dict(), compressed(["channels_l1"], Level(sparsity=0.6)).state_dict()
    shown = [(when, state[name]) for name in names for when, state in (("before", before), ("after", after))]
    figure, axes = panels(4, 2.3)
    for ax, (when, matrix) in zip(axes, shown, strict=True):
        ax.imshow(matrix, cmap="RdBu", vmin=-1, vmax=1, extent=(0, matrix.shape[1], 0, matrix.shape[0]))
        ax.set(title=f"{when}\n{matrix.shape[0]}×{matrix.shape[1]}", xlim=(0, 40), ylim=(0, 60))
        ax.axis("off")
    return figure


@picture
def finetuning() -> Figure:
    """Accuracy against sparsity, with and without fine-tuning."""
    figure, (ax,) = panels(1, 2.6)
    shares = (0.5, 0.7, 0.8, 0.9, 0.95)
    for method, look in (("magnitude_global", "o--"), ("magnitude_finetuned", "o-")):
        stored = [compressed([method], Level(sparsity=share)) for share in shares]
        quality = [100 * evaluate(file.rebuild(network()), digits(), "test")["accuracy"] for file in stored]
        ax.plot(shares, quality, look, color=style.colour("magnitude_global"), label=style.label(method))
    ax.axhline(100 * evaluate(network(), digits(), "test")["accuracy"], **style.FULL_PRECISION)
    ax.set(xlabel="sparsity", ylabel="test accuracy (%)")
    ax.legend()
    return figure


@picture
def together() -> Figure:
    """The weights of a layer before and after ADMM."""
    name = networks.compressible(network())[2]
    after = compressed(["admm"], Level(bits=2, sparsity=0.5)).tensors[name].decode().flatten()
    figure, axes = panels(2, sharex=True)
    axes[0].hist(weights().flatten(), bins=80, color="0.6")
    axes[0].set(title="before")
    values, counts = after.unique(return_counts=True)
    axes[1].vlines(values, 0, counts, color=BLUE, linewidth=3)
    axes[1].set(title="after: half are 0, the others take four values")
    for ax in axes:
        ax.set(xlabel="weight", ylabel="number of weights")
    return figure
