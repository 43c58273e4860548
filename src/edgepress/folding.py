"""BatchNorms as part of the layers before them: how a network is shipped, and what is stored of it.

w' = w·γ/√(σ² + ε), b' = (b − μ)·γ/√(σ² + ε) + β, channel by channel (Jacob et al. 2018, arXiv 1712.05877, section 3.2).
"""

from __future__ import annotations

import copy

import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from edgepress.encodings import Dense, Encoding
from edgepress.graph import LAYERS, NORMS, UntraceableError, called, trace
from edgepress.networks import inference_state
from edgepress.packing import Compressed
from edgepress.widths import with_state


def fold_batch_norm(network: nn.Module, input_shape: tuple[int, ...] | None = None) -> nn.Module:
    """A copy of ``network`` in evaluation mode whose BatchNorms are part of the Linear or Conv layers before them.

    An Identity is left in their place. One that follows no layer, or a layer whose output goes elsewhere, too, stays,
    and so do all where the network cannot be traced. ``input_shape``, of one example, tells a BatchNorm over the
    outputs of a Linear layer from one over the places at which it works.
    """
    folded = copy.deepcopy(network).eval()
    for name, norm_name in _pairs(folded, input_shape).items():
        layer, norm = folded.get_submodule(name), folded.get_submodule(norm_name)
        folded.set_submodule(name, _fused(layer, norm))
        folded.set_submodule(norm_name, nn.Identity())
    return folded


def fold_stored(stored: Compressed, network: nn.Module, input_shape: tuple[int, ...] | None = None) -> Compressed:
    """``stored``, a form of ``network``, as one of ``fold_batch_norm(network, input_shape)``: it computes the same.

    Weights keep their codes and get a factor for each channel; of the four vectors of a BatchNorm a bias is left.
    """
    as_stored = with_state(network, stored.state_dict()).eval()
    folded = {name: Dense(t) for name, t in inference_state(fold_batch_norm(as_stored, input_shape)).items()}
    tensors: dict[str, Encoding] = {name: stored.tensors.get(name, tensor) for name, tensor in folded.items()}
    for name, norm in _pairs(as_stored, input_shape).items():
        tensors[f"{name}.weight"] = tensors[f"{name}.weight"].scaled(_factors(as_stored.get_submodule(norm)))
        tensors[f"{name}.bias"] = folded[f"{name}.bias"]
    return Compressed(tensors, stored.activations)


def _factors(norm: nn.Module) -> torch.Tensor:
    """What a BatchNorm multiplies each channel by."""
    assert isinstance(norm, NORMS) and norm.running_var is not None
    factors = (norm.running_var + norm.eps).rsqrt()
    return (factors if norm.weight is None else factors * norm.weight).detach()


def _pairs(network: nn.Module, input_shape: tuple[int, ...] | None) -> dict[str, str]:
    """For each layer that a BatchNorm can become part of, the name of that BatchNorm."""
    try:
        traced = trace(network)
    except UntraceableError:
        return {}
    graph = traced.graph
    if input_shape is not None:
        ShapeProp(traced).propagate(torch.zeros(1, *input_shape))
    used = [node.target for node in graph.nodes if node.op == "call_module"]
    pairs = {}
    for node in graph.nodes:
        norm = called(node, network) if node.op == "call_module" else None
        if not isinstance(norm, NORMS) or norm.running_var is None:
            continue
        before = node.args[0]
        alone = isinstance(before, fx.Node) and before.op == "call_module" and len(before.users) == 1
        if not alone or not isinstance(called(before, network), LAYERS):
            continue
        weight = network.get_parameter(f"{before.target}.weight")
        once = used.count(before.target) == used.count(node.target) == 1
        known = before.meta.get("tensor_meta")
        over_channels = known is None or len(known.shape) == weight.dim()  # or over the places of a Linear layer
        if once and over_channels and len(weight) == norm.num_features:
            pairs[str(before.target)] = str(node.target)
    return pairs


def _fused(layer: nn.Module, norm: nn.Module) -> nn.Module:
    assert isinstance(layer, LAYERS) and isinstance(norm, NORMS)
    return fuse_linear_bn_eval(layer, norm) if isinstance(layer, nn.Linear) else fuse_conv_bn_eval(layer, norm)
