"""What networks return, made one tensor of shape (rows, outputs), and their numbers float32."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from edgepress.datasets import Prepared
from edgepress.heads import Head, evaluating

_KEYS = ("logits", "out", "output", "outputs", "prediction", "predictions")  # of a dict with several that fit
_FAR = 50.0  # where a sigmoid is 0 or 1, and a logit is far outside


class NetworkError(ValueError):
    """A network that does not do what its data set needs; the message says in one sentence what, and what to do."""


class _OneTensor(nn.Module):
    """In front of a network's class: its ``forward`` returns the tensor at ``place`` as (rows, ``count``).

    A class and no module around it, so that the network's tensors keep their names.
    """

    place: Any = None
    count: int

    def forward(self, inputs: Tensor) -> Tensor:
        """Shape (rows, …) to (rows, count)."""
        outputs = super().forward(inputs)
        place = _place(outputs, len(inputs), self.count) if self.training else self.place
        found: Tensor = outputs if place is None else outputs[place]
        return found.reshape(-1, self.count)


def with_plain_outputs(network: nn.Module, name: str, data: Prepared) -> nn.Module:
    """``network``, which then returns one tensor of shape (rows, outputs), whatever it returned before.

    That may be (rows, outputs, 1, 1), (rows,) or, of one row, (outputs,); or a tuple, list or dict of which one tensor
    fits alone, or has a usual name such as ``logits``. For two classes, one output is a logit. Raises NetworkError
    where no such tensor is there, in evaluation mode; what is returned in training is looked at as it comes.
    """
    inputs = next(iter(data.inputs.values()))[:1].cpu()
    rows = inputs.expand(3, *inputs.shape[1:]).contiguous()
    try:
        with torch.no_grad(), evaluating(network):
            one, outputs = network(inputs), network(rows)
    except (RuntimeError, TypeError, IndexError, ValueError) as error:
        shape, reason = "×".join(map(str, data.input_shape)), " ".join(str(error).split())[:200]
        raise NetworkError(f"'{name}' does not take the examples of '{data.name}', whose shape is {shape}: "
                           f"{type(error).__name__}: {reason}") from error  # fmt: skip
    classification = data.task == "classification"
    counts = [data.outputs, 1] if classification and data.outputs == 2 else [data.outputs]
    for count in counts:
        try:
            place = _place(outputs, len(rows), count)
        except NetworkError as error:
            problem = error
            continue
        if classification and count == 1:
            _check_logit(network, name, data)
        if place is None and (outputs.shape, one.shape) == ((len(rows), count), (1, count)):
            return network
        kind = type(network)
        network.__class__ = type(kind.__name__, (_OneTensor, kind), {"place": place, "count": count})
        return network
    needed = " or ".join(map(str, counts))
    what = f"{data.outputs} classes" if classification else "one target"
    raise NetworkError(f"'{name}' {problem}, and '{data.name}' has {what}; let it return one tensor with "
                       f"{needed} output{'s' * (needed != '1')} an example") from None  # fmt: skip


def _check_logit(network: nn.Module, name: str, data: Prepared) -> None:
    """Raise NetworkError where the one output of ``network`` for two classes is a probability and no logit."""
    head = Head.of(network, next(iter(data.inputs.values()))[:1].cpu().repeat(2, *[1] * len(data.input_shape)))
    if head is None:
        return
    found = head.response(torch.tensor([-_FAR, _FAR]))
    if bool(((found >= 0) & (found <= 1)).all()):
        raise NetworkError(f"'{name}' gives one probability for the two classes of '{data.name}'; let it return the "
                           f"logit, without the sigmoid at its end")  # fmt: skip


def _place(outputs: Any, rows: int, count: int) -> Any:
    """The key or index at which ``outputs`` holds a tensor of ``count`` numbers a row; None where it is that itself.

    Raises NetworkError, whose message begins with what is returned instead.
    """
    if isinstance(outputs, Tensor):
        if not _fits(outputs, rows, count):
            raise NetworkError(f"gives {_counted(outputs, rows)} an example")
        return None
    if not isinstance(outputs, Mapping | tuple | list):
        raise NetworkError(f"returns a {type(outputs).__name__}")
    entries = dict(_entries(outputs))
    fitting = [key for key, value in entries.items() if _fits(value, rows, count)]
    named = [key for key in _KEYS if key in fitting]
    if len(fitting) != 1 and not named:
        given = ", ".join(_counted(value, rows) for value in entries.values())
        raise NetworkError(f"returns a {type(outputs).__name__} of {given} an example, of which {len(fitting)} fit")
    return named[0] if named else fitting[0]


def _entries(outputs: Mapping[Any, Any] | tuple[Any, ...] | list[Any]) -> Iterator[tuple[Any, Any]]:
    yield from outputs.items() if isinstance(outputs, Mapping) else enumerate(outputs)


def _fits(value: Any, rows: int, count: int) -> bool:
    """Whether ``value`` holds ``count`` numbers a row, along one dimension."""
    if not isinstance(value, Tensor) or not value.is_floating_point() or value.numel() != rows * count:
        return False
    sides = [side for side in value.shape if side != 1]
    return sides == [side for side in (rows, count) if side != 1]


def _counted(value: Any, rows: int) -> str:
    if not isinstance(value, Tensor):
        return f"a {type(value).__name__}"
    each = value.shape[1:] if value.dim() and len(value) == rows else value.shape
    return "×".join(map(str, each or (1,))) + (" outputs" if each.numel() != 1 else " output")


def in_single_precision(network: nn.Module) -> nn.Module:
    """``network`` with all its numbers in float32, which is what is trained, stored and measured; says so where it had
    others. Its layers then take what comes in other precision as float32.
    """
    tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    others = [name for name, tensor in tensors.items() if tensor.is_floating_point() and tensor.dtype != torch.float32]
    if others:
        print(
            f"{len(others)} tensors are not float32 ({others[0]} is {tensors[others[0]].dtype}); all are taken as such"
        )
        network.float()
        for module in network.modules():
            if not list(module.children()) and list(module.parameters(recurse=False)):
                module.register_forward_pre_hook(_to_float32)
    return network


def _to_float32(layer: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(each.float() if isinstance(each, Tensor) and each.is_floating_point() else each for each in given)
