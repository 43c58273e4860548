"""Training a network in full precision."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgepress import networks
from edgepress.checkpoints import Checkpoints, TrainingState
from edgepress.datasets import Prepared, sample
from edgepress.evaluation import amounts, class_logits, evaluate, quality
from edgepress.graph import NORMS
from edgepress.outputs import NetworkError
from edgepress.target_scale import TargetScale

_SETTLING_ROWS = 2048
_LEAST_CYCLE = 3  # steps: a third of them would be one, which has no way up
HISTORY = ("epoch", "lr", "train_loss", "val_loss", "val_quality")  # what is known of an epoch


@dataclass(frozen=True)
class Training:
    """Adam with decoupled weight decay; the best epoch on val is what counts.

    The learning rate falls along a cosine from ``lr`` to 0 over ``max_epochs``, after rising to it over the first
    third where ``schedule`` is ``onecycle`` (Smith and Topin 2018, arXiv 1708.07120), or is ``constant``. Training
    ends after ``patience`` epochs without a lower loss on val; None takes all epochs. ``augment`` shifts images by up
    to an eighth of their size (``crop``) and mirrors half of them (``crop_flip``). With ``precision`` ``bf16``, which
    ``auto`` is on a GPU, steps compute in bfloat16 where that is safe; the weights, and every evaluation, are float32.

    Images are trained on at ``resolutions``, shares of their sides, one after the other and each for as many epochs.
    The last is 1, and only the epochs at 1 count for what is best: those before leave BatchNorm with the statistics
    of small images.
    """

    lr: float
    batch_size: int
    max_epochs: int
    patience: int | None
    schedule: Literal["constant", "cosine", "onecycle"] = "cosine"
    weight_decay: float = 0.0
    augment: Literal["none", "crop", "crop_flip"] = "none"
    label_smoothing: float = 0.0
    precision: Literal["auto", "float32", "bf16"] = "auto"
    resolutions: Sequence[float] = (1.0,)

    def resolution(self, epoch: int) -> float:
        """The share of its sides at which an image is trained on in ``epoch``, counted from 1."""
        left = self.max_epochs - epoch  # from the end, so that the last epoch is at full size however few there are
        return self.resolutions[-1 - left * len(self.resolutions) // self.max_epochs]

    @property
    def small_epochs(self) -> int:
        """The epochs before the first at full size."""
        return next(epoch for epoch in range(self.max_epochs) if self.resolution(epoch + 1) == 1)


def choose_device(name: str) -> torch.device:
    """``auto`` is a GPU where there is one."""
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)


def begun(name: str, data: Prepared, seed: int, weights: str | None, frozen: bool) -> tuple[nn.Module, list[str]]:
    """The network called ``name`` as its training begins, on the CPU, and the names of its tensors that were loaded.

    Tensors of the file ``weights`` that fit are put in and, where ``frozen``, stay as they are in training. Prints what
    is new. Raises NetworkError where nothing is left to train.
    """
    network = networks.build(name, data, seed)
    loaded = networks.begin_from(network, weights) if weights else []
    print(f"{len(loaded)} tensors are those of {weights}" if weights else "all weights are trained from scratch")
    freeze(network, loaded if frozen else [])
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise NetworkError(f"{weights} holds all of '{name}', and `frozen` keeps it as it is, so nothing is "
                                    f"left to train; set `training: null` to take it so")  # fmt: skip
    return network, loaded


def train(
    network: nn.Module,
    data: Prepared,
    settings: Training,
    seed: int,
    on_epoch: Callable[[dict[str, Any]], None] = lambda row: None,
    checkpoints: Checkpoints | None = None,
    loaded: Collection[str] = (),
) -> list[dict[str, Any]]:
    """Train ``network`` in place on the train split of ``data``; both are on the same device.

    The last layer of a fresh network for regression is first brought to the target's unit (``TargetScale``). Tensors
    whose names are ``loaded`` have it already: they come from a trained network, and begin as they are. Parameters that
    require no gradient stay as they are. ``seed`` decides the order of the examples and dropout.
    Returns the history, a row an epoch: epoch, lr, train_loss, val_loss (cross-entropy in nats, or mean squared error
    in the target's squared unit), val_quality (accuracy, or R²); ``on_epoch`` gets each row as it comes. With
    ``checkpoints``, the same training that was killed goes on where it was. Raises ArithmeticError where the loss is no
    longer finite, and ValueError where the network takes no images of a resolution asked for.
    """
    TargetScale.of(data, network).begin(loaded)
    return _descend(network, data, settings, seed, on_epoch, math.inf, checkpoints)


def retrain(
    network: nn.Module,
    data: Prepared,
    settings: Training,
    seed: int,
    on_epoch: Callable[[dict[str, Any]], None] = lambda row: None,
    checkpoints: Checkpoints | None = None,
    generators: Sequence[torch.Generator] = (),
) -> list[dict[str, Any]]:
    """Train a trained ``network`` on, in place; its weights may stand behind parametrizations.

    Where no epoch is better on val than the start, the start is what is kept. BatchNorms get their statistics anew
    before each evaluation (``settle_norms``). ``generators`` are those that the network itself draws from. Otherwise
    like ``train``.
    """
    settle_norms(network, data.inputs["train"], settings.batch_size, seed)
    best_loss = evaluate(network, data, "val")["loss"]
    return _descend(network, data, settings, seed, on_epoch, best_loss, checkpoints, generators, settle=True)


def settle_norms(network: nn.Module, inputs: Tensor, batch_size: int, seed: int) -> None:
    """Give BatchNorms the statistics of ``network`` as it is evaluated, on rows of ``inputs`` drawn by ``seed``.

    Rows in the order of a file would not do, which may be sorted: a batch of one class varies less than the data.
    Statistics gathered in training are of weights that have changed since or, behind a parametrization, of others than
    are stored. (Nagel et al. 2022, arXiv 2203.11086.)
    """
    network.eval()
    norms = [module for module in network.modules() if isinstance(module, NORMS) and not _is_frozen(module)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean of all batches
        norm.train()
    settled_on = sample(inputs, _SETTLING_ROWS, seed)
    with torch.no_grad():
        for batch in settled_on.tensor_split(
            math.ceil(len(settled_on) / batch_size)
        ):  # of a size, as each counts alike
            network(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()


def _descend(
    network: nn.Module,
    data: Prepared,
    settings: Training,
    seed: int,
    on_epoch: Callable[[dict[str, Any]], None],
    best_loss: float,
    checkpoints: Checkpoints | None,
    generators: Sequence[torch.Generator] = (),
    settle: bool = False,
) -> list[dict[str, Any]]:
    """Take the steps, and leave the network as it was when its loss on val was lowest, and below ``best_loss``."""
    checkpoint = None
    if checkpoints is not None:
        checkpoint = checkpoints.of(network, data.only("train", "val"), settings, seed, best_loss, generators)
    scale = TargetScale.of(data, network)
    torch.manual_seed(seed)
    order = torch.Generator().manual_seed(seed)
    if data.inputs["train"].dim() == 4:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # not in torch's types
    optimizer = torch.optim.AdamW(scale.groups(network, settings.lr, settings.weight_decay))
    schedule = _schedule(optimizer, settings, len(data.inputs["train"]))
    drawn_from = [*_generators_of(data.inputs["train"].device), order, *generators]
    state = TrainingState(network, optimizer, schedule, drawn_from, copy.deepcopy(network.state_dict()), best_loss)
    if checkpoint is not None:
        checkpoint.resume(state)
    for row in state.history:
        on_epoch(row)
    while not _ended(state, settings):
        lr = schedule.get_last_lr()[0]
        train_loss = _epoch(state, data, settings, scale, order)
        if settle:
            settle_norms(network, data.inputs["train"], settings.batch_size, seed)
        val = evaluate(network, data, "val")
        epoch, val_loss = len(state.history) + 1, val["loss"]
        known = (epoch, lr, train_loss, val_loss, quality(val))
        state.history.append(dict(zip(HISTORY, known, strict=True)))
        on_epoch(state.history[-1])
        if epoch > settings.small_epochs and val_loss < state.best_loss:
            state.best, state.best_loss, state.best_epoch = copy.deepcopy(network.state_dict()), val_loss, epoch
        if checkpoint is not None:
            checkpoint.save(state, _ended(state, settings))
    network.load_state_dict(state.best)
    return state.history


def _ended(state: TrainingState, settings: Training) -> bool:
    epochs, patience = len(state.history), settings.patience
    in_vain = epochs - max(state.best_epoch, settings.small_epochs)
    return epochs >= settings.max_epochs or (patience is not None and in_vain >= patience)


def _generators_of(device: torch.device) -> list[torch.Generator]:
    """Those that torch itself draws from there, for dropout."""
    on_device = [torch.cuda.default_generators[torch.cuda.current_device()]] if device.type == "cuda" else []
    return [torch.default_generator, *on_device]


def _epoch(
    state: TrainingState, data: Prepared, settings: Training, scale: TargetScale, order: torch.Generator
) -> float:
    """Take the steps of one epoch; the mean loss of its examples, before their steps."""
    inputs, targets = data.inputs["train"], data.targets["train"]
    device = inputs.device
    bf16 = settings.precision == "bf16" or (settings.precision == "auto" and device.type == "cuda")
    epoch = len(state.history) + 1
    resolution = settings.resolution(epoch)
    _to_training_mode(state.network)
    total = torch.zeros((), device=device)
    shuffled = torch.randperm(len(inputs), generator=order).to(device)
    for rows in _batches(shuffled, settings.batch_size):
        state.optimizer.zero_grad(set_to_none=True)
        batch = augmented(resized(inputs[rows], resolution), settings.augment, order)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16), _telling_of(resolution, batch):
            outputs = state.network(batch)
        loss = _loss(outputs.float(), targets[rows], settings.label_smoothing) / scale.variance
        loss.backward()
        state.optimizer.step()
        state.schedule.step()
        total += loss.detach() * len(rows)
    mean = float(total) / len(inputs) * scale.variance
    if not math.isfinite(mean):
        raise ArithmeticError(f"training diverged in epoch {epoch}: the loss is {mean}; lower its lr")
    return mean


def freeze(network: nn.Module, names: Iterable[str]) -> None:
    """Keep the parameters called ``names`` as they are in a training to come."""
    frozen = set(names)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name not in frozen)


def _to_training_mode(network: nn.Module) -> None:
    """Dropout drops, and BatchNorm learns its statistics, but where its parameters are frozen."""
    network.train()
    for module in network.modules():
        if _is_frozen(module):
            module.eval()


def _is_frozen(module: nn.Module) -> bool:
    """Whether a module has parameters of its own, and all of them stay as they are."""
    own = list(module.parameters(recurse=False))
    return bool(own) and not any(parameter.requires_grad for parameter in own)


def _schedule(optimizer: torch.optim.Optimizer, settings: Training, rows: int) -> torch.optim.lr_scheduler.LRScheduler:
    """The learning rate of each step, over all epochs."""
    steps = settings.max_epochs * steps_an_epoch(rows, settings.batch_size)
    if settings.schedule == "constant":
        return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
    if settings.schedule == "onecycle" and steps > _LEAST_CYCLE:
        peaks = [group["lr"] for group in optimizer.param_groups]
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, peaks, steps, pct_start=1 / 3)
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)


def resized(images: Tensor, share: float) -> Tensor:
    """Images (rows, channels, height, width), their sides that share of what they were; a pixel is the mean of those
    that it covers.
    """
    if share == 1:
        return images
    return F.interpolate(images, [max(1, round(share * side)) for side in images.shape[2:]], mode="area")


@contextlib.contextmanager
def _telling_of(resolution: float, images: Tensor) -> Iterator[None]:
    """Says of an error within that it comes from small images, where it does."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        if resolution == 1:
            raise
        size = f"{images.shape[2]}×{images.shape[3]}"
        raise ValueError(f"the network takes no images of {size}, its resolution {resolution}") from error


def augmented(images: Tensor, how: str, generator: torch.Generator) -> Tensor:
    """Shift each image (rows, channels, height, width) at random by up to an eighth, its edge repeated, and, for
    ``crop_flip``, mirror half of them; the whole batch at once. ``none`` gives the batch back.
    """
    if how == "none":
        return images
    count, _, height, width = images.shape

    def places(size: int, mirrored: Tensor | None = None) -> Tensor:
        shift = torch.randint(-(size // 8), size // 8 + 1, (count, 1), generator=generator)
        place = torch.arange(size).expand(count, size)
        if mirrored is not None:
            place = torch.where(mirrored, size - 1 - place, place)
        return (place + shift).clamp_(0, size - 1).to(images.device)

    mirrored = torch.rand((count, 1), generator=generator) < 0.5 if how == "crop_flip" else None
    rows, columns = places(height), places(width, mirrored)
    picked = images[torch.arange(count, device=images.device)[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return picked.permute(0, 3, 1, 2)  # picked is channels-last; so is what comes out


def _loss(outputs: Tensor, targets: Tensor, label_smoothing: float) -> Tensor:
    if targets.is_floating_point():
        return F.mse_loss(amounts(outputs), targets)
    return F.cross_entropy(class_logits(outputs), targets, label_smoothing=label_smoothing)


def _batches(rows: Tensor, size: int) -> list[Tensor]:
    """Split ``rows`` into batches; a last one of a single row joins its neighbour, for BatchNorm's sake."""
    batches = list(rows.split(size))
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


def steps_an_epoch(rows: int, batch_size: int) -> int:
    """The steps in which a training passes over ``rows`` examples."""
    return len(_batches(torch.arange(rows), batch_size))
