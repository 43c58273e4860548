"""Computes the tables of results/reference/README.md from the CSVs in that folder, for ``edgepress.documents``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from edgepress.reporting.results import quality_of, read_table, t_interval

SMALL, LARGE = ("resnet8", "ds_cnn"), ("cnn", "resnet9")
# Rows of the tables: method and level, and the label.
_SMALL_ROWS = {
    ("gptq", "w8"): "w8, `gptq`",
    ("gptq", "w4"): "w4, `gptq`",
    ("gptq_compact", "w4"): "w4, `gptq_compact`",
    ("multipoint_fixed", "w4"): "w4, `multipoint_fixed` (two vectors)",
    ("gptq_equalized", "w8a8"): "w8a8, `[activations_equalized, gptq]`",
    ("gptq_equalized", "w4a4"): "w4a4, `[activations_equalized, gptq]`",
    ("gptq_activations", "w4a4"): "w4a4, `[activations_mse, gptq]`",
    ("adaround_activations", "w4a4"): "w4a4, `[activations_mse, adaround]`",
    ("round_activations", "w4a4"): "w4a4, `[activations_mse, nearest_symmetric_channel]`",
    ("multipoint", "w2"): "w2, `multipoint`",
    ("lsq_channel", "w2"): "w2, `lsq_channel`",
    ("lsq", "w2"): "w2, `lsq`",
    ("qat_nearest_uniform_iqr", "w2"): "w2, `qat_nearest_uniform_iqr`",
    ("nearest_uniform", "w8"): "w8, `nearest_uniform`, one scale per layer",
    ("stochastic_uniform", "w8"): "w8, `stochastic_uniform`, one scale per layer",
}
_LARGE_ROWS = {
    ("gptq", "w8"): "w8, `gptq`",
    ("gptq", "w4"): "w4, `gptq`",
    ("gptq_compact", "w4"): "w4, `gptq_compact`",
    ("nearest_uniform", "w4"): "w4, `nearest_uniform`, one codebook per layer",
    ("nearest_uniform_channel", "w4"): "w4, `nearest_uniform_channel`",
    ("gptq_activations", "w8a8"): "w8a8, `[activations_mse, gptq]`",
    ("gptq_activations", "w4a4"): "w4a4, `[activations_mse, gptq]`",
    ("magnitude", "s50"): "50 % sparsity, `magnitude`",
    ("obs_global", "s50"): "50 % sparsity, `obs_global`",
    ("magnitude", "s80"): "80 % sparsity, `magnitude`",
    ("obs_global", "s80"): "80 % sparsity, `obs_global`",
}
# At w4a4, ours and Brevitas's.
_EQUAL_TERMS = {
    "nearest rounding, adds in 4 bits": ("round_adds", "brevitas"),
    "GPTQ, adds in 8 bits": ("gptq_activations", "brevitas_gptq"),
    "the best of each": ("gptq_equalized", "brevitas_gptq"),
}
Rows = Mapping[tuple[str, str], str]


def tables(folder: Path) -> dict[str, str]:
    """The tables by name, in Markdown; ``folder`` is results/reference."""
    study = {name: read_table(folder / "study" / name / "metrics.csv.gz") for name in ("fashion_mnist", "tabular")}
    images = study["fashion_mnist"]
    images = images[(images.split == "test") & (images.status == "ok")]
    peers = read_table(folder / "study" / "fashion_mnist" / "peers.csv")
    peers = peers[(peers.split == "test") & (peers.status == "ok")]
    return {
        "rows": _markdown(["folder", "rows of metrics", "without result"], map(_count, study, study.values())),
        "small networks": _changes(images, SMALL, _SMALL_ROWS),
        "large networks": _changes(images, LARGE, _LARGE_ROWS),
        "seeds": _seeds(images, [("nearest_uniform", "w8"), ("stochastic_uniform", "w8")]),
        "equal terms": _equal_terms(peers[peers.level == "w4a4"].set_index(["network", "method"]).accuracy),
        "peers": _peers(peers),
        "tabular": _full_precision(study["tabular"]),
    }


def _markdown(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    header = list(header)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [header, ["---"] * len(header), *rows])


def _count(name: str, rows: pd.DataFrame) -> list[str]:
    left = rows[rows.status != "ok"]
    reasons = (
        f"{len(group)} {status}: {reason} ({', '.join(f'`{method}`' for method in sorted(set(group.method)))})"
        for (status, reason), group in left.groupby(["status", "reason"])
    )
    return [f"`study/{name}/`", f"{len(rows):,}", "; ".join(reasons) or "none"]


def _changes(rows: pd.DataFrame, networks: Iterable[str], wanted: Rows) -> str:
    """Change of test accuracy in percentage points, seed by seed, with the interval of the mean."""
    whole = rows[rows.method == "fp32"].set_index(["network", "seed"])
    first = ["full precision"]
    for network in networks:
        accuracy = whole.loc[network].accuracy
        first.append(
            f"{_share(accuracy.mean())}{_interval(accuracy, 4)}, {int(whole.loc[network].bytes.mean()):,} bytes"
        )
    lines = [first]
    for (method, level), title in wanted.items():
        cells = [title]
        for network in networks:
            found = rows[(rows.network == network) & (rows.method == method) & (rows.level == level)]
            found = found.groupby("seed")[["accuracy", "compression_ratio"]].mean()
            change = 100 * (found.accuracy - whole.loc[network].accuracy.loc[found.index])
            ratio = found.compression_ratio.mean()
            cells.append(f"{_signed(change.mean())}{_interval(change, 2)}, {ratio:.1f} times" if len(found) else "")
        lines.append(cells)
    return _markdown(["", *(f"`{network}`" for network in networks)], lines)


def _seeds(rows: pd.DataFrame, wanted: Iterable[tuple[str, str]]) -> str:
    lines = []
    for method, level in wanted:
        for network in SMALL:
            found = rows[(rows.network == network) & (rows.method == method) & (rows.level == level)]
            each = found.groupby("seed").accuracy.mean()
            lines.append([f"`{network}`", f"`{method}`", level, *map(_share, each), _share(each.mean())])
    return _markdown(["network", "method", "level", "seed 0", "seed 1", "seed 2", "mean"], lines)


def _equal_terms(accuracy: pd.Series) -> str:
    lines = []
    for terms, (ours, theirs) in _EQUAL_TERMS.items():
        for network in SMALL:
            pair = accuracy[network, ours], accuracy[network, theirs]
            cells = (f"`{name}` {_share(value)}" for name, value in zip((ours, theirs), pair, strict=True))
            lines.append([terms, f"`{network}`", *cells, _signed(100 * (pair[0] - pair[1]))])
    return _markdown(["w4a4", "network", "ours", "Brevitas", "percentage points"], lines)


def _peers(rows: pd.DataFrame) -> str:
    header = ["network", "level", "method", "accuracy", "bits of adds", "bytes", "tensor bytes", "million BOPs"]
    levels = ["w32", "w8a8", "w8", "w4a8", "w4", "w4a4", "s50"]
    places = [(network, level) for network in SMALL for level in levels]
    shown: list[dict[Any, Any]] = [row for row in rows.to_dict("records") if (row["network"], row["level"]) in places]
    shown.sort(key=lambda row: places.index((row["network"], row["level"])))
    lines = [
        [
            *(f"`{row['network']}`", row["level"], f"`{row['method']}`", _share(row["accuracy"])),
            "" if pd.isna(row["add_bits"]) else f"{row['add_bits']:.0f}",
            *(f"{row['bytes']:,.0f}", f"{row['tensor_bytes']:,.0f}", f"{row['bops'] / 1e6:,.0f}"),
        ]
        for row in shown
    ]
    return _markdown(header, lines)


def _full_precision(rows: pd.DataFrame) -> str:
    lines = []
    whole = rows[(rows.method == "fp32") & (rows.split == "test")]
    for place, found in whole.groupby(["dataset", "network"], sort=False):
        dataset, network = map(str, place)
        quality = quality_of(found)
        mean = quality.mean(found[quality.column])
        lines.append([dataset, f"`{network}`", quality.label, f"{mean:,.4g}"])
    return _markdown(["data set", "network", "measure", "mean of three seeds"], lines)


def _share(value: float) -> str:
    return f"{value:.4f}".removeprefix("0")


def _signed(value: float, digits: int = 2) -> str:
    text = f"{value:+.{digits}f}"
    return "0" if float(text) == 0 else text.replace("-", "−")


def _interval(values: pd.Series, digits: int) -> str:
    """The 95 % interval in brackets; empty for a single value."""
    if len(values) < 2:
        return ""
    ends = t_interval(values)
    shown = [f"{end:.4f}".removeprefix("0") if digits == 4 else _signed(end, digits) for end in ends]
    return f" [{', '.join(shown)}]"
