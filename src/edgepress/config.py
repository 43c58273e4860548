"""The model of a config file. It validates configs; ``edgepress.documents`` derives the schema, the starter config and
the table of settings from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, Field, ValidationError, model_validator

from edgepress import checks, own, registry
from edgepress.cells import CellConfig, ChainConfig
from edgepress.checks import Distinct, Networks, Seed, Settings, known, wrong
from edgepress.config_text import ConfigError, sentence
from edgepress.own import OwnConfig
from edgepress.recipes import RetrainingConfig, TrainingConfig
from edgepress.sources import MIRROR_VARIABLE

if TYPE_CHECKING:
    OverrideConfig = Settings  # mypy does not accept a model made at run time as a type
else:
    OverrideConfig = checks.optional(
        CellConfig, "OverrideConfig", "Settings that override those of the run for one data set or network."
    )


def _check_overrides(overrides: dict[str, Any]) -> dict[str, Any]:
    for name in overrides:
        dataset, slash, network = name.partition("/")
        known("data set", dataset, registry.datasets())
        if slash:
            known("network", network, registry.networks())
    return overrides


class ReplicationConfig(Settings):
    """Replicate the study from its published weights and with its definitions, instead of a normal run."""

    weights: str = Field(description="folder of the study's networks, `<dataset>_simple.safetensors` and `_complex`")
    datasets: Distinct[Literal["churn", "telescope", "california", "mv"]] = Field(
        ["churn", "telescope", "california", "mv"], description="data sets of the study"
    )
    draws: int = Field(
        10,
        ge=2,
        lt=2**31,
        description="repetitions of stochastic methods; the first uses the study's random numbers",
    )


class EnergyConfig(Settings):
    """Measure the energy of training with codecarbon."""

    country: str = Field(pattern="^[A-Z]{3}$", description="country of the machine, three letters (ISO 3166)")


class FiguresConfig(Settings):
    """Style of the report's figures."""

    style: Literal["ieee", "neurips", "talk"] = Field(
        "ieee",
        description="layout of figures: two-column paper (`ieee`), one-column paper (`neurips`) or slides (`talk`)",
    )


class RunConfig(CellConfig, OwnConfig):
    """The settings of one config file."""

    run: checks.RunName = Field(
        "starter",
        max_length=64,
        pattern=f"^{checks.NAME}$",
        description="name of the run; its results are in `results/<run>/`",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="device for training and evaluation; `auto` uses a GPU if there is one"
    )
    threads: int = Field(
        1,
        ge=1,
        le=1024,
        description="threads per compute job; set here so that results do not depend on `--cores`",
    )
    mirror: str | None = Field(
        None, description=f"folder to search first for files of data sets; {MIRROR_VARIABLE} does the same"
    )
    energy: EnergyConfig | None = Field(
        None,
        description="record the energy of each training and its CO2, by a country's electricity mix: `{country: DEU}`; "
        "needs the extra `energy`",
    )
    figures: FiguresConfig = Field(FiguresConfig(), description="how figures are drawn")
    split_seed: Seed = Field(0, description="seed of the split into train, val and test (60/20/20)")
    networks: Networks = Field(
        {
            "digits": ["dnn_simple", "cnn"],
            "breast_cancer": ["dnn_simple", "dnn_complex"],
            "mv_synthetic": ["dnn_simple", "dnn_complex"],
        },
        description="the networks to train on each data set",
    )
    overrides: Annotated[dict[str, OverrideConfig], AfterValidator(_check_overrides)] = Field(
        {},
        description="settings for one data set, or one network on it: "
        "`{digits: {draws: 2}, digits/cnn: {seeds: [0]}}`; any from `seeds` to `retraining`. "
        "`training` and `retraining` are merged setting by setting; lists and `chains` are replaced",
    )
    replication: ReplicationConfig | None = Field(
        None, description="replicate the published study instead of running the above; see replication.yaml"
    )

    @model_validator(mode="after")
    def _weights_are_named(self) -> Self:
        for (dataset, network), cell in self.cells().items():
            if cell.training is None and cell.weights is None and not self.replication:
                raise wrong(f"'training' of {dataset}/{network} is None, so 'weights' must name the file of "
                            f"the trained network")  # fmt: skip
            if cell.frozen and cell.weights is None:
                raise wrong(f"'frozen' is true for {dataset}/{network}, but 'weights' names no file to freeze; "
                            f"name one, or remove 'frozen'")  # fmt: skip
            if cell.training is None and cell.recipes:
                raise wrong(f"'training' of {dataset}/{network} is None, so there is nothing to compare; "
                            f"remove 'recipes', or set 'training'")  # fmt: skip
            for name in ("training", "retraining"):
                settings = getattr(cell, name)
                if settings and len(settings.resolutions) > 1 and registry.datasets()[dataset].input != "image":
                    raise wrong(f"'{name}.resolutions' of {dataset}/{network} apply to images, but '{dataset}' is a "
                                f"table; set them under 'overrides' for image data sets only")  # fmt: skip
        return self

    @property
    def idle_overrides(self) -> list[str]:
        """The names under ``overrides`` that have no effect because the run has no such data set or network."""
        places = {name for dataset, network in self.cells() for name in (dataset, f"{dataset}/{network}")}
        return [name for name in self.overrides if name not in places]

    @property
    def datasets(self) -> list[str]:
        """The data sets of the run."""
        return list(self.replication.datasets if self.replication else self.networks)

    def cell(self, dataset: str, network: str) -> CellConfig:
        """The settings of one network on one data set: those of the run with overrides applied.

        ``training`` and ``retraining`` are merged setting by setting; lists and ``chains`` are replaced.
        """
        settings = {name: getattr(self, name) for name in CellConfig.model_fields}
        for key in (dataset, f"{dataset}/{network}"):
            if key in self.overrides:
                override = self.overrides[key]
                for name in override.model_fields_set:
                    value = getattr(override, name)
                    if isinstance(value, TrainingConfig):
                        before = settings[name] or getattr(self, name) or CellConfig.model_fields[name].default
                        value = before.model_copy(update=value.model_dump(exclude_unset=True))
                    settings[name] = value
        if settings["training"] is None and "{seed}" not in (settings["weights"] or ""):
            settings["seeds"] = settings["seeds"][:1]  # the others would be the same network again
        return CellConfig.model_construct(**settings)

    def cells(self) -> dict[tuple[str, str], CellConfig]:
        """The settings of each data set and network of the run."""
        return {(d, n): self.cell(d, n) for d, networks in self.networks.items() for n in networks}


