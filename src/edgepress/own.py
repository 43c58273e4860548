"""The user's own data sets, networks and methods: config models and their registry entries.

Once registered (``registry.set_own``) they behave like those of edgepress. Paths and modules are relative to the
working directory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator

from edgepress import provenance, registry
from edgepress.checks import AllDistinct, Settings, new_name, wrong

_FOLDERS = ("benchmarks", "figures", "report", "tables")  # of a run, next to those of its data sets


def _there(path: str) -> str:
    if not Path(path).exists():
        raise wrong(f"{path} does not exist; paths are relative to {Path.cwd()}")
    return path


def _plugin(path: str) -> str:
    if not path.endswith(".py") or not Path(_there(path)).is_file():
        raise wrong(f"{path} is not a Python file; name one that declares METHODS, NETWORKS or DATASETS")
    try:
        declared = [name for kind in registry.KINDS for name in registry.declared(Path(path), kind, path)]
    except (SyntaxError, UnicodeDecodeError, ValueError) as error:
        raise wrong(f"{path} cannot be read: {error}") from None
    if not declared:
        raise wrong(f"{path} declares none of METHODS, NETWORKS and DATASETS")
    return path


def _builder(name: str) -> str:
    module, _, attribute = name.partition(":")
    if not attribute.isidentifier() or not all(part.isidentifier() for part in module.split(".")):
        raise wrong(f"{name!r} is not of the form module:Class")
    if provenance.find(module.split(".")[0]) is None:
        raise wrong(f"there is no module '{module}' in {Path.cwd()}, nor is one installed")
    return name


def _one_file(value: Any) -> Any:
    if not isinstance(value, Mapping) or len({"csv", "images", "npz"} & value.keys()) != 1:
        raise wrong("name a file by one of `csv`, `images` and `npz`")
    return value


FilePath = Annotated[str, AfterValidator(_there)]
PartOfRows = Annotated[float, Field(gt=0, lt=1)]


class _Data(Settings):
    """Options of all kinds of data sets."""

    val: PartOfRows | None = Field(
        None, description="fraction of the rows drawn for val; null is 0.2, or 0.1 if test rows are given separately"
    )
    scaling: Literal["standard", "min_max", "none"] = Field(
        "standard", description="scaling of each input column or colour channel, fitted on the training rows"
    )
    mean: list[float] | None = Field(
        None, description="with `std`, instead of `scaling`: subtracted from each column or channel"
    )
    std: list[float] | None = Field(None, description="divides each column or channel; pixels range from 0 to 1")

    @model_validator(mode="after")
    def _together(self) -> _Data:
        if (self.mean is None) != (self.std is None) or len(self.mean or ()) != len(self.std or ()):
            raise wrong("give both `mean` and `std`, with one number per column or channel")
        if any(number <= 0 for number in self.std or ()):
            raise wrong("`std` must be more than 0")
        if (self.val or 0) + (getattr(self, "test", None) or 0) >= 1:
            raise wrong("`val` and `test` leave no rows to train on")
        return self


class CsvData(_Data):
    """A table with a header; text columns are one-hot encoded."""

    csv: FilePath = Field(description="the file")
    target: str = Field(description="the column to predict")
    task: Literal["classification", "regression"] = Field(description="whether the target is a class or a number")
    ignore: list[str] = Field([], description="columns that are not inputs, such as IDs and names")
    categories: list[str] = Field([], description="columns whose values are categories although they look like numbers")
    separator: str | None = Field(
        None,
        min_length=1,
        max_length=1,
        description="separator of fields; null detects comma, semicolon, bar or tab",
    )
    decimal: Literal[".", ","] | None = Field(
        None, description="the decimal mark, if numbers contain commas: `.` for 1,234.5 and `,` for 1.234,5"
    )
    missing: Literal["error", "drop"] = Field(
        "error", description="rows with an empty field stop the run, or are dropped"
    )
    test: PartOfRows | None = Field(None, description="fraction of the rows drawn for test; null is 0.2")


class ImagesData(_Data):
    """Images by class, `train/<class>/*` and `test/<class>/*`, and optionally `val/<class>/*`."""

    images: FilePath = Field(description="the folder or zip file")
    size: int | None = Field(
        None, ge=1, le=1024, description="side in pixels to scale and crop to; null keeps the size"
    )
    channels: Literal[1, 3] = Field(3, description="3 for colour, 1 for grey")


class NpzData(_Data):
    """Arrays `x` and `y`, or `x_train`, `y_train`, `x_test`, `y_test` and optionally `x_val`, `y_val`.

    `x` is (rows, columns), (rows, height, width), (rows, channels, height, width) or (rows, height, width, channels).
    """

    npz: FilePath = Field(description="the file")
    task: Literal["classification", "regression"] = Field(description="content of `y`: classes from 0, or numbers")
    input: Literal["table", "image"] = Field("table", description="type of a row of `x`")
    layout: Literal["channels_first", "channels_last"] | None = Field(
        None, description="order of an image's axes; null detects it if only one axis has length 1 to 4"
    )
    classes: int | None = Field(None, ge=2, description="number of classes; null renumbers those that occur from 0")
    test: PartOfRows | None = Field(None, description="fraction of the rows drawn for test; null is 0.2")


DATA_KINDS: dict[str, type[_Data]] = {"csv": CsvData, "images": ImagesData, "npz": NpzData}


def _kind(value: Any) -> str | None:
    """The kind of a data set, from its model or from the key that names its file."""
    fits = value.__contains__ if isinstance(value, Mapping) else lambda kind: type(value) is DATA_KINDS[kind]
    return next(filter(fits, DATA_KINDS), None)


OwnData = Annotated[
    Annotated[CsvData, Tag("csv")] | Annotated[ImagesData, Tag("images")] | Annotated[NpzData, Tag("npz")],
    Discriminator(_kind),
    BeforeValidator(_one_file),
]


class OwnNetwork(Settings):
    """A network built by the user's Python module."""

    builder: Annotated[str, AfterValidator(_builder)] = Field(
        description="`module:Class` or a function; gets `input_shape`, `outputs` and `task` if it has such parameters"
    )
    args: dict[str, Any] = Field({}, description="further keyword arguments")


