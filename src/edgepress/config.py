"""What a run is asked to do: one model, from which come the checks and, in ``edgepress.documents``, the schema, the
starter config and its table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, Field, ValidationError, model_validator

from edgepress import checks, own, registry
from edgepress.checks import (
    AllDistinct,
    Bits,
    Count,
    Distinct,
    LevelName,
    MethodNames,
    Networks,
    PeerNames,
    Precision,
    Seed,
    Settings,
    Share,
    StepNames,
    known,
    wrong,
)
from edgepress.config_text import ConfigError, sentence
from edgepress.jobs import Job
from edgepress.levels import FULL_PRECISION, Level
from edgepress.own import OwnConfig
from edgepress.recipes import RECIPES, Recipes, TrainingConfig
from edgepress.sources import MIRROR_VARIABLE


def _check_chains(chains: dict[str, ChainConfig]) -> dict[str, ChainConfig]:
    for name, chain in chains.items():
        checks.new_name("chain", name, registry.methods() | registry.peers() | {"fp32": None})
        sweeps = set().union(*(registry.methods()[step].sweeps for step in chain.steps))
        if not sweeps:
            raise wrong(f"none of the steps of '{name}' has levels; add one that quantizes or prunes")
        for swept in ("bits", "act_bits", "sparsity"):
            if getattr(chain, swept) is not None and swept not in sweeps:
                raise wrong(f"none of the steps of '{name}' has {swept}; leave it out, or add a step that has")
        for step in chain.steps[1:]:
            if registry.methods()[step].retrains:
                raise wrong(f"'{step}' trains the network again, so it must be the first step of '{name}'")
            if registry.methods()[step].first:
                raise wrong(f"'{step}' changes the weights that it keeps, so it must be the first step of '{name}'")
    return chains


class ChainConfig(Settings):
    """Methods applied one after the other, each to what the one before it stores."""

    steps: StepNames = Field(description="the methods, in order")
    bits: Distinct[Bits] | None = Field(None, description="bits a weight; None takes those of the run")
    act_bits: Distinct[Bits] | None = Field(None, description="bits an activation; None takes those of the run")
    sparsity: Distinct[Share] | None = Field(None, description="shares removed; None takes those of the run")


class CellConfig(Settings):
    """What is done to one network on one data set: its trainings, and how each of them is compressed."""

    seeds: Distinct[Seed] = Field([0, 1, 2], description="trainings of each network; intervals are over them")
    methods: MethodNames = Field(
        [
            "midrise",
            "nearest_uniform",
            "nearest_uniform_iqr",
            "nearest_histogram",
            "nearest_normal",
            "stochastic_uniform",
            "stochastic_uniform_iqr",
            "stochastic_histogram",
            "stochastic_normal",
            "magnitude",
            "magnitude_global",
            "random",
        ],
        description="ways to compress each trained network; `fp32`, full precision, is always there",
    )
    chains: Annotated[dict[str, ChainConfig], AfterValidator(_check_chains)] = Field(
        {},
        description="further methods by name, each a chain: `{steps: [nearest_uniform, magnitude], sparsity: [0.2]}`",
    )
    peers: PeerNames = Field(
        [],
        description="other libraries that compress each network, too: names, `[onnxruntime, torchao]` say, or true for "
        "all that `edgepress list peers` tells; needs the extra `peers`",
    )
    bits: Distinct[Bits] = Field(
        [16, 12, 10, 8, 6, 4, 3, 2], description="bits a weight, 1–16, for the methods that quantize"
    )
    retraining_bits: Annotated[list[Bits], AllDistinct] | None = Field(
        None,
        description="bits a weight for the methods that train again; null takes those of `bits`, [] leaves them out",
    )
    act_bits: Distinct[Bits] = Field([8, 4], description="bits an activation, for the methods that quantize these")
    sparsity: Distinct[Share] = Field(
        [0.0, 0.25, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.97, 0.99],
        description="shares of weights removed, from 0 to below 1, for the methods that prune",
    )
    retraining_sparsity: Annotated[list[Share], AllDistinct] | None = Field(
        None,
        description="shares removed by the methods that train again; null takes those of `sparsity`, "
        "[] leaves these methods out",
    )
    draws: Count = Field(5, description="repetitions of each stochastic method")
    splits: Distinct[Literal["train", "val", "test"]] = Field(
        ["train", "val", "test"],
        description="parts of the data on which quality is measured; things are chosen on val and reported on test",
    )
    fold_bn: bool = Field(
        True,
        description="make BatchNorm part of the layer before it, but for methods that train the network again with it",
    )
    hardware: Annotated[list[Precision], AllDistinct] = Field(
        [],
        description="precisions whose energy and cycles an accelerator is simulated for, as in `[w8a8, w4a4]`, with "
        "`w32a32` beside them; needs the extra `hardware`",
    )
    latency: Annotated[list[LevelName], AllDistinct] = Field(
        [],
        description="levels whose time on ONNX Runtime is measured, `[w32, w8a8]` say, on the first seed; needs the "
        "extra `deploy`",
    )
    weights: str | None = Field(
        None,
        description="safetensors file that training begins from, where its tensors fit; null is from scratch. "
        "`{seed}` in its name stands for the seed",
    )
    frozen: bool = Field(False, description="keep what `weights` gives as it is, and train the rest, a new head, alone")
    training: TrainingConfig | None = Field(
        TrainingConfig(),
        description="how networks are trained; null trains none: `weights` hold all of the network, which is one seed",
    )
    recipes: Annotated[Recipes, AllDistinct] = Field(
        [],
        description="ways to train that are compared, beside all else, in quality against steps, seconds and energy: "
        "`[adam, early_stop, onecycle, progressive, bf16]`; the first is what the others are measured by",
    )
    retraining: TrainingConfig = Field(
        TrainingConfig(lr=0.002, max_epochs=10), description="how the methods that train again do it"
    )

    @property
    def simulated(self) -> list[str]:
        """The precisions at which an accelerator is simulated: those asked for, if any, and full precision."""
        return list(dict.fromkeys([FULL_PRECISION, *self.hardware])) if self.hardware else []

    def weights_of(self, seed: object) -> str | None:
        """The file that the training with this seed begins from."""
        return self.weights and self.weights.replace("{seed}", f"{seed}")

    def trained_by(self, recipe: str) -> dict[str, Any]:
        """The settings of a training by the recipe of that name."""
        return {**(self.training or TrainingConfig()).model_dump(), **RECIPES[recipe]}

    def steps(self, method: str) -> list[str]:
        """The methods that ``method`` consists of: those of a chain, or itself."""
        return list(self.chains[method].steps) if method in self.chains else [method]

    def retrains(self, method: str) -> bool:
        """Whether the method, or a step of the chain, of that name trains the network again."""
        return any(registry.methods()[step].retrains for step in self.steps(method))

    def _sweeps(self, method: str) -> set[str]:
        """The lists whose values, in every combination, are the levels of the method, or chain, of that name."""
        return set().union(*(registry.methods()[step].sweeps for step in self.steps(method)))

    def levels(self, method: str) -> list[str]:
        """The names of the levels at which ``method``, or the chain of that name, runs."""
        chain = self.chains.get(method)
        sweeps = self._sweeps(method)
        bits, sparsity = self.bits, self.sparsity
        if self.retrains(method):
            bits = bits if self.retraining_bits is None else self.retraining_bits
            sparsity = sparsity if self.retraining_sparsity is None else self.retraining_sparsity
        bits = (chain and chain.bits) or bits
        act_bits = (chain and chain.act_bits) or self.act_bits
        sparsity = (chain and chain.sparsity) or sparsity
        return [
            str(Level(bits=bit, act_bits=act_bit, sparsity=share))
            for bit in (bits if "bits" in sweeps else [None])
            for act_bit in (act_bits if "act_bits" in sweeps else [None])
            for share in (sparsity if "sparsity" in sweeps else [None])
        ]

    def jobs(self) -> list[Job]:
        """The jobs that compress a trained network.

        The methods of a family share a job, because importing torch costs more than quantizing. Those that train
        the network again share one a level.
        """
        jobs: dict[tuple[str, str], dict[str, list[str]]] = {}
        for method in [*self.methods, *self.chains]:
            family, levels = registry.family(self.steps(method)), self.levels(method)
            if not self.retrains(method):
                jobs.setdefault((family, ""), {})[method] = levels
                continue
            for level in levels:
                jobs.setdefault((family, level), {})[method] = [level]
        return [Job(family, level, methods) for (family, level), methods in jobs.items()]

    def peer_jobs(self) -> list[Job]:
        """The jobs in which peers compress a trained network, one each."""
        return [Job(peer, "", {peer: list(registry.peers()[peer].levels)}) for peer in self.peers]

    @property
    def offers(self) -> set[str]:
        """What its results can show: the families of its methods, and for those that do not train the network again
        what they are swept over, ``bits``, ``sparsity`` or ``act_bits+bits``, say; recipes; and costs
        that are taken.
        """
        names = [*self.methods, *self.chains]
        sweeps = ("+".join(sorted(self._sweeps(name))) for name in names if not self.retrains(name))
        families = (registry.family(self.steps(name)) for name in names)
        costs = (name for name in ("recipes", "hardware", "latency") if getattr(self, name))
        return {*sweeps, *families, *costs}


if TYPE_CHECKING:
    OverrideConfig = Settings  # a model that is made at run time is no type
else:
    OverrideConfig = checks.optional(
        CellConfig, "OverrideConfig", "Settings of one data set or network that differ from the rest."
    )


def _check_overrides(overrides: dict[str, Any]) -> dict[str, Any]:
    for name in overrides:
        dataset, slash, network = name.partition("/")
        known("data set", dataset, registry.datasets())
        if slash:
            known("network", network, registry.networks())
    return overrides


class ReplicationConfig(Settings):
    """The study again, from its own weights and in its own definitions, instead of a run of edgepress's."""

    weights: str = Field(description="folder of the study's networks, `<dataset>_simple.safetensors` and `_complex`")
    datasets: Distinct[Literal["churn", "telescope", "california", "mv"]] = Field(
        ["churn", "telescope", "california", "mv"], description="data sets of the study"
    )
    draws: int = Field(
        10, ge=2, lt=2**31, description="repetitions of its stochastic methods, the first from its own stream"
    )


