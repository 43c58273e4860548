"""The data sets, networks and methods that exist, known without importing torch.

A plugin is one file. It declares what it offers in a literal at its top level — ``DATASETS``, ``NETWORKS`` or
``METHODS``, a dict from name to description — and that literal is read from the source text, never executed. So the
Snakefile, the config check and the command line know every name in milliseconds; the module itself is imported only
by the job that uses it.
"""

from __future__ import annotations

import ast
import difflib
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

PACKAGE = Path(__file__).parent
_LISTED = 25  # names in a sentence


@dataclass(frozen=True)
class Entry:
    """What every plugin declares: a name, the object behind it, and one line about it."""

    name: str
    module: str
    object: str
    about: str
    args: Mapping[str, Any] = field(default_factory=dict, kw_only=True)

    def load(self) -> Any:
        """Import the object that the entry names; this is where torch gets imported."""
        return getattr(importlib.import_module(self.module), self.object)


@dataclass(frozen=True)
class DatasetEntry(Entry):
    """A data set: its task and what an example looks like."""

    task: Literal["classification", "regression"] = field(kw_only=True)
    input: Literal["table", "image"] = field(kw_only=True)


@dataclass(frozen=True)
class NetworkEntry(Entry):
    """A network family at given arguments, and the inputs it takes."""

    inputs: list[str] = field(kw_only=True)


@dataclass(frozen=True)
class MethodEntry(Entry):
    """A way to compress. Methods of one family share a job; ``sweep`` names the config list of their levels.

    One that ``retrains`` trains the network again, with labels: a job a level, and no fair comparison with methods
    that do not.
    """

    family: str = field(kw_only=True)
    sweep: Literal["bits", "act_bits", "sparsity"] = field(kw_only=True)
    stochastic: bool = field(default=False, kw_only=True)
    retrains: bool = field(default=False, kw_only=True)


def _declared(path: Path, variable: str) -> dict[str, dict[str, Any]]:
    """Return the literal assigned to ``variable`` at the top level of a source file, or {}."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if [getattr(target, "id", None) for target in targets] == [variable]:
            try:
                return ast.literal_eval(node.value)
            except ValueError as error:
                raise ValueError(f"{path}: {variable} must be a plain literal, it is read, not run") from error
    return {}


def _discover(folder: str, variable: str, entry_type: type[Entry]) -> dict[str, Any]:
    entries: dict[str, Any] = {}
    for path in sorted((PACKAGE / folder).glob("*.py")):
        for name, description in _declared(path, variable).items():
            if name in entries:
                raise ValueError(f"{path}: '{name}' is already declared in {entries[name].module}")
            module = f"{__package__}.{folder}.{path.stem}"
            try:
                entries[name] = entry_type(name=name, module=module, **description)
            except TypeError as error:
                raise ValueError(f"{path}: {variable}['{name}']: {error}") from error
    return entries


@cache
def datasets() -> dict[str, DatasetEntry]:
    """Every data set, by name."""
    return _discover("datasets", "DATASETS", DatasetEntry)


@cache
def networks() -> dict[str, NetworkEntry]:
    """Every network, by name."""
    return _discover("networks", "NETWORKS", NetworkEntry)


@cache
def methods() -> dict[str, MethodEntry]:
    """Every method of compression, by name. Full precision, ``fp32``, is the baseline and not among them."""
    return _discover("methods", "METHODS", MethodEntry)


def family(steps: Sequence[str]) -> str:
    """The family of a chain of methods: that of its only step, or all of them in order."""
    return "_then_".join(dict.fromkeys(methods()[step].family for step in steps))


def unknown(kind: str, name: str, known: Mapping[str, Any]) -> str:
    """One sentence that says that a name is unknown, with the nearest known one, or the list where it is short."""
    near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.5)
    names = sorted(known)
    if len(names) > _LISTED:
        names = [*names[:_LISTED], f"and {len(names) - _LISTED} more, which README.md tells"]
    hint = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(names)}."
    return f"there is no {kind} {name!r}; {hint}"
