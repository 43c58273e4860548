"""The study's original definitions, faults included, to reproduce its published results (github.com/mohitgulla/Edge).

``edgepress.methods`` is sound; these definitions are faithful: they pool weight and bias of a module in one codebook,
quantize every parameter, keep the codebook of ``normal`` unsorted, prune by rank, and so on. Each detail is the one
that gives the published value, to the last digit where the arithmetic allows it.

A network is a *state*: a dict from name to float32 tensor in the order of ``state_dict`` (``read_state``). A published
loss also depends on the order of the study's evaluations and on the rows of its batches: see ``quantize_order`` and
``evaluation``.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from edgepress import tensor_files
from edgepress.as_published.codebooks import BITS, CODEBOOKS, Randomness, midrise, midrise_iqr, round_state
from edgepress.as_published.multipoint import multipoint
from edgepress.as_published.pruning import SPARSITIES, magnitude

__all__ = ["BITS", "SPARSITIES", "State", "compress", "quantize_order", "read_state"]

State = dict[str, Tensor]
# Rounding to a codebook, by name: how, and the codebook, in the order of the study.
ROUNDINGS = {f"{how}_{codebook}": (how, codebook) for how in ("stochastic", "nearest") for codebook in CODEBOOKS}


def read_state(path: str | Path) -> State:
    """Read a network from safetensors, with tensors in the order of layers, weight before bias.

    The file sorts names, so layer 12 comes before 3, but random draws and the last, unpruned entry depend on the order.
    Names are like ``net.12.weight``; raises ValueError if the second part is not a number.
    """
    tensors = tensor_files.load_foreign(path)

    def place(name: str) -> tuple[int, bool]:
        return int(name.split(".")[1]), name.endswith(".bias")

    return {name: tensors[name] for name in sorted(tensors, key=place)}


def compress(
    state: State,
    method: str,
    bits: int | None = None,
    sparsity: float | None = None,
    generator: Randomness | None = None,
) -> State:
    """Compress ``state`` by ``method``, as the study did, without modifying ``state``.

    ``method`` is fp32; midrise, midrise_iqr, one of ``ROUNDINGS`` or multipoint at ``bits``, then pruned where there is
    a ``sparsity``; or magnitude at ``sparsity``. stochastic_* and multipoint draw from ``generator``.

    Returns the new state with the same names and shapes; values are NaN where the study divided by zero
    (``midrise_iqr``). Raises ValueError if the method does not exist or lacks an argument.
    """
    if method == "magnitude" and sparsity is None:
        raise ValueError("magnitude needs a sparsity")
    if sparsity is not None:
        return magnitude(state if method == "magnitude" else compress(state, method, bits, None, generator), sparsity)
    if method == "fp32":
        return {name: tensor.clone() for name, tensor in state.items()}
    if bits is None:
        raise ValueError(f"{method} needs a number of bits")
    if method in ("midrise", "midrise_iqr"):
        rounding = midrise if method == "midrise" else midrise_iqr
        return {n: rounding(t, bits) if n.endswith((".weight", ".bias")) else t.clone() for n, t in state.items()}
    how, codebook = ROUNDINGS.get(method, ("", ""))
    draws = method == "multipoint" or how == "stochastic"
    if draws and generator is None:
        raise ValueError(f"{method} needs a generator")
    if method == "multipoint" and generator is not None:
        return multipoint(state, bits, generator)
    if not how:
        raise ValueError(f"the study has no method '{method}'")
    return round_state(state, codebook, bits, generator if draws else None)


def quantize_order() -> list[tuple[str, int]]:
    """The 60 (method, bits) in the order in which the study ran them on each network, the simple one first.

    Stochastic methods draw in sequence from one stream, ``numpy.random.RandomState(0)``, after the two draws of the
    split (``data.prepare``). Then every network is evaluated on train and test in the same order
    (``evaluation.Shuffles``), including rows that were not published, such as IQR with prune 20 %.
    """
    return [(method, bits) for method in [*ROUNDINGS, "midrise", "midrise_iqr"] for bits in BITS]
