"""Validated types for settings, and the sentences that report invalid values."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, create_model
from pydantic_core import PydanticCustomError

from edgepress import registry
from edgepress.levels import Level, precision

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
MethodNames = Annotated[Distinct[str], AfterValidator(_known_methods)]
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
