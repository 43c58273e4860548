"""Pictures of weight and activation quantization."""

from __future__ import annotations

import copy

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure

from edgepress import codebooks, networks
from edgepress.encodings import Encoding, Quantized
from edgepress.encodings.huffman import Huffman
from edgepress.evaluation import evaluate, predict
from edgepress.levels import Level
from edgepress.methods import activations as ranges
from edgepress.methods import calibration_inputs, layer_values, mixed
from edgepress.methods.dithering import dithered
from edgepress.methods.equalization import equalized
from edgepress.methods.multipoint import sum_of_points
from edgepress.methods.per_channel import rounded_per_channel
from edgepress.methods.rounding import rounded
from edgepress.reporting import style
from pictures import BLUE, GREY, ORANGE, compressed, digits, error, network, panels, picture, weights

BITS = range(2, 9)


@picture
def rounding() -> Figure:
    """The error of the weights by each codebook, at each number of bits."""
    figure, (ax,) = panels(1, 2.8)
    for kind in ("uniform", "uniform_iqr", "histogram", "midrise", "symmetric", "normal", "kde", "lloyd_max"):
        after = [rounded(weights(), kind, bits).decode() for bits in BITS]
        ax.plot(BITS, [error(weights(), values) for values in after], "o-", color=style.colour(kind), label=kind)
    ax.set(xlabel="bits per weight", ylabel="error of the weights", yscale="log")
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


@picture
def per_channel() -> Figure:
    """Error against bytes, with per-tensor and per-channel codebooks."""
    figure, (ax,) = panels(1, 2.6)
    for kind, look in (("uniform", "o-"), ("symmetric", "s-"), ("lloyd_max", "^-")):
        for fit, where, fill in ((rounded, "tensor", "white"), (rounded_per_channel, "channel", None)):
            points = [point for bits in BITS if (point := _size_and_error(fit(weights(), kind, bits)))[1] > 1e-3]
            label = f"{kind}, per-{where}"
            ax.plot(*zip(*points, strict=True), look, color=style.colour(kind), markerfacecolor=fill, label=label)
    ax.set(xlabel="bytes of the layer", ylabel="error of the weights", yscale="log")
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _size_and_error(stored: Encoding) -> tuple[int, float]:
    """The bytes of the layer in an encoding, and its error."""
    stored.write(parts := [])
    return sum(map(len, parts)), error(weights(), stored.decode())


@picture
def zero_mean() -> Figure:
    """The mean error of each channel of a layer at 3 bits, and the error of its weights by bits."""
    names = {
        "nearest_uniform_channel": GREY,
        "zero_mean_uniform_channel": BLUE,
        "zero_mean_least_squares_channel": ORANGE,
    }
    layer = networks.compressible(network())[2]
    figure, axes = panels(2)
    for name, colour in names.items():
        stored = {bits: compressed([name], Level(bits=bits)).tensors[layer] for bits in BITS}
        steps = torch.tensor([grid.step for grid in stored[3].codebooks])
        mean = (stored[3].decode() - weights()).mean(dim=1) / steps
        axes[0].plot(mean.sort().values, color=colour, label=style.label(name))
        axes[1].plot(BITS, [error(weights(), each.decode()) for each in stored.values()], "o-", color=colour)
    axes[0].set(xlabel="channel, sorted", ylabel="mean error / scale")
    axes[1].set(xlabel="bits per weight", ylabel="error of the weights", yscale="log")
    figure.legend(loc="outside upper center", ncols=3, fontsize=7)
    return figure


@picture
def dithering() -> Figure:
    """Mean and spread of the error of a weight between two values of a grid."""
    step, draws = 1.0, 2000
    grid = codebooks.Grid.of(2, -1.5, step)
    line = torch.linspace(-0.5, 0.5, 61)
    chance = torch.Generator().manual_seed(0)
    many = line.expand(draws, -1).contiguous()
    errors = {
        "nearest": (Quantized(grid.encode(many), grid).decode() - many, GREY),
        "stochastic": (grid.decode(grid.encode(many, codebooks.random_bits(many.numel(), chance))) - many, ORANGE),
        "dithered": (dithered(grid, many, 7).decode() - many, BLUE),
    }
    figure, axes = panels(2)
    for way, (errors_of_way, colour) in errors.items():
        axes[0].plot(line, errors_of_way.mean(dim=0), color=colour, label=way)
        axes[1].plot(line, errors_of_way.square().mean(dim=0).sqrt(), color=colour, label=way)
    axes[0].set(title="bias", ylabel="mean error / scale", ylim=(-0.55, 0.55))
    axes[1].set(title="size", ylabel="root mean square / scale", ylim=(0, 0.55))
    for ax in axes:
        ax.set_xlabel("weight, from one value to the next")
    axes[0].legend()
    return figure


