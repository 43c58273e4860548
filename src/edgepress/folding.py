"""Folds BatchNorm into the layer before it, as in deployed networks.

w' = w·γ/√(σ² + ε), b' = (b − μ)·γ/√(σ² + ε) + β, channel by channel (Jacob et al. 2018, arXiv 1712.05877, section 3.2).
"""

from __future__ import annotations

import copy

import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from edgepress.graph import LAYERS, NORMS, UntraceableError, called, trace
from edgepress.methods import in_full_precision
from edgepress.networks import holders
from edgepress.packing import Compressed
from edgepress.widths import with_state


def fold_batch_norm(network: nn.Module, input_shape: tuple[int, ...] | None = None) -> nn.Module:
    """A copy of ``network`` in evaluation mode with BatchNorms folded into the Linear or Conv layers before them.

    Folded BatchNorms become Identity. A BatchNorm stays if no layer precedes it, or if the layer's output or weight is
    also used elsewhere; all stay if the network cannot be traced. ``input_shape``, of one example, distinguishes a
    BatchNorm over the outputs of a Linear layer from one over the positions it is applied to.
    """
    folded = copy.deepcopy(network).eval()
    for name, norm_name in _pairs(folded, input_shape).items():
        layer, norm = folded.get_submodule(name), folded.get_submodule(norm_name)
        _replace(folded, layer, _fused(layer, norm))
        _replace(folded, norm, nn.Identity())
    return folded


def _replace(network: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Replace ``old`` by ``new`` under every name in ``network``."""
    names = [name for name, module in network.named_modules(remove_duplicate=False) if module is old]
    for name in names:
        network.set_submodule(name, new)


def fold_stored(stored: Compressed, network: nn.Module, input_shape: tuple[int, ...] | None = None) -> Compressed:
    """Fold BatchNorm in ``stored``, a compressed ``network``, as ``fold_batch_norm`` does; it computes the same
    function.

    Weights keep their codes and get a factor per channel; a bias remains of the four vectors of a BatchNorm.
    """
    as_stored = with_state(network, stored.state_dict()).eval()
    folded = in_full_precision(fold_batch_norm(as_stored, input_shape))
    tensors = {name: stored.tensors[name] for name in folded.tensors if name in stored.tensors}
    for name, norm in _pairs(as_stored, input_shape).items():
        tensors[f"{name}.weight"] = tensors[f"{name}.weight"].scaled(_factors(as_stored.get_submodule(norm)))
        tensors[f"{name}.bias"] = folded.tensors[f"{name}.bias"]
    return folded.with_tensors(tensors).with_activations(stored.activations)


def _factors(norm: nn.Module) -> torch.Tensor:
    """The factor of a BatchNorm for each channel."""
    assert isinstance(norm, NORMS) and norm.running_var is not None
    factors = (norm.running_var + norm.eps).rsqrt()
    return (factors if norm.weight is None else factors * norm.weight).detach()


def _pairs(network: nn.Module, input_shape: tuple[int, ...] | None) -> dict[str, str]:
    """Foldable pairs: layer name → name of its BatchNorm."""
    try:
        traced = trace(network)
    except UntraceableError:
        return {}
    graph = traced.graph
    if input_shape is not None:
        ShapeProp(traced).propagate(torch.zeros(1, *input_shape))
    used = [node.target for node in graph.nodes if node.op == "call_module"]
    read = {node.target for node in graph.nodes if node.op == "get_attr"}
    pairs = {}
    for node in graph.nodes:
        norm = called(node, network) if node.op == "call_module" else None
        if not isinstance(norm, NORMS) or norm.running_var is None:
            continue
        before = node.args[0]
        alone = isinstance(before, fx.Node) and before.op == "call_module" and len(before.users) == 1
        if not alone or not isinstance(called(before, network), LAYERS):
            continue
        name = f"{before.target}.weight"
        weight = network.get_parameter(name)
        alone = name not in read and len(holders(network, name)) == 1
        once = used.count(before.target) == used.count(node.target) == 1
        known = before.meta.get("tensor_meta")
        over_channels = known is None or len(known.shape) == weight.dim()  # or over the positions of a Linear layer
        if alone and once and over_channels and len(weight) == norm.num_features:
            pairs[str(before.target)] = str(node.target)
    return pairs


def _fused(layer: nn.Module, norm: nn.Module) -> nn.Module:
    assert isinstance(layer, LAYERS) and isinstance(norm, NORMS)
    return fuse_linear_bn_eval(layer, norm) if isinstance(layer, nn.Linear) else fuse_conv_bn_eval(layer, norm)