def _new_names(kind: str, folders: tuple[str, ...] = ()) -> AfterValidator:
    words = {"datasets": "data set", "networks": "network"}[kind]

    def check(entries: dict[str, Any]) -> dict[str, Any]:
        for name in entries:
            new_name(words, name, registry.built_in(kind) | dict.fromkeys(folders))
        return entries

    return AfterValidator(check)


class OwnConfig(Settings):
    """Data sets, networks and methods that a config adds."""

    plugins: Annotated[list[Annotated[str, AfterValidator(_plugin)]], AllDistinct] = Field(
        [], description="your Python files that declare METHODS, NETWORKS or DATASETS, see docs/own.md"
    )
    own_data: Annotated[dict[str, OwnData], _new_names("datasets", _FOLDERS)] = Field(
        {},
        description="your data sets by name, see docs/own.md: "
        "`{houses: {csv: houses.csv, target: price, task: regression}}`",
    )
    own_networks: Annotated[dict[str, OwnNetwork], _new_names("networks")] = Field(
        {}, description="your networks by name: `{tiny: {builder: 'nets:Tiny', args: {width: 8}}}`"
    )


def entries(config: OwnConfig) -> dict[str, dict[str, dict[str, Any]]]:
    """The argument of ``registry.set_own``: kind → name → fields of the entry.

    Raises ValueError if two entries have the same name.
    """
    found: dict[str, dict[str, registry.Entry]] = {kind: {} for kind in registry.KINDS}

    def add(kind: str, entry: registry.Entry) -> None:
        # Each method and peer has a folder of its name, so their names must differ.
        kinds = ("methods", "peers") if kind in ("methods", "peers") else (kind,)
        taken = {name for one in kinds for name in (*found[one], *registry.built_in(one))}
        if entry.name in taken | {"fp32", *_FOLDERS}:
            raise ValueError(f"'{entry.name}' of {entry.module} is already in use; choose another name")
        found[kind][entry.name] = entry

    for name, data in config.own_data.items():
        add("datasets", _dataset(name, data))
    for name, network in config.own_networks.items():
        module, _, attribute = network.builder.partition(":")
        args = ", ".join(f"{key}={value!r}" for key, value in network.args.items())
        about = f"{attribute}({args}) of {module}"
        inputs = ["table", "image"]
        add("networks", registry.NetworkEntry(name, module, attribute, about, inputs=inputs, args=network.args))
    for path in config.plugins:
        for kind in registry.KINDS:
            for entry in registry.declared(Path(path), kind, path).values():
                add(kind, entry)
    return {kind: {name: asdict(entry) for name, entry in named.items()} for kind, named in found.items()}


def _dataset(name: str, data: CsvData | ImagesData | NpzData) -> registry.DatasetEntry:
    (kind,) = (name for name, model in DATA_KINDS.items() if type(data) is model)
    options = data.model_dump()
    file, task = options.pop(kind), options.get("task", "classification")
    return registry.DatasetEntry(
        name,
        f"edgepress.datasets.own_{kind}",
        "prepare",
        f"{file}, " + (f"{task} of {data.target}" if isinstance(data, CsvData) else task),
        task=task,
        input="image" if isinstance(data, ImagesData) else options.get("input", "table"),
        files=[file],
        args={"name": name, "file": file, **options},
    )
