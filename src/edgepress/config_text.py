"""A config as it is written, before ``edgepress.config`` says what it means: what YAML reads otherwise than it looks,
what Snakemake leaves as text, and what is wrong with a value, in one sentence.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

from edgepress import registry

_BOUNDS = {
    "greater_than_equal": ("ge", "at least"),
    "greater_than": ("gt", "more than"),
    "less_than_equal": ("le", "at most"),
    "less_than": ("lt", "less than"),
}
# What pydantic says of some kinds of error, in words of a config.
_CURES = {
    "list_type": "must be a valid list, as [{value}]",
    "dict_type": "must be names with values, as {{name: value}}",
    "model_type": "must be names with values, as {{name: value}}",
    "bool_type": "must be a valid boolean, true or false",
    "string_type": "must be a valid string; put quotes around it",
    "string_pattern_mismatch": "must be of letters, digits, _ and -, and begin with a letter or digit",
    "invalid_key": "is a name here, and names must be strings; put quotes around it",
}
# YAML 1.1 reads 010 as eight and 1:30 as ninety.
_SURPRISING = re.compile(r"[-+]?(0[0-7_]+|[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?)")
_EXPONENT = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]{1,2}")  # and takes 1e-3 for a word
_short = reprlib.Repr()
_short.maxstring = _short.maxother = _short.maxlong = 100


class ConfigError(ValueError):
    """A config that cannot be run; the message is one sentence that says where, what, and what to do.

    Characters of the config that cannot be printed are escaped.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__("".join(char if char.isprintable() else repr(char)[1:-1] for char in sentence))


def check_keys(path: str | Path) -> None:
    """Raise ConfigError where a YAML file is unreadable, or is not what it looks like: a key is named twice, of which
    YAML would keep the last, or a number is in base 8 or 60.
    """
    try:
        root = yaml.compose(Path(path).read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML: {_reason(error)}; mend the file, or name another") from None
    for node, fault in _faults(root, (), set()):
        raise ConfigError(f"{path}: line {node.start_mark.line + 1} {fault}")


def _reason(error: Exception) -> str:
    if not isinstance(error, yaml.MarkedYAMLError):
        return " ".join(str(error).split())
    line = f"in line {error.problem_mark.line + 1}" if error.problem_mark else None
    return " ".join(
        filter(None, (error.context, error.problem, line))
    )  # without the lines of the file, which it quotes


def _faults(node: yaml.Node | None, parents: tuple[yaml.Node, ...], done: set[int]) -> Iterator[tuple[yaml.Node, str]]:
    """What YAML allows and a config does not. ``done`` are nodes already looked at: aliases repeat them."""
    if node in parents:
        yield node, "contains itself; write out what it should hold"
    elif node is None or id(node) in done:
        return
    elif node.tag not in yaml.SafeLoader.yaml_constructors:
        yield node, f"has a value tagged {node.tag!r}, which is not read; write a plain one, or put it into quotes"
    elif isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                yield key, "has a key that is no plain name; name the setting"
            elif key.value == "__use_yte__":
                yield key, "has '__use_yte__', by which Snakemake runs what a config holds; write out the values"
            elif key.value in seen:
                yield key, f"names {key.value!r} a second time; name it once"
            seen.add(str(key.value))
            yield from _faults(value, (*parents, node), done)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _faults(value, (*parents, node), done)
    elif node.tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float") and _SURPRISING.fullmatch(node.value):
        yield node, f"has {node.value}, which YAML reads as {yaml.safe_load(node.value)}; write the number you mean"
    done.add(id(node))


def typed(value: Any) -> Any:
    """What a value of ``--config`` means. Snakemake leaves as text what is nested in it, ``'0'`` in ``[0]``, as well as
    ``true`` and ``null``; and what is empty comes to its jobs as ``None``.
    """
    if isinstance(value, Mapping):
        return {name: typed(item) for name, item in value.items()}
    if isinstance(value, list):
        return [typed(item) for item in value]
    if not isinstance(value, str):
        return value
    try:
        return None if value == "None" else yaml.safe_load(value)
    except (ValueError, RecursionError, yaml.YAMLError):
        return value


def sentence(error: Mapping[str, Any], settings_at: Callable[[Sequence[Any]], Mapping[str, Any]]) -> str:
    """What pydantic found wrong, with the place, the value and what to do; ``settings_at`` gives the settings that
    there are at a place.
    """
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"]).lstrip(".")
    kind, message, value = error["type"], error["msg"], error["input"]
    if place.endswith("[key]"):
        kind, place = "invalid_key", place.removesuffix(".[key]")
    if kind == "extra_forbidden":
        *parents, name = error["loc"]
        where = f"{place.removesuffix(f'{name}').rstrip('.')}: " if parents else ""
        return where + registry.unknown("setting", f"{name}", settings_at(parents))
    if kind == "missing":
        return f"{place!r} is missing; name it"
    if kind == "too_short":
        return f"{place!r} is empty; name at least one"
    if kind == "wrong":
        return f"{place!r} {message}" if message.startswith("lists") else f"{place!r}: {message}".removeprefix("'': ")
    found = f"{place!r} is {_short.repr(value)}" if place else f"it is {_short.repr(value)}"
    if isinstance(value, str) and _EXPONENT.fullmatch(value):
        return f"{found}, which YAML takes for text; write {Decimal(value):f}"
    if kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        return f"{found} but must be {words} {error['ctx'][name]}"
    if kind in _CURES:
        cure = _CURES[kind].format(value=value if isinstance(value, int | float) else "…")
        return f"{found}, which {cure}" if kind == "invalid_key" else f"{found} but {cure}"
    return f"{found} but {message[0].lower()}{message[1:]}".replace("but input should be", "but must be")