def parse(raw: Mapping[str, Any], source: str = "the config") -> RunConfig:
    """Validate a config, fill in defaults, and register its own data sets, networks and methods.

    Raises ConfigError, one sentence that names ``source``.
    """
    raw = dict(raw) if isinstance(raw, Mapping) else raw
    added = {name: raw[name] for name in OwnConfig.model_fields if isinstance(raw, dict) and name in raw}
    try:
        registry.set_own(own.entries(OwnConfig.model_validate(added)))
        return RunConfig.model_validate(raw)
    except ValidationError as error:
        # Misspelt names first: they may be the missing ones.
        first, *others = sorted(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
        more = f" ({len(others)} more errors)" if others else ""
        raise ConfigError(" ".join(f"{source}: {_told(first)}{more}".split())) from None
    except ValueError as error:
        raise ConfigError(f"{source}: {error}") from None


def _told(error: Mapping[str, Any]) -> str:
    place: tuple[str | int, ...] = (*error["loc"], "", "", "")
    first, name, kind, *others = place
    if first != "own_data" or kind not in own.DATA_KINDS:
        return sentence(error, _settings_at)
    place = tuple(filter(None, (first, name, *others)))  # without the kind, which is not a setting
    return sentence({**error, "loc": place}, lambda _: own.DATA_KINDS[kind].model_fields)


def check_paths(config: RunConfig, source: str = "the config") -> None:
    """Raise ConfigError if a file or folder that the run starts from does not exist."""
    for (dataset, network), cell in config.cells().items():
        for weights in filter(None, map(cell.weights_of, cell.seeds)):
            if not Path(weights).is_file():
                place = f"{source}: 'weights' of {dataset}/{network}"
                raise ConfigError(f"{place} is {weights!r}, but that file does not exist; name a safetensors file")
    if (study := config.replication) and not Path(study.weights).is_dir():
        raise ConfigError(
            f"{source}: 'replication.weights' is {study.weights!r}, which is not a folder; name the study's"
        )


def _settings_at(place: Sequence[str | int]) -> Mapping[str, Any]:
    """The settings available at a place in the config."""
    inner: dict[str, type[BaseModel]] = {
        "training": TrainingConfig,
        "retraining": RetrainingConfig,
        "energy": EnergyConfig,
        "figures": FiguresConfig,
        "replication": ReplicationConfig,
    }
    named: dict[str, type[BaseModel]] = {"overrides": CellConfig, "chains": ChainConfig, "own_networks": own.OwnNetwork}
    model: type[BaseModel] = RunConfig
    parts = iter(place)
    for part in parts:
        model = {**inner, **named}[str(part)]
        if part in named:
            next(parts, None)  # the user's name for it
    return model.model_fields
