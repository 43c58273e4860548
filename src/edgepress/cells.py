"""What may be asked for one network on one data set: how it is trained, and how each training is compressed."""

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
        ["val", "test"],
        description="parts of the data on which compressed networks are measured; things are chosen on val and "
        "reported on test. Full precision is measured on all three",
    )
    fold_bn: bool = Field(
        True,
        description="make BatchNorm part of the layer before it; methods that train the network again train with it",
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
    devices: Annotated[list[LevelName], AllDistinct] = Field(
        [],
        description="levels whose packed files, by every method that has them, are compiled for microcontrollers and "
        "run in an emulator, `[w8a8, w4]` say, on the first seed; needs Debian's `gcc-arm-none-eabi` and "
        "`qemu-system-arm`",
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
    retraining: RetrainingConfig = Field(RetrainingConfig(), description="how the methods that train again do it")

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
        names = [name for name in [*self.methods, *self.chains] if self.levels(name)]
        sweeps = ("+".join(sorted(self._sweeps(name))) for name in names if not self.retrains(name))
        families = (registry.family(self.steps(name)) for name in names)
        costs = (name for name in ("recipes", "hardware", "latency", "devices") if getattr(self, name))
        return {*sweeps, *families, *costs}
