"""The data sets, networks, methods, peers and targets that exist, known without importing torch.

A plugin is one file. It declares what it offers in a literal at its top level — ``DATASETS``, ``NETWORKS``,
``METHODS``, ``PEERS`` or ``TARGETS``, a dict from name to description. That literal is read from the source text, never
executed. Settings that all of a file share stand under ``*``, and a name with braces is a product (``spec.products``).
So the Snakefile, the config check and the command line know every name in milliseconds; the module itself is imported
only by the job that uses it.

To these come the user's own (``edgepress.own``): the same entries, which name a file or module outside of edgepress.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

from edgepress.provenance import remembered
from edgepress.spec import AFTER_TRAINING, BY_CHANCE, TRAINED, Spec, in_words, products

PACKAGE = Path(__file__).parent
PEER = "peer"  # the family of all peers
_LISTED = 25  # names in a sentence
_SETTINGS = ("codebook", "rounding", "granularity")  # of a method, which its object gets where it takes them


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

    One that ``retrains`` fine-tunes the network with labels: it has one job per level, and is not compared with methods
    that do not. It gets the network as it was trained or, ``folded``, as it is shipped. It must be the ``first`` step
    of a chain, and so must others that change the weights they keep. One without training may look at ``examples`` of
    the training data, never at their labels.

    ``codebook``, ``rounding``, ``granularity`` and ``options`` describe it (``Spec``). The object gets the first three
    where it takes them, and ``args``. With a codebook, rounding is to the nearest level and of a tensor unless they say
    otherwise; one that rounds by chance is ``stochastic``.
    """

    family: str = field(kw_only=True)
    sweep: Literal["", "bits", "act_bits", "sparsity", "bits+act_bits", "bits+sparsity"] = field(kw_only=True)
    level: str = field(default="", kw_only=True)
    codebook: str = field(default="", kw_only=True)
    rounding: str = field(default="", kw_only=True)
    granularity: Literal["", "tensor", "channel"] = field(default="", kw_only=True)
    options: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    stochastic: bool = field(default=False, kw_only=True)
    examples: bool = field(default=False, kw_only=True)
    retrains: bool = field(default=False, kw_only=True)
    folded: bool = field(default=False, kw_only=True)
    first: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        settings = {name: getattr(self, name) or self.args.get(name, "") for name in _SETTINGS}
        if settings["codebook"]:
            drawn = self.stochastic or self.args.get("stochastic")
            settings["rounding"] = settings["rounding"] or ("stochastic" if drawn else "nearest")
            settings["granularity"] = settings["granularity"] or "tensor"
        drawn = self.stochastic or (settings["rounding"] in BY_CHANCE and not self.retrains)
        for name, value in {**settings, "stochastic": drawn}.items():
            object.__setattr__(self, name, value)

    @property
    def spec(self) -> Spec:
        """Its settings as one value."""
        args = {name: value for name, value in self.args.items() if name not in (*_SETTINGS, "stochastic")}
        when = TRAINED if self.retrains else AFTER_TRAINING
        return Spec(self.codebook, self.rounding, self.granularity, when, in_words({**self.options, **args}))

    @property
    def settings(self) -> dict[str, str]:
        """Codebook, rounding and granularity where ``args`` do not have them."""
        return {name: getattr(self, name) for name in _SETTINGS if name not in self.args}

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
    try:
        literal: dict[str, dict[str, Any]] = ast.literal_eval(
            remembered(path, variable, lambda path: _assigned(path, variable))
        )
        return literal
    except ValueError as error:
        raise ValueError(f"{path}: {variable} must be a plain literal, it is read, not run") from error


def _assigned(path: Path, variable: str) -> str:
    """The expression assigned to ``variable`` at the top level of a source file, or ``{}``."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if [getattr(target, "id", None) for target in targets] == [variable]:
            return ast.unparse(node.value)
    return "{}"


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
    entries: dict[str, Any] = {}
    variable = kind.upper()
    found = _declared(path, variable)
    if not isinstance(found, dict):
        raise ValueError(f"{path}: {variable} must be a dict from names to what they are")
    shared = found.pop("*", {})
    for declared_as, description in found.items():
        try:
            for name, settings in products(declared_as, {**shared, **description}):
                if name in entries:
                    raise TypeError(f"'{name}' is declared twice")
                entries[name] = KINDS[kind](name=name, module=module, **settings)
        except (TypeError, LookupError, AttributeError, ValueError) as error:
            raise ValueError(f"{path}: {variable}['{declared_as}']: {error}") from error
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


def main(steps: Sequence[str]) -> str:
    """The main step of a chain: the first that quantizes weights, else the first that prunes, else the first."""
    sweeps = {step: methods()[step].sweeps for step in steps if step in methods()}
    return next((step for kind in ("bits", "sparsity") for step in steps if kind in sweeps.get(step, ())), steps[0])


def spec(steps: Sequence[str]) -> Spec:
    """The settings of a chain: those of its main step, trained if any step fine-tunes the network. All are empty
    where that step is not known, or there is none.
    """
    known = methods()
    if not steps or main(steps) not in known:
        return Spec()
    found = known[main(steps)].spec
    return replace(found, when=TRAINED) if any(step in known and known[step].retrains for step in steps) else found


def members(family: str) -> list[str]:
    """The methods of a family that have levels of their own."""
    return [name for name, one in methods().items() if one.family == family and (one.sweeps or one.level)]


def named(wanted: Spec) -> str | None:
    """The name of the method with these settings, or None where there is none."""
    return next((name for name, entry in methods().items() if entry.spec == wanted), None)


def unknown(kind: str, name: str, known: Mapping[str, Any]) -> str:
    """One sentence that says that a name is unknown, with the nearest known one, or the list where it is short."""
    near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.5)
    names = sorted(known)
    if len(names) > _LISTED:
        names = [*names[:_LISTED], f"and {len(names) - _LISTED} more, which `edgepress list` shows"]
    hint = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(names)}."
    return f"there is no {kind} {name!r}; {hint}"