class EnergyConfig(Settings):
    """The energy that training takes, by codecarbon, and where its electricity is made."""

    country: str = Field(pattern="^[A-Z]{3}$", description="country of the machine, three letters (ISO 3166)")


class FiguresConfig(Settings):
    """What the figures of the report are made for."""

    style: Literal["ieee", "neurips", "talk"] = Field(
        "ieee", description="what figures are made for: a paper of two columns, one of one column, or slides"
    )


class RunConfig(CellConfig, OwnConfig):
    """Everything that one config file asks for."""

    run: checks.RunName = Field(
        "starter",
        max_length=64,
        pattern=f"^{checks.NAME}$",
        description="name of the run; its results are in results/<run>/",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="where networks are trained and evaluated; `auto` takes a GPU where there is one"
    )
    threads: int = Field(
        1,
        ge=1,
        le=1024,
        description="threads of a job that computes; set here, so that results do not depend on `--cores`",
    )
    mirror: str | None = Field(
        None, description=f"folder where files of data sets are looked for first; {MIRROR_VARIABLE} does the same"
    )
    energy: EnergyConfig | None = Field(
        None,
        description="take the energy of each training, as in `{country: DEU}`, whose mix of electricity gives its CO2; "
        "needs the extra `energy`",
    )
    figures: FiguresConfig = Field(FiguresConfig(), description="how figures are drawn")
    split_seed: Seed = Field(0, description="decides which rows are train, val and test (60/20/20)")
    networks: Networks = Field(
        {
            "digits": ["dnn_simple", "cnn"],
            "breast_cancer": ["dnn_simple", "dnn_complex"],
            "mv_synthetic": ["dnn_simple", "dnn_complex"],
        },
        description="for each data set, the networks to train on it",
    )
    overrides: Annotated[dict[str, OverrideConfig], AfterValidator(_check_overrides)] = Field(
        {},
        description="settings that differ for a data set, or for one network of it: "
        "`{mnist: {draws: 2}, mnist/cnn: {seeds: [0]}}`; any from `seeds` to `retraining` can",
    )
    replication: ReplicationConfig | None = Field(
        None, description="recompute what the study published, instead of all the above; see replication.yaml"
    )

    @model_validator(mode="after")
    def _weights_are_named(self) -> Self:
        for (dataset, network), cell in self.cells().items():
            if cell.training is None and cell.weights is None and not self.replication:
                raise wrong(f"'training' of {dataset}/{network} is None, so 'weights' must name the file that "
                            f"holds the trained network")  # fmt: skip
            if cell.frozen and cell.weights is None:
                raise wrong(f"'frozen' is true for {dataset}/{network}, but 'weights' names no file to keep as it is; "
                             f"name one, or leave 'frozen' out")  # fmt: skip
            if cell.training is None and cell.recipes:
                raise wrong(f"'training' of {dataset}/{network} is None, so there is nothing to compare; "
                            f"leave 'recipes' out, or say how it is trained")  # fmt: skip
            for name in ("training", "retraining"):
                settings = getattr(cell, name)
                if settings and len(settings.resolutions) > 1 and registry.datasets()[dataset].input != "image":
                    raise wrong(f"'{name}.resolutions' of {dataset}/{network} are for images, and '{dataset}' is a "
                                f"table; set them under 'overrides' for images alone")  # fmt: skip
        return self

    @property
    def idle_overrides(self) -> list[str]:
        """The names under ``overrides`` that change nothing, because the run has no such data set or network."""
        places = {name for dataset, network in self.cells() for name in (dataset, f"{dataset}/{network}")}
        return [name for name in self.overrides if name not in places]

    @property
    def datasets(self) -> list[str]:
        """The data sets of the run."""
        return list(self.replication.datasets if self.replication else self.networks)

    def cell(self, dataset: str, network: str) -> CellConfig:
        """The settings of one network on one data set: those of the run, and on top of them what it overrides."""
        settings = {name: getattr(self, name) for name in CellConfig.model_fields}
        for key in (dataset, f"{dataset}/{network}"):
            if key in self.overrides:
                override = self.overrides[key]
                for name in override.model_fields_set:
                    value = getattr(override, name)
                    if isinstance(value, TrainingConfig):
                        before = settings[name] or CellConfig.model_fields[name].default
                        value = before.model_copy(update=value.model_dump(exclude_unset=True))
                    settings[name] = value
        if settings["training"] is None and "{seed}" not in (settings["weights"] or ""):
            settings["seeds"] = settings["seeds"][:1]  # the others would be the same network again
        return CellConfig.model_construct(**settings)

    def cells(self) -> dict[tuple[str, str], CellConfig]:
        """The settings of each data set and network of the run."""
        return {(d, n): self.cell(d, n) for d, networks in self.networks.items() for n in networks}


