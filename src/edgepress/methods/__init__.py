"""Methods of compression: one file a family.

A method module declares ``METHODS`` (see ``edgepress.registry``) and a frozen dataclass whose fields are the method's
settings. The quantizers themselves work on plain tensors and need nothing else of edgepress::

    from edgepress.codebooks import uniform
    from edgepress.methods.rounding import nearest

    codebook = uniform(weights, bits=4)
    codes = nearest(codebook, weights)
    approximation = codebook.decode(codes)
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from edgepress import registry
from edgepress.checkpoints import Checkpoints
from edgepress.datasets import Prepared, sample
from edgepress.encodings import Dense, Exact, as_it_is
from edgepress.levels import Level
from edgepress.networks import inference_state
from edgepress.packing import Compressed
from edgepress.training import Training

CALIBRATION_ROWS = 512  # of the training data, for every method and peer


class Method(ABC):
    """A named way to compress a trained network."""

    def skip(self, network: nn.Module, data: Prepared, level: Level) -> str | None:
        """Say in a few words why the level does not apply to this network, or None where it does."""
        return None

    @abstractmethod
    def apply(
        self, stored: Compressed, network: nn.Module, data: Prepared, level: Level, generator: torch.Generator
    ) -> Compressed:
        """Compress what is stored further, to ``level``.

        ``stored`` holds every tensor of the network, all of them dense unless an earlier step of a chain compressed
        some; ``network``, on the CPU, has the same values and activations, and is left as it is. ``data`` holds the
        train and val splits alone: a method never sees test data. Every random number comes from ``generator``. What
        is returned may have fewer channels: layers are as wide as their tensors (``edgepress.widths.with_state``).
        """

    def compress(self, network: nn.Module, data: Prepared, level: Level, generator: torch.Generator) -> Compressed:
        """Compress ``network`` to ``level``: ``apply`` to its tensors in full precision."""
        return compress([self], network, data, level, generator)


def compress(
    steps: Sequence[Method],
    network: nn.Module,
    data: Prepared,
    level: Level,
    generator: torch.Generator,
    stored: Compressed | None = None,
) -> Compressed:
    """Compress ``network`` by a chain of methods, each applied to what the one before it stores.

    ``stored`` is what methods before them have made of it, if any have.
    """
    for step in steps:
        so_far = network if stored is None else stored.rebuild(network)
        before = stored or in_full_precision(network)
        stored = _stored_once(step.apply(before, so_far, data, level, generator), before, network)
    return stored or in_full_precision(network)


def _stored_once(after: Compressed, before: Compressed, network: nn.Module) -> Compressed:
    """``after`` with one encoding, one that is new, for all names of a tensor of ``network``: a method may not know
    that they belong together.
    """
    names: dict[int, list[str]] = {}
    for name, tensor in inference_state(network).items():
        if name in after.tensors:
            names.setdefault(id(tensor), []).append(name)
    one = dict(after.tensors)
    for shared in names.values():
        changed = [name for name in shared if one[name] is not before.tensors.get(name)]
        one |= dict.fromkeys(shared, one[(changed or shared)[0]])
    return Compressed(one, after.activations)


def in_full_precision(network: nn.Module) -> Compressed:
    """Every tensor of ``network`` as it is."""
    state = inference_state(network)
    encoded = {id(tensor): as_it_is(tensor) for tensor in state.values()}
    return Compressed({name: encoded[id(tensor)] for name, tensor in state.items()})


def must_come_first(stored: Compressed, what: str) -> None:
    """Raise ValueError where an earlier step of a chain has compressed a tensor, which ``what`` cannot follow."""
    if not all(isinstance(encoding, Dense | Exact) for encoding in stored.tensors.values()):
        raise ValueError(f"{what} must come before others that compress weights")


def calibration_inputs(data: Prepared) -> Tensor:
    """The inputs that every method and every peer calibrates on: the same ``CALIBRATION_ROWS`` rows of the training
    data, drawn at random, without labels; all of them where there are fewer.
    """
    return sample(data.inputs["train"], CALIBRATION_ROWS)


def create(name: str, retraining: Training | None = None, checkpoints: Checkpoints | None = None) -> Method:
    """The method called ``name``, ready to use; one that trains again takes ``retraining`` and ``checkpoints``.

    Raises ValueError where it needs that and has none.
    """
    entry = registry.methods()[name]
    made = entry.load()
    takes = inspect.signature(made).parameters
    settings = {**entry.args, **{key: value for key, value in entry.settings.items() if key in takes}}
    if entry.retrains:
        if retraining is None:
            raise ValueError(f"'{name}' fine-tunes the network; say how")
        settings |= {"training": retraining, "checkpoints": checkpoints}
    method: Method = made(**settings)
    return method
