"""The settings of one network on one data set: how to train it and how to compress each training."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from edgepress import checks, registry
from edgepress.checks import (
    AllDistinct,
    Bits,
    Count,
    Distinct,
    LevelName,
    MethodNames,
    PeerNames,
    Precision,
    Seed,
    Settings,
    Share,
    StepNames,
    wrong,
)
from edgepress.jobs import Job
from edgepress.levels import FULL_PRECISION, Level
from edgepress.recipes import RECIPES, Recipes, RetrainingConfig, TrainingConfig


def _check_chains(chains: dict[str, ChainConfig]) -> dict[str, ChainConfig]:
    for name, chain in chains.items():
        checks.new_name("chain", name, registry.methods() | registry.peers() | {"fp32": None})
        sweeps = set().union(*(registry.methods()[step].sweeps for step in chain.steps))
        if not sweeps and not any(registry.methods()[step].level for step in chain.steps):
            raise wrong(f"none of the steps of '{name}' has levels; add a method that quantizes or prunes")
        for swept in ("bits", "act_bits", "sparsity"):
            if getattr(chain, swept) is not None and swept not in sweeps:
                raise wrong(f"none of the steps of '{name}' has {swept}; remove it, or add a step that has")
        for step in chain.steps[1:]:
            if registry.methods()[step].retrains:
                raise wrong(f"'{step}' fine-tunes the network, so it must be the first step of '{name}'")
            if registry.methods()[step].first:
                raise wrong(f"'{step}' changes the weights that it keeps, so it must be the first step of '{name}'")
    return chains


class ChainConfig(Settings):
    """Methods applied in sequence, each to the result of the one before it."""

    steps: StepNames = Field(description="the methods, in order")
    bits: Distinct[Bits] | None = Field(None, description="bits per weight; null uses those of the run")
    act_bits: Distinct[Bits] | None = Field(None, description="bits per activation; null uses those of the run")
    sparsity: Distinct[Share] | None = Field(None, description="sparsities; null uses those of the run")


class CellConfig(Settings):
    """The trainings of one network on one data set, and how to compress them."""

    seeds: Distinct[Seed] = Field([0, 1, 2], description="seeds, one training each; intervals are over seeds")
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
        description="methods that compress each trained network: names, families, and products of settings, as in "
        "`{codebook: [uniform, normal], granularity: channel}`; `fp32`, full precision, is always included",
    )
    chains: Annotated[dict[str, ChainConfig], AfterValidator(_check_chains)] = Field(
        {},
        description="methods in sequence, by name: `{mine: {steps: [nearest_uniform, magnitude], sparsity: [0.2]}}`",
    )
    peers: PeerNames = Field(
        [],
        description="other libraries to compare with: names, as in `[onnxruntime, torchao]`, or true for all of "
        "`edgepress list peers`; needs the extra `peers`",
    )
    bits: Distinct[Bits] = Field(
        [16, 12, 10, 8, 6, 4, 3, 2], description="bits per weight, 1–16, for methods that quantize"
    )
    retraining_bits: Annotated[list[Bits], AllDistinct] | None = Field(
        None,
        description="bits per weight for methods that fine-tune; null uses `bits`, [] skips these methods",
    )
    act_bits: Distinct[Bits] = Field([8, 4], description="bits per activation, for methods that quantize activations")
    sparsity: Distinct[Share] = Field(
        [0.0, 0.25, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.97, 0.99],
        description="fractions of weights to remove, from 0 to below 1, for methods that prune",
    )
    retraining_sparsity: Annotated[list[Share], AllDistinct] | None = Field(
        None,
        description="sparsities for methods that fine-tune; null uses `sparsity`, [] skips these methods",
    )
    draws: Count = Field(5, description="repetitions of each stochastic method")
    splits: Distinct[Literal["train", "val", "test"]] = Field(
        ["val", "test"],
        description="splits on which compressed networks are evaluated; choices are made on val and reported on "
        "test. Full precision is evaluated on all three",
    )
    fold_bn: bool = Field(
        True,
        description="fold BatchNorm into the layer before it; methods that fine-tune train with BatchNorm",
    )
    hardware: Annotated[list[Precision], AllDistinct] = Field(
        [],
        description="precisions at which to simulate energy and cycles on an accelerator, as in `[w8a8, w4a4]`; "
        "`w32a32` is added; needs the extra `hardware`",
    )
    latency: Annotated[list[LevelName], AllDistinct] = Field(
        [],
        description="levels to time on ONNX Runtime, as in `[w32, w8a8]`, on the first seed; needs the extra `deploy`",
    )
    devices: Annotated[list[LevelName], AllDistinct] = Field(
        [],
        description="levels whose packed files, by every method that has them, are compiled for microcontrollers and "
        "run in an emulator, `[w8a8, w4]` say, on the first seed; needs Debian's `gcc-arm-none-eabi` and "
        "`qemu-system-arm`",
    )
    weights: str | None = Field(
        None,
        description="safetensors file with initial weights, used where its tensors fit; null trains from scratch. "
        "`{seed}` in its name stands for the seed",
    )
    frozen: bool = Field(False, description="freeze the tensors of `weights`; train only the rest, such as a new head")
    training: TrainingConfig | None = Field(
        TrainingConfig(),
        description="how to train networks; null uses `weights` as they are: the whole network, one seed",
    )
    recipes: Annotated[Recipes, AllDistinct] = Field(
        [],
        description="training recipes to compare, in addition, by quality against steps, seconds and energy: "
        "`[adam, early_stop, onecycle, progressive, bf16]`; the first is the baseline",
    )
    retraining: RetrainingConfig = Field(RetrainingConfig(), description="how methods fine-tune")

    @property
    def simulated(self) -> list[str]:
        """The precisions to simulate on an accelerator: full precision and those configured, if there are any."""
        return list(dict.fromkeys([FULL_PRECISION, *self.hardware])) if self.hardware else []

    def weights_of(self, seed: object) -> str | None:
        """The file of initial weights for this seed."""
        return self.weights and self.weights.replace("{seed}", f"{seed}")

    def trained_by(self, recipe: str) -> dict[str, Any]:
        """The training settings with a recipe applied."""
        return {**(self.training or TrainingConfig()).model_dump(), **RECIPES[recipe]}

    def steps(self, method: str) -> list[str]:
        """The methods of the chain ``method``, or the method itself."""
        return list(self.chains[method].steps) if method in self.chains else [method]

    def retrains(self, method: str) -> bool:
        """Whether the method, or a method of the chain, fine-tunes the network."""
        return any(registry.methods()[step].retrains for step in self.steps(method))

    def _sweeps(self, method: str) -> set[str]:
        """The settings whose values, in every combination, are the levels of the method or chain."""
        return set().union(*(registry.methods()[step].sweeps for step in self.steps(method)))

    def levels(self, method: str) -> list[str]:
        """The names of the levels of a method or chain."""
        chain = self.chains.get(method)
        sweeps = self._sweeps(method)
        bits, sparsity = self.bits, self.sparsity
        if self.retrains(method):
            bits = bits if self.retraining_bits is None else self.retraining_bits
            sparsity = sparsity if self.retraining_sparsity is None else self.retraining_sparsity
        if not sweeps:
            own = [registry.methods()[step].level for step in self.steps(method)]
            return list(filter(None, own))[:1] if bits else []
        bits = (chain and chain.bits) or bits
        act_bits = (chain and chain.act_bits) or self.act_bits
        sparsity = (chain and chain.sparsity) or sparsity
        return [
            str(Level(bits=bit, act_bits=act_bit, sparsity=share))
            for bit in (bits if "bits" in sweeps else [None])
            for act_bit in (act_bits if "act_bits" in sweeps else [None])
            for share in (sparsity if "sparsity" in sweeps else [None])
        ]

    @property
    def deployed(self) -> list[tuple[str, str]]:
        """The methods and levels whose packed files go to microcontrollers."""
        every = [(method, level) for method in [*self.methods, *self.chains] for level in self.levels(method)]
        return [(method, level) for method, level in every if level in self.devices]

    def jobs(self) -> list[Job]:
        """The jobs that compress a trained network.

        The methods of a family share a job, because starting one costs more than quantizing. Methods that fine-tune
        have one job per level.
        """
        jobs: dict[str, Job] = {}
        for method in [*self.methods, *self.chains]:
            family, levels = registry.family(self.steps(method)), self.levels(method)
            if not self.retrains(method):
                jobs.setdefault(family, Job(family, {})).levels[method] = levels
                continue
            for level in levels:
                name = f"{family}_{level}"
                jobs.setdefault(name, Job(name, {}, retrains=True)).levels[method] = [level]
        return list(jobs.values())

    def peer_jobs(self) -> list[Job]:
        """The jobs in which peers compress a trained network, one per peer."""
        return [Job(peer, {peer: list(registry.peers()[peer].levels)}) for peer in self.peers]

    @property
    def offers(self) -> set[str]:
        """What a report can show, matched with the ``needs`` of notebooks: families of methods; recipes; costs; and the
        settings that methods without fine-tuning sweep, such as ``bits`` or ``act_bits+bits``.
        """
        names = [name for name in [*self.methods, *self.chains] if self.levels(name)]
        sweeps = ("+".join(sorted(self._sweeps(name))) for name in names if not self.retrains(name))
        families = (registry.family(self.steps(name)) for name in names)
        costs = (name for name in ("recipes", "hardware", "latency") if getattr(self, name))
        return {*sweeps, *families, *costs, *(["devices"] if self.deployed else [])}