@picture
def multipoint() -> Figure:
    """The error left by each further vector, against its cost."""
    figure, (ax,) = panels(1, 2.6)
    for bits, colour in ((2, BLUE), (3, ORANGE), (4, "#009E73")):
        points = [_size_and_error(sum_of_points(weights(), bits, points)) for points in range(1, 5)]
        ax.plot(*zip(*points, strict=True), "o-", color=colour, label=f"1 to 4 vectors of {bits} bits")
    single = [_size_and_error(rounded_per_channel(weights(), "symmetric", bits)) for bits in range(2, 13)]
    ax.plot(*zip(*single, strict=True), color=GREY, linestyle="--", label="one number of 2 to 12 bits")
    ax.set(xlabel="bytes of the layer", ylabel="error of the weights", yscale="log")
    ax.legend()
    return figure


@picture
def reconstruction() -> Figure:
    """The error of a layer's weights and of the network's outputs at 3 bits, by how weights are rounded."""
    names = {"nearest_symmetric_channel": GREY, "bias_corrected": "#009E73", "gptq": BLUE, "adaround": ORANGE}
    inputs = digits().inputs["val"]
    layer = networks.compressible(network())[2]
    exact = predict(network(), inputs)
    figure, axes = panels(2, 2.2, sharey=True)
    for name, colour in names.items():
        stored = compressed([name], Level(bits=3))
        axes[0].barh(style.label(name), error(weights(), stored.tensors[layer].decode()), color=colour)
        axes[1].barh(style.label(name), error(exact, predict(stored.rebuild(network()), inputs)), color=colour)
    axes[0].set(xlabel="error of a layer's weights")
    axes[1].set(xlabel="error of the network's outputs")
    axes[0].invert_yaxis()
    return figure


@picture
def mixed_bits() -> Figure:
    """How much rounding a layer changes the output, and the bits that the layer gets."""
    inputs = calibration_inputs(digits())
    errors = mixed.output_errors(network(), inputs, (2, 3, 4, 5, 6, 7, 8))
    sizes = {name: network().get_parameter(name).numel() for name in errors}
    bits = mixed.allocate(sizes, errors, 4 * sum(sizes.values()))
    figure, axes = panels(2)
    for place, (name, by_bits) in enumerate(errors.items()):
        colour = plt.cm.viridis(place / len(errors))
        axes[0].plot(list(by_bits), list(by_bits.values()), "o-", color=colour)
        axes[1].bar(place, bits[name], color=colour)
        axes[1].text(place, bits[name], f"{sizes[name]:,}", ha="center", va="bottom", fontsize=7)
    axes[0].set(xlabel="bits of one layer", ylabel="change of the output", yscale="log")
    axes[1].axhline(4, color=GREY, linestyle="--")
    axes[1].set(xlabel="layer (number of weights)", ylabel="bits, 4 on average", xticks=range(len(errors)))
    axes[1].grid(False)
    return figure


@picture
def activations() -> Figure:
    """4-bit grids over the outputs of a layer."""
    with torch.no_grad():
        values = network().net[:2](calibration_inputs(digits()).flatten(1)).flatten()
    figure, axes = plt.subplots(3, sharex=True, figsize=(6.2, 3.2), layout="constrained")
    for (name, fit), ax in zip(ranges.RANGES.items(), axes, strict=True):
        grid = fit(values, 4)
        ax.hist(values, bins=120, color="0.8", log=True)
        ax.vlines(grid.quantize(torch.linspace(float(values.min()), float(values.max()), 2000)).unique(), 0.5, 1e4,
                  color=BLUE, linewidth=1)  # fmt: skip
        ax.set_ylabel(f"{name}\nerror {error(values, grid.quantize(values)):.1%}", rotation=0, ha="right", va="center")
        ax.set(yticks=[])
        ax.grid(False)
    axes[-1].set_xlabel("activation after the first ReLU")
    return figure


