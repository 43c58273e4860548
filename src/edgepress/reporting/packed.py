"""Properties of layers, from the packed files of a run."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from math import prod
from pathlib import Path
from typing import Any, cast

import pandas as pd

from edgepress.encodings import Dense, Encoding, Huffman, PerChannel, Quantized, Scaled, Sparse
from edgepress.packing import Compressed

_LEVEL = ["dataset", "network", "method", "level"]
_STEPS = "symmetric"  # the kind of codebook whose values are multiples of a scale


def layer_bits(run_folder: str | Path, metrics: pd.DataFrame) -> pd.DataFrame:
    """The bits per weight of each compressed layer, from the files (draw 0) of the rows of ``metrics``: one row per
    data set, network, seed, method, level and ``layer``, in the order of computation, with its number of ``weights``.
    """
    rows: list[dict[Hashable, Any]] = []
    for place in metrics[[*_LEVEL, "seed"]].drop_duplicates().to_dict("records"):
        for name, encoding in _layers(_load(run_folder, place)):
            layer = name.removesuffix(".weight")
            rows.append(place | {"layer": layer, "weights": prod(encoding.shape), "bits": encoding.bits})
    return pd.DataFrame(rows, columns=[*_LEVEL, "seed", "layer", "weights", "bits"])


def on_steps(run_folder: str | Path, metrics: pd.DataFrame) -> set[tuple[str, ...]]:
    """The data sets, networks, methods and levels of ``metrics`` whose files hold all weights as multiples of a scale,
    in the bits of the level; judged by the first seed.
    """
    return {
        tuple(place[name] for name in _LEVEL)
        for place in metrics.drop_duplicates(_LEVEL).to_dict("records")
        if _path(run_folder, place).exists()
        and (layers := _layers(_load(run_folder, place)))
        and all(_kinds(encoding) == {_STEPS} and encoding.bits == place["bits"] for _, encoding in layers)
    }


def _load(run_folder: str | Path, place: Mapping[Hashable, Any]) -> Compressed:
    return Compressed.load(_path(run_folder, place))


def _path(run_folder: str | Path, place: Mapping[Hashable, Any]) -> Path:
    name = "{dataset}/{network}/seed{seed}/{method}/{level}.safetensors"
    return Path(run_folder) / name.format_map(cast(dict[str, Any], place))


def _layers(stored: Compressed) -> list[tuple[str, Encoding]]:
    """The weights of layers, except dense float32 ones."""
    return [(name, e) for name, e in stored.tensors.items() if not isinstance(e, Dense) and len(e.shape) > 1]


def _kinds(encoding: Encoding) -> set[str]:
    """The kinds of codebooks of a tensor; empty if it has none."""
    while isinstance(encoding, Scaled | Sparse | Huffman):
        encoding = encoding.kept if isinstance(encoding, Sparse) else encoding.coded
    if isinstance(encoding, PerChannel):
        return {codebook.kind for codebook in encoding.codebooks}
    return {encoding.codebook.kind} if isinstance(encoding, Quantized) else set()
