"""The data sets, networks, methods, peers and targets that exist, known without importing torch.

A plugin is one file. It declares what it offers in a literal at its top level — ``DATASETS``, ``NETWORKS``,
``METHODS``, ``PEERS`` or ``TARGETS``, a dict from name to description — and that literal is read from the source text,
never executed. So the Snakefile, the config check and the command line know every name in milliseconds; the module
itself is imported only by the job that uses it.

To these come the user's own (``edgepress.own``): the same entries, which name a file or module outside of edgepress.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

PACKAGE = Path(__file__).parent
PEER = "peer"  # the family of all peers
_LISTED = 25  # names in a sentence


@dataclass(frozen=True)
class Entry:
    """What every plugin declares: a name, the object behind it, and one line about it.

    ``module`` is a module, or the path of a file of the user's.
    """

    name: str
    module: str
    object: str
    about: str
    args: Mapping[str, Any] = field(default_factory=dict, kw_only=True)

    def load(self) -> Any:
        """Import the object that the entry names; this is where torch gets imported.

        Modules of the user's are looked for in the working directory, too. Raises ValueError where there is none.
        """
        module = _import(self.module)
        if not hasattr(module, self.object):
            raise ValueError(f"{self.module} has no '{self.object}', which '{self.name}' is to be")
        return getattr(module, self.object)


@dataclass(frozen=True)
class DatasetEntry(Entry):
    """A data set: its task, what an example looks like, and the user's files or folders that it is made of."""

    task: Literal["classification", "regression"] = field(kw_only=True)
    input: Literal["table", "image"] = field(kw_only=True)
    files: Sequence[str] = field(default=(), kw_only=True)


@dataclass(frozen=True)
class NetworkEntry(Entry):
    """A network family at given arguments, and the inputs it takes."""

    inputs: list[str] = field(kw_only=True)


@dataclass(frozen=True)
class MethodEntry(Entry):
    """A way to compress. Methods of one family share a job; ``sweep`` names the config list, or lists, of their levels.
    One that has none (``sweep`` is empty) has the one ``level``, or is a step of chains whose other steps have levels.

    One that ``retrains`` trains the network again, with labels: a job a level, and no fair comparison with methods
    that do not. It gets the network as it was trained or, ``folded``, as it is shipped. It must be the ``first`` step
    of a chain, and so must others that change the weights they keep. One without training may look at ``examples`` of
    the training data, never at their labels.

    One that rounds weights to a codebook names it in ``args``, as ``codebook``. It rounds to the nearest level, with
    ``stochastic`` in ``args`` to either neighbour by chance, or as ``rounding`` says; the report compares by that.
    """

    family: str = field(kw_only=True)
    sweep: Literal["", "bits", "act_bits", "sparsity", "bits+act_bits", "bits+sparsity"] = field(kw_only=True)
    level: str = field(default="", kw_only=True)
    stochastic: bool = field(default=False, kw_only=True)
    rounding: Literal["", "dithered"] = field(default="", kw_only=True)
    examples: bool = field(default=False, kw_only=True)
    retrains: bool = field(default=False, kw_only=True)
    folded: bool = field(default=False, kw_only=True)
    first: bool = field(default=False, kw_only=True)

    @property
    def sweeps(self) -> list[str]:
        """The config lists whose values, in every combination, are its levels."""
        return list(filter(None, self.sweep.split("+")))


@dataclass(frozen=True)
class ExternalEntry(Entry):
    """A plugin that needs ``packages``, by their import names; ``install`` is the command that installs them."""

    packages: Sequence[str] = field(kw_only=True)
    install: str = field(default="", kw_only=True)

    @property
    def missing(self) -> list[str]:
        """The packages that are not installed."""
        return [package for package in self.packages if importlib.util.find_spec(package) is None]

    @property
    def why_missing(self) -> str:
        """One line: the packages that are not installed, and the command that installs them."""
        return f"{', '.join(self.missing)} missing: {self.install or 'pip install ' + ' '.join(self.missing)}"


@dataclass(frozen=True)
class PeerEntry(ExternalEntry):
    """Another library that compresses networks, each at ``levels`` of its own. ``runtime`` is the package that computes
    its files, if one does.
    """

    levels: Sequence[str] = field(kw_only=True)
    # brevitas asks for an older setuptools than torch does, but does not use it: --no-deps installs the lock as it is.
    install: str = field(default="pip install --no-deps --requirement envs/requirements-peers.lock", kw_only=True)
    runtime: str | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class TargetEntry(ExternalEntry):
    """A runtime or a device that runs compressed networks; ``packages`` are those that its files are made with."""