@picture
def ranges_of_channels() -> Figure:
    """The ranges of a layer's output channels before and after equalization."""
    inputs = calibration_inputs(digits()).flatten(1)
    alike = copy.deepcopy(network())
    alike.load_state_dict(equalized(network(), inputs), strict=False)
    figure, axes = panels(2, 2.2, sharey=True)
    for ax, which, title in zip(axes, (network(), alike), ("before", "after"), strict=True):
        with torch.no_grad():
            largest = which.net[:2](inputs).amax(dim=0)
        ax.bar(range(len(largest)), largest, color=BLUE)
        ax.axhline(float(largest.max()), color=ORANGE, linestyle="--")
        ax.set(title=title, xlabel="channel of the first layer", xticks=[])
    axes[0].set_ylabel("largest activation")
    return figure


@picture
def lengths_of_codes() -> Figure:
    """The frequency of each 4-bit code, and the resulting bits per weight."""
    figure, axes = panels(2, 2.4, sharey=True)
    for ax, kind in zip(axes, ("uniform", "symmetric"), strict=True):
        stored = rounded(weights(), kind, 4)
        shares = torch.bincount(stored.codes.flatten().long(), minlength=16) / weights().numel()
        entropy = float(-(shares[shares > 0] * shares[shares > 0].log2()).sum())
        Huffman(stored).write(parts := [])
        ax.bar(range(16), shares, color=style.colour(kind))
        ax.set(title=f"{kind}: entropy {entropy:.2f}, stored {8 * len(parts[-1]) / weights().numel():.2f} bits")
        ax.set(xlabel="code", xticks=range(0, 16, 5))
    axes[0].set_ylabel("fraction of the weights")
    return figure


@picture
def few_values() -> Figure:
    """What even steps and k-means leave of the variance of weights, by the bits that an entropy coder takes."""
    figure, (ax,) = panels(1, 2.4)
    for label, look, encoded in (("even steps", "o-", _on_even_steps), ("k-means", "o--", _on_kmeans)):
        points = [encoded(bits) for bits in (2, 3, 4)]
        errors = [float((values - weights()).square().mean() / weights().var()) for _, values in points]
        ax.plot([layer_values.entropy(codes) for codes, _ in points], errors, look, label=label)
    ax.set(xlabel="entropy, bits per weight", ylabel="error / variance", yscale="log")
    ax.legend()
    return figure


def _on_even_steps(bits: int) -> tuple[torch.Tensor, torch.Tensor]:
    step = layer_values.entropy_step(weights(), bits)
    codes = (weights() / step).round()
    return codes, codes * step


def _on_kmeans(bits: int) -> tuple[torch.Tensor, torch.Tensor]:
    stored = rounded(weights(), "lloyd_max", bits)
    return stored.codes, stored.decode()


@picture
def learned_steps() -> Figure:
    """Accuracy with weights and activations in few bits, calibrated and fine-tuned."""
    levels = [Level(bits=bits, act_bits=bits) for bits in (4, 3, 2)]
    chains = {
        "activations mse, gptq": (["activations_mse", "gptq"], "o--", GREY),
        "lsq activations": (["lsq_activations"], "o-", BLUE),
    }
    figure, (ax,) = panels(1, 2.4)
    for label, (names, look, colour) in chains.items():
        stored = [compressed(names, level) for level in levels]
        quality = [100 * evaluate(file.rebuild(network()), digits(), "test")["accuracy"] for file in stored]
        ax.plot([str(level) for level in levels], quality, look, color=colour, label=label)
    ax.axhline(100 * evaluate(network(), digits(), "test")["accuracy"], **style.FULL_PRECISION)
    ax.set(ylabel="test accuracy (%)")
    ax.legend()
    return figure


@picture
def straight_through() -> Figure:
    """The value of a weight in the forward pass of training, and its gradient."""
    line = torch.linspace(-1.3, 1.3, 1500)
    step, lowest, highest = 0.5, -2, 1
    uniform = codebooks.Grid.of(2, -1, 2 / 3)
    figure, axes = panels(2, sharey=True)
    axes[0].plot(line, uniform.decode(uniform.encode(line)), color=BLUE, label="forward: the rounded value")
    axes[0].plot(line, line, color=ORANGE, linestyle="--", label="backward: identity")
    axes[0].set(title="qat_…")
    position = line / step
    axes[1].plot(line, position.clamp(lowest, highest).round() * step, color=BLUE)
    axes[1].plot(line, position.clamp(lowest, highest) * step, color=ORANGE, linestyle="--")
    axes[1].set(title="lsq: 0 beyond the last value")
    for ax in axes:
        ax.set(xlabel="float32 weight")
    figure.legend(loc="outside lower center", ncols=2)
    return figure
