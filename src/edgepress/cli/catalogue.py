"""What there is: ``list`` and ``describe``."""

from __future__ import annotations

import argparse
import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

from edgepress import provenance, registry
from edgepress.cli import Commands, UserError, add, plainly
from edgepress.registry import DatasetEntry, Entry, ExternalEntry, MethodEntry, NetworkEntry, PeerEntry

KINDS = {"datasets": "data set", "networks": "network", "methods": "method", "peers": "peer", "targets": "target"}
_LEVELS = {"bits": ("bits a weight", 4), "act_bits": ("bits an activation", 8), "sparsity": ("share removed", 0.5)}

_LIST_EXAMPLES = """\
examples:
  edgepress list                          everything
  edgepress list methods                  methods alone
  edgepress list --config mine.yaml       with your own, which that config names"""

_DESCRIBE_EXAMPLES = """\
examples:
  edgepress describe churn
  edgepress describe resnet9
  edgepress describe multipoint"""


def add_to(commands: Commands) -> None:
    """Add the commands of this module."""
    lists = add(
        commands, "list", "list data sets, networks, methods, peers and targets, with a line about each", _LIST_EXAMPLES
    )
    lists.add_argument("kind", nargs="?", choices=KINDS, metavar="KIND", help=", ".join(KINDS))
    lists.set_defaults(run=_list)
    describe = add(
        commands, "describe", "say more about one data set, network, method, peer or target", _DESCRIBE_EXAMPLES
    )
    describe.add_argument("name", metavar="NAME", help="its name, as `edgepress list` shows it")
    describe.set_defaults(run=_describe)
    for command in (lists, describe):
        command.add_argument("--config", metavar="FILE", help="a config; what it adds of your own counts, too")


def entries() -> dict[str, Mapping[str, Entry]]:
    """Everything in the registry: kind → name → entry."""
    return {kind: getattr(registry, kind)() for kind in KINDS}


def _list(asked: argparse.Namespace) -> int:
    _read_config(asked.config)
    shown = [asked.kind] if asked.kind else list(KINDS)
    width = max(len(name) for named in entries().values() for name in named)
    for kind in shown:
        print(f"{KINDS[kind]}s")
        for name, entry in sorted(entries()[kind].items()):
            print(f"  {name:{width}}  {entry.about}")
    return 0


def _describe(asked: argparse.Namespace) -> int:
    _read_config(asked.config)
    found = [(kind, named[asked.name]) for kind, named in entries().items() if asked.name in named]
    if not found:
        known = {name: entry for named in entries().values() for name, entry in named.items()}
        raise UserError(registry.unknown("data set, network, method, peer or target", asked.name, known))
    for kind, entry in found:
        print(f"{entry.name}, a {KINDS[kind]}: {entry.about}\n")
        for name, value in _facts(entry):
            print(f"  {name:14}{value}")
        if text := _docstring(entry):
            print(f"\n{textwrap.indent(text, '  ')}")
    return 0


def _facts(entry: Entry) -> Iterator[tuple[str, str]]:
    if isinstance(entry, DatasetEntry):
        yield "task", entry.task
        yield "an example", f"a row of a {entry.input}" if entry.input == "table" else "an image"
        yield "made of", ", ".join(entry.files) or ", ".join(_fetched(entry.name)) or "nothing to fetch, it is embedded"
        yield "in a config", f"networks: {{{entry.name}: [dnn_simple]}}"
    if isinstance(entry, NetworkEntry):
        yield "takes", " or ".join(entry.inputs)
        yield "in a config", f"networks: {{digits: [{entry.name}]}}"
    if isinstance(entry, MethodEntry):
        relatives = [name for name, method in registry.methods().items() if method.family == entry.family]
        yield "family", f"{entry.family}: {', '.join(relatives)}"
        levels = " × ".join(f"{_LEVELS[sweep][0]}, `{sweep}` of a config" for sweep in entry.sweeps)
        yield "levels", levels or entry.level or "those of the methods before it in a chain"
        yield "stochastic", "yes, a config draws it `draws` times" if entry.stochastic else "no"
        yield "trains again", "yes, as `retraining` of a config says" if entry.retrains else "no"
        if not entry.retrains:
            yield "looks at examples", "yes, without their labels" if entry.examples else "no"
            chain = entry.name if entry.sweeps else f"nearest_uniform {entry.name}"
            options = (f"--{sweep.replace('_', '-')} {_LEVELS[sweep][1]}" for sweep in entry.sweeps or ["bits"])
            known = " --network resnet8 --data data/prepared/fashion_mnist_split0.safetensors" * entry.examples
            yield "try", f"edgepress compress model.safetensors{known} --method {chain} {' '.join(options)}"
    if isinstance(entry, ExternalEntry):
        missing = entry.missing
        yield "packages", ", ".join(f"{one} (missing)" if one in missing else one for one in entry.packages)
    if isinstance(entry, PeerEntry):
        yield "levels", ", ".join(entry.levels)
        yield "computed by", entry.runtime or "torch"
        yield "in a config", f"peers: [{entry.name}]"
    args = {name: value for name, value in entry.args.items() if value not in (None, entry.name)}
    if args:
        yield "arguments", ", ".join(f"{name}={value!r}" for name, value in args.items())
    yield "code", f"{entry.object} in {entry.module}"


def _fetched(name: str) -> Iterator[str]:
    from edgepress import sources

    for source in sources.load().get(name, {}).values():
        yield f"{source.file} ({source.bytes:,} bytes, fetched when it is first asked for)"


def _docstring(entry: Entry) -> str:
    """What the code says of the object, read, not imported."""
    paths = [Path(entry.module)] if entry.module.endswith(".py") else provenance.files_of(entry.module)
    for path in paths[:1]:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == entry.object:
                return inspect.cleandoc(ast.get_docstring(node) or "")
    return ""


def _read_config(path: str | None) -> None:
    if path is None:
        return
    import yaml

    from edgepress import config, config_text

    with plainly(config_text.ConfigError):
        config_text.check_keys(path)
        config.parse(yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}, path)