def _declared(path: Path, variable: str) -> dict[str, dict[str, Any]]:
    """Return the literal assigned to ``variable`` at the top level of a source file, or {}."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if [getattr(target, "id", None) for target in targets] == [variable]:
            try:
                literal: dict[str, dict[str, Any]] = ast.literal_eval(node.value)
                return literal
            except ValueError as error:
                raise ValueError(f"{path}: {variable} must be a plain literal, it is read, not run") from error
    return {}


KINDS: dict[str, type[Entry]] = {
    "datasets": DatasetEntry,
    "networks": NetworkEntry,
    "methods": MethodEntry,
    "peers": PeerEntry,
    "targets": TargetEntry,
}
_own: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}


def declared(path: Path, kind: str, module: str) -> dict[str, Any]:
    """The entries of a kind, ``methods`` say, that a plugin declares; ``module`` is what to import for them.

    Raises ValueError, naming the file, where its declaration cannot be read.
    """
    entries, variable = {}, kind.upper()
    for name, description in _declared(path, variable).items():
        try:
            entries[name] = KINDS[kind](name=name, module=module, **description)
        except TypeError as error:
            raise ValueError(f"{path}: {variable}['{name}']: {error}") from error
    return entries


@cache
def built_in(kind: str) -> dict[str, Any]:
    """The entries of a kind that are edgepress's own."""
    entries: dict[str, Any] = {}
    folder = PACKAGE / kind
    for path in sorted([*folder.glob("*.py"), *folder.glob("*/__init__.py")]):
        module = ".".join([__package__, *path.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(".__init__")
        for name, entry in declared(path, kind, module).items():
            if name in entries:
                raise ValueError(f"{path}: '{name}' is already declared in {entries[name].module}")
            entries[name] = entry
    return entries


def datasets() -> dict[str, DatasetEntry]:
    """Every data set, by name."""
    return built_in("datasets") | _own["datasets"]


def networks() -> dict[str, NetworkEntry]:
    """Every network, by name."""
    return built_in("networks") | _own["networks"]


def methods() -> dict[str, MethodEntry]:
    """Every method of compression, by name. Full precision, ``fp32``, is the baseline and not among them."""
    return built_in("methods") | _own["methods"]


def peers() -> dict[str, PeerEntry]:
    """Every other library that compresses networks, by name."""
    return built_in("peers") | _own["peers"]


def targets() -> dict[str, TargetEntry]:
    """Every runtime and device that networks can be exported to, by name."""
    return built_in("targets") | _own["targets"]


def set_own(entries: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
    """Make the user's own known in this process, in place of what was set before: kind → name → fields of the entry."""
    for kind, entry_type in KINDS.items():
        _own[kind] = {name: entry_type(**fields) for name, fields in entries.get(kind, {}).items()}


def own(*names: str) -> dict[str, dict[str, dict[str, Any]]]:
    """What of the user's own has one of these names, or all of it, as plain data: what ``set_own`` needs in another
    process.
    """
    return {
        kind: {name: asdict(entry) for name, entry in entries.items() if name in names or not names}
        for kind, entries in _own.items()
    }


def _import(module: str) -> Any:
    if not module.endswith(".py"):
        if str(Path.cwd()) not in sys.path:
            sys.path.append(str(Path.cwd()))
        return importlib.import_module(module)
    name = f"edgepress plugin {module}"
    if name not in sys.modules:
        specification = importlib.util.spec_from_file_location(name, module)
        assert specification is not None and specification.loader is not None  # as for all that ends in .py
        sys.modules[name] = importlib.util.module_from_spec(specification)  # before it runs: dataclasses look there
        specification.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def family(steps: Sequence[str]) -> str:
    """The family of a chain of methods: that of its only step, or all of them in order."""
    return "_then_".join(dict.fromkeys(methods()[step].family for step in steps))


def unknown(kind: str, name: str, known: Mapping[str, Any]) -> str:
    """One sentence that says that a name is unknown, with the nearest known one, or the list where it is short."""
    near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.5)
    names = sorted(known)
    if len(names) > _LISTED:
        names = [*names[:_LISTED], f"and {len(names) - _LISTED} more, which `edgepress list` shows"]
    hint = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(names)}."
    return f"there is no {kind} {name!r}; {hint}"
