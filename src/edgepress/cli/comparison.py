"""Comparison of two runs: ``compare``."""

from __future__ import annotations

import argparse
from pathlib import Path

from edgepress.cli import Commands, UserError, add, plainly, write

_EXAMPLES = """\
A and B are folders results/<run>, or metrics.csv files. Cells are compared seed by seed if both
have the same seeds. The exit code is 1 if a cell is missing, lost or gained its result; if
accuracy changed by 20 percentage points, R² by 0.2 or an error by a factor of 2 on any seed; or
if more differs than chance explains. One of twenty 95 % intervals excludes 0 by chance, so
a few smaller differences alone do not count (false discovery rate of 5 %).

examples:
  edgepress compare results/before results/after
  edgepress compare results/before results/after --split val --html changes.html"""

_MOST_LINES = 40


def add_to(commands: Commands) -> None:
    """Add the commands of this module."""
    compare = add(commands, "compare", "show which cells of two runs differ beyond noise", _EXAMPLES)
    compare.add_argument("before", metavar="A", help="a run")
    compare.add_argument("after", metavar="B", help="another run")
    compare.add_argument("--split", choices=("train", "val", "test"), default="test", help="(default: test)")
    compare.add_argument("--all", action="store_true", help=f"show all changed cells, not the first {_MOST_LINES}")
    compare.add_argument("--html", metavar="FILE", help="also write a page")
    compare.set_defaults(run=_compare)


def _compare(asked: argparse.Namespace) -> int:
    before, after = _metrics(asked.before), _metrics(asked.after)
    from tabulate import tabulate

    from edgepress.reporting import comparison

    with plainly(ValueError):
        compared = comparison.compare(before, after, asked.split)
    table = comparison.readable(compared)
    lines = table if asked.all else table.head(_MOST_LINES)
    if len(lines):
        print(tabulate(lines.to_dict("list"), headers="keys", disable_numparse=True), end="\n\n")
    if len(lines) < len(table):
        print(f"… and {len(table) - len(lines):,} more; --all shows them, --html writes a page\n")
    print("\n".join(comparison.sentences(compared)))
    if asked.html:
        write(asked.html, comparison.page(compared))
        print(f"Wrote {asked.html}")
    return int(compared.beyond_noise)


def _metrics(run: str) -> Path:
    """The metrics of a run, possibly gzipped, as in results/reference."""
    names = ("metrics.csv", "metrics.csv.gz")
    paths = [Path(run, name) for name in names] if Path(run).is_dir() else [Path(run)]
    for path in paths:
        if path.is_file():
            return path
    raise UserError(f"{paths[0]} does not exist; name a folder results/<run>, or a metrics.csv")
