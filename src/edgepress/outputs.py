"""Adapts networks: they return one tensor of shape (rows, outputs) and compute in float32."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from edgepress.datasets import Prepared
from edgepress.heads import Head, evaluating

_KEYS = (
    "logits",
    "out",
    "output",
    "outputs",
    "prediction",
    "predictions",
)  # preferred keys of a dict in which several tensors fit
_ROWS = 3  # to try a network on
_FAR = 50.0  # here a sigmoid is 0 or 1, a logit far outside


class NetworkError(ValueError):
    """A network does not fit its data set. The message says in one sentence why, and what to do."""


class _OneTensor(nn.Module):
    """Mixin before a network's class: ``forward`` selects one tensor of the network's return value, shaped in rows.

    ``_output_places`` has the key or index of the tensor in evaluation mode and in training, None if only a tensor is
    returned; ``_output_count`` is the number of outputs if the shape is not (rows, outputs). A base class rather than a
    wrapper module, so that the network's tensors keep their names.
    """

    _output_places: tuple[Any, Any]
    _output_count: int | None

    def forward(self, inputs: Tensor) -> Tensor:
        """Shape (rows, …) to (rows, outputs)."""
        found = _at(self._output_places[self.training], super().forward(inputs))
        return found if self._output_count is None else found.reshape(-1, self._output_count)


def with_plain_outputs(network: nn.Module, name: str, data: Prepared) -> nn.Module:
    """Make ``network`` return one tensor of shape (rows, outputs).

    Before, it may return (rows, outputs, 1, 1), (rows,) or, for one row, (outputs,); or a tuple, list or dict in which
    only one tensor fits or has a usual name such as ``logits``; and something else in training. For two classes, a
    single output is a logit. Raises NetworkError if there is no such tensor.
    """
    one, several, training = _returned(network, name, data)
    classes = data.outputs if data.task == "classification" else None
    counts = [2, 1] if classes == 2 else [data.outputs]
    for count in counts:
        try:
            places = (_place(several, count), _place(training, count))
        except NetworkError as error:
            problem = error
            continue
        shapes = [_at(places[0], outputs).shape for outputs in (one, several)]
        in_rows = shapes == [(1, count), (_ROWS, count)]
        if places != (None, None) or not in_rows:
            kind, how = type(network), {"_output_places": places, "_output_count": None if in_rows else count}
            network.__class__ = type(kind.__name__, (_OneTensor, kind), how)
        if classes and count == 1:
            _check_logit(network, name, data)
        elif classes and _is_distribution(_at(places[0], several)):
            print(f"'{name}' returns probabilities, but the loss expects logits; remove the softmax at its end")
        return network
    wanted, needed = f"{classes} classes" if classes else "one target", " or ".join(map(str, counts))
    raise NetworkError(f"'{name}' {problem}, and '{data.name}' has {wanted}; let it return one tensor with {needed} "
                       f"output{'s' * (needed != '1')} per example")  # fmt: skip


def _returned(network: nn.Module, name: str, data: Prepared) -> tuple[Any, Any, Any]:
    """The return values of ``network`` for one example and for ``_ROWS`` in evaluation mode, and for these in training.
    Its buffers and torch's random generator are unchanged afterwards.
    """
    inputs = next(iter(data.inputs.values()))[:1].cpu()
    rows = inputs.expand(_ROWS, *inputs.shape[1:]).contiguous()
    buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]
    try:
        with torch.no_grad(), evaluating(network), torch.random.fork_rng(devices=[]):
            one, several = network(inputs), network(rows)
            training = network.train()(rows)
    except (RuntimeError, TypeError, IndexError, ValueError) as error:
        shape, reason = "×".join(map(str, data.input_shape)), " ".join(str(error).split())[:200]
        raise NetworkError(f"'{name}' does not accept the examples of '{data.name}', whose shape is {shape}: "
                           f"{type(error).__name__}: {reason}") from error  # fmt: skip
    finally:
        for buffer, before in buffers:
            buffer.copy_(before)
    return one, several, training


def _check_logit(network: nn.Module, name: str, data: Prepared) -> None:
    """Raise NetworkError if the single output of ``network`` for two classes is a probability instead of a logit."""
    head = Head.of(network, next(iter(data.inputs.values()))[:1].cpu().repeat(2, *[1] * len(data.input_shape)))
    if head is None:
        return
    found = head.response(torch.tensor([-_FAR, _FAR]))
    if bool(((found >= 0) & (found <= 1)).all()):
        raise NetworkError(f"'{name}' gives one probability for the two classes of '{data.name}'; let it return the "
                           f"logit, without the sigmoid")  # fmt: skip


def _at(place: Any, outputs: Any) -> Tensor:
    found: Tensor = outputs if place is None else outputs[place]
    return found


def _is_distribution(outputs: Tensor) -> bool:
    sums = outputs.reshape(_ROWS, -1).sum(dim=1)
    return bool((outputs >= 0).all()) and torch.allclose(sums, torch.ones_like(sums))


def _place(outputs: Any, count: int) -> Any:
    """The key or index of the tensor with ``count`` numbers per row in ``outputs``; None if ``outputs`` is that tensor.

    Raises NetworkError, whose message begins with what is returned instead.
    """
    if isinstance(outputs, Tensor):
        if not _fits(outputs, count):
            raise NetworkError(f"gives {_counted(outputs)} per example")
        return None
    if not isinstance(outputs, Mapping | tuple | list):
        raise NetworkError(f"returns a {type(outputs).__name__}")
    entries = dict(outputs) if isinstance(outputs, Mapping) else dict(enumerate(outputs))
    fitting = [key for key, value in entries.items() if _fits(value, count)]
    named = [key for key in _KEYS if key in fitting]
    if len(fitting) != 1 and not named:
        given = ", ".join(map(_counted, entries.values()))
        raise NetworkError(f"returns a {type(outputs).__name__} of {given} per example, of which {len(fitting)} fit")
    return named[0] if named else fitting[0]


def _fits(value: Any, count: int) -> bool:
    """Whether ``value`` has ``count`` numbers per row, along one dimension."""
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return False
    return [side for side in value.shape if side != 1] == [side for side in (_ROWS, count) if side != 1]


def _counted(value: Any) -> str:
    if not isinstance(value, Tensor):
        return f"a {type(value).__name__}"
    each = value.shape[1:] if value.dim() and len(value) == _ROWS else value.shape
    return "×".join(map(str, each or (1,))) + (" outputs" if each.numel() != 1 else " output")


def in_single_precision(network: nn.Module) -> nn.Module:
    """Convert ``network`` to float32, in which networks are trained, stored and measured, and print if it was not.
    Its layers then convert inputs of other precisions.
    """
    tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    others = {name: t.dtype for name, t in tensors.items() if t.is_floating_point() and t.dtype != torch.float32}
    if others:
        name, kind = next(iter(others.items()))
        print(f"{len(others)} tensors are not float32, {name} is {kind}; they are trained and stored as float32")
        network.float()
        for module in network.modules():
            if not list(module.children()) and list(module.parameters(recurse=False)):
                module.register_forward_pre_hook(_to_float32)
    return network


def _to_float32(layer: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(each.float() if isinstance(each, Tensor) and each.is_floating_point() else each for each in given)
