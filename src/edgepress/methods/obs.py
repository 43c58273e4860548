"""Pruning by second order: the Optimal Brain Surgeon (Hassibi and Stork 1993), layer by layer.

A layer's output should change least: ‖(W − Ŵ)X‖², X its inputs on calibration data, so its Hessian is H = X Xᵀ, the
same for every row of W. Removing weight p costs w_p² / [H⁻¹]_pp if the weights not yet decided make up for it as well
as they can. Deciding them from left to right, as SparseGPT does (Frantar and Alistarh 2023, arXiv 2301.00774), all
rows share one inverse, where the greedy order of Optimal Brain Compression (Frantar et al. 2022, arXiv 2208.11580)
takes one a row. No labels are needed.

For a share of the whole network (``obs_global``), weights of all layers are ranked by what removing each alone costs,
as a share of the power of its layer's output, before anything is removed; so layers that matter more keep more.

Of a layer of r rows of n weights, whose kernel visits p places of the calibration data, the Hessian takes p·n²
multiplications, its inverse some n³ in float64, and the weights r·n²; the inverse is 8·n² bytes large. ``obs_global``
takes Hessians and inverses twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgepress.datasets import Prepared
from edgepress.encodings import Dense, Encoding
from edgepress.graph import Layer, UntraceableError, trace
from edgepress.levels import Level, asked
from edgepress.methods import Method, calibration_inputs, must_come_first
from edgepress.methods.layer_by_layer import LayerByLayer
from edgepress.methods.n_of_m import GROUP, in_groups, keep_two_of_four, why_not
from edgepress.methods.pruning import keep_largest
from edgepress.networks import hidden
from edgepress.packing import Compressed

METHODS = {
    "*": {
        "object": "OptimalBrainSurgeon",
        "family": "obs",
        "sweep": "sparsity",
        "options": {"score": "obs"},
        "examples": True,
        "first": True,
    },
    "obs": {
        "about": "the weights that a layer's output misses least become 0; the others, and the bias, make up for them",
        "args": {"pattern": "any"},
    },
    "obs_global": {
        "about": "`obs` with more removed from the layers whose output misses it least",
        "args": {"pattern": "any", "scope": "network"},
    },
    "obs_2_4": {
        "about": "two of every four weights in a row become 0, chosen and made up for as by obs",
        "args": {"pattern": "2:4"},
    },
}
_BATCH = 32  # inputs at a time: im2col repeats each value once a place of the kernel
_BLOCK = 128  # columns whose mask is chosen together, as in the paper
_DAMPING = 0.01  # of the mean of the Hessian's diagonal, as in the paper: it may be singular


def im2col(layer: Layer, inputs: Tensor) -> Tensor:
    """What each output of a Linear or Conv layer multiplies with its row of weights.

    ``inputs`` is the layer's input, shape (rows, …). Returns the shape (groups, places, weights an output).
    """
    if isinstance(layer, nn.Linear):
        return inputs.flatten(0, -2)[None]
    sides, how = len(layer.kernel_size), "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    windows = F.pad(inputs, layer._reversed_padding_repeated_twice, how)
    for side, (size, stride, apart) in enumerate(zip(layer.kernel_size, layer.stride, layer.dilation, strict=True)):
        windows = windows.unfold(2 + side, apart * (size - 1) + 1, stride)[..., ::apart]
    # (rows, channels, places…, kernel…), to become (groups, rows, places…, channels of the group, kernel…)
    grouped: Tensor = windows.unflatten(1, (layer.groups, -1)).movedim(2, 2 + sides).movedim(1, 0)
    return grouped.reshape(layer.groups, -1, layer.weight[0].numel())


def hessian(layer: Layer, inputs: Tensor) -> Tensor:
    """X Xᵀ of each group of a layer: float64, shape (groups, weights an output, weights an output)."""
    squares = ((x.mT @ x).double() for x in (im2col(layer, batch) for batch in inputs.split(_BATCH)))
    return sum(squares, start=torch.zeros((), dtype=torch.float64))


def inverse_factor(hessian: Tensor) -> Tensor:
    """The upper triangular U with H⁻¹ = Uᵀ U, of each damped Hessian of shape (groups, n, n).

    Its rows hold what the greedy surgeon needs: U_pp² is [H⁻¹]_pp once all weights left of p are decided, and U_pq
    over U_pp says how weight q makes up for p.
    """
    scale = hessian.diagonal(dim1=1, dim2=2).mean(dim=1)
    damping = _DAMPING * torch.where(scale > 0, scale, 1.0)
    damped = hessian + torch.diag_embed(damping[:, None].expand(hessian.shape[:2]))
    factor: Tensor = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(damped)), upper=True)
    return factor


def rows_of(layer: Layer) -> Tensor:
    """The weights of a Linear or Conv layer, detached, shape (groups, rows, weights an output)."""
    rows: Tensor = layer.weight.detach().flatten(1).unflatten(0, (getattr(layer, "groups", 1), -1))
    return rows


def relative_costs(weights: Tensor, hessian: Tensor) -> Tensor:
    """What removing each weight alone costs, the others making up for it, as a share of the power of the output.

    ``weights`` has shape (groups, rows, n) and ``hessian`` (groups, n, n).
    """
    alone = inverse_factor(hessian).square().sum(dim=1)  # the diagonal of H⁻¹
    power = ((weights.double() @ hessian) * weights).sum()
    costs = weights.square() / alone[:, None]
    return costs / power if power > 0 else torch.zeros_like(costs)  # inputs that are 0: nothing costs anything


def prune_rows(
    weights: Tensor, hessian: Tensor, block: int, choose: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """Remove weights and let those to their right make up for them.

    ``weights`` has shape (groups, rows, n) and ``hessian`` (groups, n, n). ``choose`` gets the costs of removing each
    weight of the next ``block`` columns, of shape (groups, rows, columns), and says which to keep. Returns the weights,
    float32, 0 where removed, and the mask, True where kept.
    """
    factor, left = inverse_factor(hessian), weights.double()
    mask = torch.ones(weights.shape, dtype=torch.bool)
    for start in range(0, weights.shape[2], block):
        columns = slice(start, start + block)
        inverse, current = factor[:, columns, columns], left[..., columns].clone()
        kept = choose(current.square() / inverse.diagonal(dim1=1, dim2=2)[:, None].square())
        errors = torch.zeros_like(current)
        for column in range(current.shape[2]):
            removed = current[..., column] * ~kept[..., column]
            errors[..., column] = removed / inverse[:, None, column, column]
            current[..., column:] -= errors[..., column, None] * inverse[:, None, column, column:]
        left[..., columns], mask[..., columns] = current, kept
        left[..., start + block :] -= errors @ factor[:, columns, start + block :]
    return (left * mask).float(), mask


class _Share:
    """Keeps the dearest weights of each block, so that of all ``entries`` the share ``sparsity`` goes, by count."""

    def __init__(self, entries: int, sparsity: float) -> None:
        self.entries, self.sparsity = entries, sparsity
        self.seen = self.removed = 0

    def __call__(self, costs: Tensor) -> Tensor:
        self.seen += costs.numel()
        removed = round(self.sparsity * self.seen) - self.removed
        self.removed += removed
        return keep_largest(costs, removed / costs.numel())


def global_shares(network: nn.Module, names: Sequence[str], inputs: Tensor, sparsity: float) -> dict[str, float]:
    """The share to remove of each weight tensor in ``names`` for ``sparsity`` of all to go at the least relative cost.

    ``inputs`` are those of the network. A layer that it does not use is left out.
    """
    costs: dict[str, Tensor] = {}

    def note(name: str, layer: Layer, seen: Tensor) -> None:
        if name in names and name not in costs:
            costs[name] = relative_costs(rows_of(layer), hessian(layer, seen)).reshape(-1)

    LayerByLayer(network, note).encode_all(inputs)
    if not costs:
        return {}
    masks = keep_largest(torch.cat(list(costs.values())), sparsity).split([len(cost) for cost in costs.values()])
    return {name: 1 - int(mask.sum()) / len(mask) for name, mask in zip(costs, masks, strict=True)}


@dataclass(frozen=True)
class OptimalBrainSurgeon(Method):
    """Remove weights of hidden Linear and Conv layers at the least cost to each layer's output.

    A layer sees the inputs that the layers before it, pruned already, give it on the calibration data; then its bias,
    where it has one, takes up what its outputs are off on average. One that the network does not use stays as it is.
    With the ``scope`` ``network``, layers give more or less than the share that goes from all; with the ``pattern``
    ``2:4``, the groups and layers are those of ``magnitude_2_4``.
    """

    pattern: Literal["any", "2:4"]
    scope: Literal["layer", "network"] = "layer"

    def skip(self, network: nn.Module, data: Prepared, level: Level) -> str | None:
        try:
            trace(network)
        except UntraceableError as error:
            return str(error)
        return why_not(network, level) if self.pattern == "2:4" else None

    def apply(
        self, stored: Compressed, network: nn.Module, data: Prepared, level: Level, generator: torch.Generator
    ) -> Compressed:
        must_come_first(stored, "a method that changes the weights it keeps")
        names = in_groups(network) if self.pattern == "2:4" else hidden(network)
        inputs = calibration_inputs(data)
        sparsity = asked(level.sparsity)
        shares = dict.fromkeys(names, sparsity)
        if self.scope == "network" and names:
            shares = global_shares(network, names, inputs, sparsity)

        def encode(name: str, layer: Layer, seen: Tensor) -> Encoding | None:
            if name not in shares:
                return None
            weights, mask = self._pruned(layer, seen, shares[name])
            return Dense(weights).masked(mask)

        return stored.with_tensors(LayerByLayer(network, encode).encode_all(inputs))

    def _pruned(self, layer: Layer, inputs: Tensor, sparsity: float) -> tuple[Tensor, Tensor]:
        """The weights of a layer, pruned, and the mask; both in the shape of the layer's weights."""
        grouped, shape = rows_of(layer), layer.weight.shape
        if self.pattern == "2:4":
            pruned, mask = prune_rows(grouped, hessian(layer, inputs), GROUP, keep_two_of_four)
        else:
            share = _Share(grouped.numel(), sparsity)
            pruned, mask = prune_rows(grouped, hessian(layer, inputs), _BLOCK, share)
        return pruned.reshape(shape), mask.reshape(shape)