def parse(raw: Mapping[str, Any], source: str = "the config") -> RunConfig:
    """Check a config and fill in what it leaves out; what it adds of the user's own is known to the registry then.

    Raises ConfigError, naming ``source``, in one sentence.
    """
    raw = dict(raw) if isinstance(raw, Mapping) else raw
    added = {name: raw[name] for name in OwnConfig.model_fields if isinstance(raw, dict) and name in raw}
    try:
        registry.set_own(own.entries(OwnConfig.model_validate(added)))
        return RunConfig.model_validate(raw)
    except ValidationError as error:
        # What is misspelt comes first: it may be what is missing.
        first, *others = sorted(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
        more = f" ({len(others)} more to mend after this one)" if others else ""
        raise ConfigError(" ".join(f"{source}: {_told(first)}{more}".split())) from None
    except ValueError as error:
        raise ConfigError(f"{source}: {error}") from None


def _told(error: Mapping[str, Any]) -> str:
    place: tuple[str | int, ...] = (*error["loc"], "", "", "")
    first, name, kind, *others = place
    if first != "own_data" or kind not in own.DATA_KINDS:
        return sentence(error, _settings_at)
    place = tuple(filter(None, (first, name, *others)))  # without the kind, which is no setting but decides on them
    return sentence({**error, "loc": place}, lambda _: own.DATA_KINDS[kind].model_fields)


def check_paths(config: RunConfig, source: str = "the config") -> None:
    """Raise ConfigError where a file or folder that a run begins from is not there."""
    for (dataset, network), cell in config.cells().items():
        for weights in filter(None, map(cell.weights_of, cell.seeds)):
            if not Path(weights).is_file():
                place = f"{source}: 'weights' of {dataset}/{network}"
                raise ConfigError(f"{place} is {weights!r}, but no such file is there; name a safetensors file")
    if (study := config.replication) and not Path(study.weights).is_dir():
        raise ConfigError(f"{source}: 'replication.weights' is {study.weights!r}, but no folder; name the study's")


def _settings_at(place: Sequence[str | int]) -> Mapping[str, Any]:
    """The settings that there are at a place of the config."""
    inner: dict[str, type[BaseModel]] = {
        "training": TrainingConfig,
        "retraining": TrainingConfig,
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
            next(parts, None)  # the name that it goes by
    return model.model_fields
