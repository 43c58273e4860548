"""The tables of docs/npu.md, from results/reference/npu.csv: what NPUs make of the weights of each method."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from edgepress.levels import Level
from edgepress.reporting.results import read_table

BASELINE = ("nearest_symmetric_channel", "w8a8")
_KEEPS = 0.5  # bits per weight by which a stream may exceed the level and still keep its bits


def tables(folder: Path) -> dict[str, str]:
    """The tables by name, in Markdown; ``folder`` is results/reference."""
    rows = read_table(folder / "npu.csv")
    return {"npus": _costs(rows), "keeps": _verdicts(rows)}


def _costs(rows: pd.DataFrame) -> str:
    """For each network, method and NPU: bits per weight, and stream and cycles as shares of those of 8 bits."""
    compiled = rows[rows.status == "ok"]
    keys = ["network", "seed", "npu"]
    base = compiled[(compiled.method == BASELINE[0]) & (compiled.level == BASELINE[1])].set_index(keys)
    lines = []
    for (network, method, level), cell in compiled.groupby(["network", "method", "level"], sort=False):
        points = cell.drop_duplicates("seed").set_index("seed")
        eight = base[base.index.get_level_values("network") == network].reset_index().drop_duplicates("seed")
        lost = 100 * (eight.set_index("seed").accuracy.loc[points.index] - points.accuracy).mean()
        parts = [str(network), f"`{method}` {level}", f"{cell.seed.nunique()}", f"{lost:.1f}"]
        for npu in dict.fromkeys(compiled.npu):
            here = cell[cell.npu == npu].set_index(keys)
            there = base.loc[here.index]
            stream, cycles = (float((here[name] / there[name]).mean()) for name in ("stream_bytes", "cycles"))
            parts.append(f"{here.stream_bits_per_weight.mean():.2f} bits, {stream:.2f}, {cycles:.2f}")
        lines.append("| " + " | ".join(parts) + " |")
    npus = list(dict.fromkeys(compiled.npu))
    head = ["network", "weights", "seeds", "points lost", *(f"{npu}: stream, share, cycles" for npu in npus)]
    return "\n".join(["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *lines])


def _verdicts(rows: pd.DataFrame) -> str:
    """For each method: what the file, its runtimes and the NPUs make of it, over all networks and seeds."""
    head = "| weights | file | TensorFlow Lite Micro | LiteRT, reference | LiteRT, XNNPACK | Ethos-U by Vela |"
    lines = [head, "|---|---|---|---|---|---|"]
    for (method, level), cell in rows.groupby(["method", "level"], sort=False):
        name = f"`{method}` {level}"
        if (cell.status == "refused").all():
            lines.append(f"| {name} | refused: {cell.reason.iloc[0]} | – | – | – | – |")
            continue
        runs = cell.drop_duplicates(["network", "seed"])
        shares = [_differing(runs, f"differing_{kind}") for kind in ("in_micro", "in_litert", "by_xnnpack")]
        bits = Level.parse(str(level)).bits or 8
        worst = float(cell.stream_bits_per_weight.max())
        stored = "8 bits per weight" if bits == 8 else f"stored wider, 8 bits for {bits}"
        verdict = "keeps its bits" if worst <= bits + _KEEPS else "stored wider"
        lines.append(f"| {name} | {stored} | {' | '.join(shares)} | {verdict}: at most {worst:.1f} bits per weight |")
    return "\n".join(lines)


def _differing(runs: pd.DataFrame, column: str) -> str:
    rows = int(runs[column].sum())
    return "exact" if rows == 0 else f"outputs that differ: {rows} in {int(runs.compared_rows.sum())} rows"
