"""What networks return, made one tensor of shape (rows, outputs), and their numbers float32."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from edgepress.datasets import Prepared
from edgepress.heads import Head, evaluating

_KEYS = ("logits", "out", "output", "outputs", "prediction", "predictions")  # of a dict with several that fit
_ROWS = 3  # that a network is tried on
_FAR = 50.0  # where a sigmoid is 0 or 1, and a logit is far outside


class NetworkError(ValueError):
    """A network that does not do what its data set needs; the message says in one sentence what, and what to do."""


class _OneTensor(nn.Module):
    """In front of a network's class: its ``forward`` returns one tensor of what that returns, in rows.

    ``_output_places`` has the key or index of the tensor in evaluation mode and in training, None where it is returned
    alone; ``_output_count`` the number of outputs where its shape is not (rows, outputs). This is a base class and no
    module around the network, so that the network's tensors keep their names.
    """

    _output_places: tuple[Any, Any]
    _output_count: int | None

    def forward(self, inputs: Tensor) -> Tensor:
        """Shape (rows, …) to (rows, outputs)."""
        found = _at(self._output_places[self.training], super().forward(inputs))
        return found if self._output_count is None else found.reshape(-1, self._output_count)


def with_plain_outputs(network: nn.Module, name: str, data: Prepared) -> nn.Module:
    """``network``, which then returns one tensor of shape (rows, outputs), whatever it returned before.

    That may be (rows, outputs, 1, 1), (rows,) or, of one row, (outputs,); or a tuple, list or dict of which one tensor
    fits alone, or has a usual name such as ``logits``; and another of these in training. For two classes, one output is
    a logit. Raises NetworkError where there is no such tensor.
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
            print(f"'{name}' returns probabilities, which its loss takes for logits; leave out the softmax at its end")
        return network
    wanted, needed = f"{classes} classes" if classes else "one target", " or ".join(map(str, counts))
    raise NetworkError(f"'{name}' {problem}, and '{data.name}' has {wanted}; let it return one tensor with {needed} "
                       f"output{'s' * (needed != '1')} an example")  # fmt: skip


def _returned(network: nn.Module, name: str, data: Prepared) -> tuple[Any, Any, Any]:
    """What ``network`` returns of one example and of ``_ROWS`` in evaluation mode, and of these in training, which
    leaves no trace in its buffers, nor in torch's generator.
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
        raise NetworkError(f"'{name}' does not take the examples of '{data.name}', whose shape is {shape}: "
                           f"{type(error).__name__}: {reason}") from error  # fmt: skip
    finally:
        for buffer, before in buffers:
            buffer.copy_(before)
    return one, several, training


def _check_logit(network: nn.Module, name: str, data: Prepared) -> None:
    """Raise NetworkError where the one output of ``network`` for two classes is a probability and no logit."""
    head = Head.of(network, next(iter(data.inputs.values()))[:1].cpu().repeat(2, *[1] * len(data.input_shape)))
    if head is None:
        return
    found = head.response(torch.tensor([-_FAR, _FAR]))
    if bool(((found >= 0) & (found <= 1)).all()):
        raise NetworkError(f"'{name}' gives one probability for the two classes of '{data.name}'; let it return the "
                           f"logit, without the sigmoid at its end")  # fmt: skip


def _at(place: Any, outputs: Any) -> Tensor:
    found: Tensor = outputs if place is None else outputs[place]
    return found


def _is_distribution(outputs: Tensor) -> bool:
    sums = outputs.reshape(_ROWS, -1).sum(dim=1)
    return bool((outputs >= 0).all()) and torch.allclose(sums, torch.ones_like(sums))


def _place(outputs: Any, count: int) -> Any:
    """The key or index at which ``outputs`` holds a tensor of ``count`` numbers a row; None where it is that itself.

    Raises NetworkError, whose message begins with what is returned instead.
    """
    if isinstance(outputs, Tensor):
        if not _fits(outputs, count):
            raise NetworkError(f"gives {_counted(outputs)} an example")
        return None
    if not isinstance(outputs, Mapping | tuple | list):
        raise NetworkError(f"returns a {type(outputs).__name__}")
    entries = dict(outputs) if isinstance(outputs, Mapping) else dict(enumerate(outputs))
    fitting = [key for key, value in entries.items() if _fits(value, count)]
    named = [key for key in _KEYS if key in fitting]
    if len(fitting) != 1 and not named:
        given = ", ".join(map(_counted, entries.values()))
        raise NetworkError(f"returns a {type(outputs).__name__} of {given} an example, of which {len(fitting)} fit")
    return named[0] if named else fitting[0]


def _fits(value: Any, count: int) -> bool:
    """Whether ``value`` holds ``count`` numbers a row, along one dimension."""
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return False
    return [side for side in value.shape if side != 1] == [side for side in (_ROWS, count) if side != 1]


def _counted(value: Any) -> str:
    if not isinstance(value, Tensor):
        return f"a {type(value).__name__}"
    each = value.shape[1:] if value.dim() and len(value) == _ROWS else value.shape
    return "×".join(map(str, each or (1,))) + (" outputs" if each.numel() != 1 else " output")


def in_single_precision(network: nn.Module) -> nn.Module:
    """``network`` with all its numbers in float32, which is what is trained, stored and measured; says so where it had
    others. Its layers then take what comes in other precision as float32.
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
