"""Loads trained weights from any safetensors file."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from edgepress import tensor_files
from edgepress.files import FileError
from edgepress.graph import NORMS
from edgepress.networks._state import bake, computed_tensors, inference_state, load_inference_state, set_computed

_SHOWN = 3  # names in a message


def load_all_from(network: nn.Module, path: str | Path) -> None:
    """Load all tensors of a trained network from a safetensors file into ``network``, in place, and ``bake`` it.

    A prefix of all names that the network lacks, such as DataParallel's ``module.``, is removed, with a note on stderr.
    The file may hold a parametrized weight itself or the tensors that it is computed from.

    Raises FileError if the file is not safetensors, or its tensors do not match the network or are not finite.
    """
    tensors = tensor_files.load_foreign(path)
    computed = [name for name, *_ in computed_tensors(network)]
    tensors = _without_prefix(path, tensors, {*inference_state(network), *computed})
    if any(name in tensors for name in computed):
        bake(network)
    state = inference_state(network)
    for name in state:
        if name in tensors:
            _check_sound(path, name, tensors[name], network)
            if state[name].shape != tensors[name].shape:
                raise FileError(f"{path}: {name} is {tuple(tensors[name].shape)} but {tuple(state[name].shape)} in the "
                                f"network; name the file of this network")  # fmt: skip
    _check_ties(path, tensors, state)
    try:
        load_inference_state(network, tensors)
    except ValueError as error:
        raise FileError(f"{path}: {error}; name the file of this network") from None
    bake(network)


def begin_from(network: nn.Module, path: str | Path) -> list[str]:
    """Load those tensors of a safetensors file into ``network``, in place, whose name and shape fit.

    An RGB input convolution fits a network for grey images: its kernels are summed over the colours, equivalent to
    three equal channels. Prefixes are removed as in ``load_all_from``. Returns the names of the loaded tensors; others,
    such as a new head, stay as built. Raises FileError if the file is not safetensors, nothing fits, or values are not
    finite.
    """
    tensors = tensor_files.load_foreign(path)
    computed = {name: (module, key, hook) for name, module, key, hook in computed_tensors(network)}
    tensors = _without_prefix(path, tensors, {*inference_state(network), *computed})
    state, loaded = inference_state(network), {}
    for name, tensor in state.items():
        found = tensors.get(name)
        if found is not None and tensor.dim() == 4 and tensor.shape[1] == 1 and found.shape[1] == 3:
            found = found.sum(dim=1, keepdim=True)
        if found is not None and found.shape == tensor.shape:
            _check_sound(path, name, found, network)
            loaded[name] = found
    _check_ties(path, loaded, state)
    filled = {id(state[name]) for name in loaded}
    names = [name for name, tensor in state.items() if id(tensor) in filled]  # all names of a shared parameter
    for name, (module, key, hook) in computed.items():
        if name in tensors and tensors[name].shape == getattr(module, key).shape:
            _check_sound(path, name, tensors[name], network)
            place = name.removesuffix(key)
            names += [f"{place}{changed}" for changed in set_computed(module, key, hook, tensors[name])]
    if not names:
        raise FileError(f"{path} holds no tensor that fits: the network has {', '.join(list(state)[:_SHOWN])}, …, the "
                        f"file {', '.join(list(tensors)[:_SHOWN])}, …; name one of the same network")  # fmt: skip
    network.load_state_dict(loaded, strict=False)
    return names


def _without_prefix(path: str | Path, tensors: dict[str, Tensor], names: set[str]) -> dict[str, Tensor]:
    """The tensors of a file by the names of the network: removes a common prefix if no name fits otherwise."""
    stripped, prefix = tensors, ""
    while not names & stripped.keys():
        heads = {name.partition(".")[0] for name in stripped}
        if len(heads) != 1 or not all("." in name for name in stripped):
            return tensors
        prefix += f"{heads.pop()}."
        stripped = {name.partition(".")[2]: tensor for name, tensor in stripped.items()}
    if prefix:
        print(f"{path}: removed the prefix '{prefix}' of all names to fit the network", file=sys.stderr)
    return stripped


def _check_sound(path: str | Path, name: str, tensor: Tensor, network: nn.Module) -> None:
    """Raise FileError if a tensor of a file has another dtype than that of the network, or is not finite.

    Buffers other than BatchNorm statistics may be infinite, such as attention masks.
    """
    owner, _, key = name.rpartition(".")
    module = network.get_submodule(owner)
    own = getattr(module, key)
    if not own.is_floating_point():
        kept = not tensor.is_floating_point() and torch.equal(tensor.to(own.dtype).to(tensor.dtype), tensor)
        if not kept:
            raise FileError(f"{path}: {name} is {_kind(tensor)} and its values do not fit {_kind(own)}, the "
                            f"network's type; name a file of valid weights")  # fmt: skip
        return
    may_be_infinite = key in module._buffers and not isinstance(module, NORMS)
    unsound = tensor.isnan() if may_be_infinite else ~tensor.isfinite()
    if not tensor.is_floating_point() or unsound.any():
        raise FileError(f"{path}: {name} contains values that are not finite floats; name a file of valid weights")


def _kind(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _check_ties(path: str | Path, tensors: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    """Raise FileError if a tied tensor of the network has two values in the file."""
    first: dict[int, str] = {}
    for name, tensor in state.items():
        if name in tensors:
            other = first.setdefault(id(tensor), name)
            if not torch.equal(tensors[other], tensors[name]):
                raise FileError(f"{path}: {other} and {name} are one tensor in the network but differ in the file; "
                                f"name the file of this network")  # fmt: skip
