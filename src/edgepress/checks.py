"""Validated types for settings, and the sentences that report invalid values."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, create_model
from pydantic_core import PydanticCustomError

from edgepress import registry
from edgepress.levels import Level, precision
from edgepress.spec import COLUMNS, ROUNDING

T = TypeVar("T")
NAME = r"[A-Za-z0-9][A-Za-z0-9_-]*"  # also of folders


class Settings(BaseModel):
    """Base of all settings: unknown names are refused, types are strict."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


def wrong(message: str) -> PydanticCustomError:
    """The error to raise for an invalid value. ``message`` completes a sentence that names its place."""
    return PydanticCustomError("wrong", "{message}", {"message": message})


def optional(model: type[BaseModel], name: str, about: str) -> Any:
    """A copy of the model in which every field is optional."""
    fields: dict[str, Any] = {}
    for field, info in model.model_fields.items():
        kind = Annotated[(info.annotation, *info.metadata)] if info.metadata else info.annotation
        fields[field] = (kind, Field(None, description=info.description))
    return create_model(name, __base__=Settings, __doc__=about, **fields)


def known(kind: str, name: str, names: Mapping[str, Any]) -> None:
    """Raise if ``name`` is not in ``names``."""
    if name not in names:
        raise wrong(registry.unknown(kind, name, names))


def new_name(kind: str, name: str, taken: Mapping[str, Any]) -> None:
    """Raise if ``name`` is taken or is not a valid folder name."""
    if name in taken or not re.fullmatch(NAME, name):
        raise wrong(f"'{name}' cannot be the name of a {kind}; choose a new one of letters, digits and _")


def _distinct(values: list[T]) -> list[T]:
    for value in values:
        if values.count(value) > 1:
            raise wrong(f"lists {value!r} more than once; name it once")
    return values


def _six_decimals(share: float) -> float:
    """Limit fractions to six decimals, because they become file names (s97.5). Normalizes −0."""
    if round(share, 6) != share:
        raise wrong(f"{share!r} has more than six decimals; round it")
    return share + 0.0


def _not_reference(run: str) -> str:
    if run == "reference":
        raise wrong("'reference' holds the committed results; choose another name")
    return run


def _known_steps(names: list[str]) -> list[str]:
    for name in names:
        known("method", name, registry.methods())
    return names


def _named_methods(items: Any) -> Any:
    """The methods that the items of a list name: itself, a family, or a product of settings."""
    if not isinstance(items, list):
        return items
    known_names = registry.methods()
    names = [item for item in items if isinstance(item, str) and item in known_names]
    found: list[Any] = []
    for item in items:
        several: list[str] = []
        if isinstance(item, Mapping) and not item.keys() & known_names.keys():
            several = _product(item)
        elif isinstance(item, str) and item not in names:
            several = registry.members(item)
        found += [name for name in several if name not in (*names, *found)] if several else [item]
    return found


def _product(settings: Mapping[str, Any]) -> list[str]:
    """The methods that a product of settings names, one a combination."""
    if settings.get("codebook") is None and settings.keys() <= set(COLUMNS):
        raise wrong("a product of settings needs a codebook, as in {codebook: [uniform, normal], granularity: channel}")
    lists = {f"{key}": values if isinstance(values, list) else [values] for key, values in settings.items()}
    for key, values in lists.items():
        known("setting of a method", key, dict.fromkeys(COLUMNS))
        if not values:
            raise wrong(f"the product of settings has no {key}; name at least one")
        have = {getattr(entry.spec, key): None for entry in registry.methods().values() if getattr(entry.spec, key)}
        for value in values:
            known(key, f"{value}", have)
    names = []
    for combination in itertools.product(*lists.values()):
        wanted = replace(ROUNDING, **dict(zip(lists, combination, strict=True)))
        name = registry.named(wanted)
        if name is None:
            others = [name for name, entry in registry.methods().items() if entry.spec.codebook == wanted.codebook]
            raise wrong(f"there is no method with {wanted}; take it out of the product, or name the methods that you "
                        f"want: with codebook {wanted.codebook} there are {', '.join(others)}")  # fmt: skip
        names.append(name)
    return names


def _known_methods(names: list[str]) -> list[str]:
    for name in _known_steps(names):
        if not registry.methods()[name].sweeps and not registry.methods()[name].level:
            raise wrong(f"'{name}' has no levels by itself; put it in one of the 'chains', after a method that has")
    return names


def _all_or_named(peers: Any) -> Any:
    return (list(registry.peers()) if peers else []) if isinstance(peers, bool) else peers


def _known_peers(names: list[str]) -> list[str]:
    for name in names:
        known("peer", name, registry.peers())
    return names


def _fitting_networks(networks: dict[str, list[str]]) -> dict[str, list[str]]:
    for dataset, names in networks.items():
        known("data set", dataset, registry.datasets())
        kind = registry.datasets()[dataset].input
        for name in names:
            known("network", name, registry.networks())
            inputs = registry.networks()[name].inputs
            if kind not in inputs:
                raise wrong(f"'{name}' takes {' or '.join(inputs)} inputs but '{dataset}' is a {kind} data set; "
                             f"give it another network")  # fmt: skip
    return networks


def _level(name: str) -> Level:
    level = Level.parse(name)
    if str(level) != name:
        raise ValueError(f"{name!r} is written {level}")
    return level


def _readable(parse: Callable[[str], Any]) -> AfterValidator:
    """Accept names that ``parse`` accepts; report its message otherwise."""

    def check(name: str) -> str:
        try:
            parse(name)
        except ValueError as error:
            raise wrong(str(error)) from None
        return name

    return AfterValidator(check)


RunName = Annotated[str, AfterValidator(_not_reference)]
AllDistinct = AfterValidator(_distinct)
Distinct = Annotated[list[T], Field(min_length=1), AllDistinct]
StepNames = Annotated[Distinct[str], AfterValidator(_known_steps)]
MethodNames = Annotated[
    list[str],
    Field(min_length=1),
    AllDistinct,
    AfterValidator(_known_methods),
    BeforeValidator(_named_methods, json_schema_input_type=Distinct[str | dict[str, Any]]),
]
PeerNames = Annotated[
    list[str],
    AllDistinct,
    AfterValidator(_known_peers),
    BeforeValidator(_all_or_named, json_schema_input_type=bool | list[str]),
]
Networks = Annotated[dict[str, Distinct[str]], Field(min_length=1), AfterValidator(_fitting_networks)]
Bits = Annotated[int, Field(ge=1, le=16)]
Precision = Annotated[str, _readable(precision)]
LevelName = Annotated[str, _readable(_level)]
Share = Annotated[float, Field(ge=0, lt=1), AfterValidator(_six_decimals)]
Count = Annotated[int, Field(ge=1, lt=2**31)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
