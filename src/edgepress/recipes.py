"""Training settings, and recipes: named combinations of settings."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from edgepress.checks import Count, Settings, known, wrong


def _rise_to_full_size(resolutions: list[float]) -> list[float]:
    if resolutions[-1] != 1 or resolutions != sorted(resolutions):
        raise wrong(f"lists {resolutions!r}, but images grow to full size; sort it and end at 1.0")
    return resolutions


Resolutions = Annotated[
    list[Annotated[float, Field(gt=0, le=1)]], Field(min_length=1), AfterValidator(_rise_to_full_size)
]


class TrainingConfig(Settings):
    """Settings of training in full precision."""

    lr: float = Field(0.01, gt=0, le=1, description="peak learning rate of Adam")
    batch_size: Count = Field(128, description="examples per step")
    max_epochs: Count = Field(40, description="maximum number of epochs")
    schedule: Literal["constant", "cosine", "onecycle"] = Field(
        "cosine",
        description="learning rate schedule: `cosine` decays to 0; `onecycle` first rises to `lr` over a third of the "
        "epochs",
    )
    weight_decay: float = Field(0.0, ge=0, lt=1, description="decoupled weight decay")
    augment: Literal["none", "crop", "crop_flip"] = Field(
        "none", description="random shifts of images by up to an eighth; `crop_flip` also mirrors half of them"
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="fraction of the target spread over all classes")
    precision: Literal["auto", "float32", "bf16"] = Field(
        "auto", description="arithmetic of training; `auto` is bf16 on a GPU, twice as fast there and on recent CPUs"
    )
    resolutions: Resolutions = Field(
        [1.0],
        description="image sizes as fractions of the full size, each for an equal number of epochs; "
        "`[0.5, 0.75, 1.0]` trains on small images first",
    )
    patience: Count | None = Field(
        10, description="stop after this many epochs without a lower val loss; null trains all epochs"
    )


class RetrainingConfig(TrainingConfig):
    """Settings of fine-tuning."""

    lr: float = Field(0.002, gt=0, le=1, description="peak learning rate of Adam")
    max_epochs: Count = Field(10, description="maximum number of epochs")


_ADAM = {
    "lr": 0.001,
    "batch_size": 16,
    "schedule": "constant",
    "weight_decay": 0.0,
    "augment": "none",
    "label_smoothing": 0.0,
    "precision": "float32",
    "resolutions": [1.0],
    "patience": None,
}
_ONECYCLE = {"schedule": "onecycle", "precision": "float32", "resolutions": [1.0], "patience": None}

# The settings of each recipe; all others keep their configured values.
RECIPES: dict[str, dict[str, Any]] = {
    "adam": _ADAM,
    "early_stop": _ADAM | {"patience": 3},
    "onecycle": _ONECYCLE,
    "progressive": _ONECYCLE | {"resolutions": [0.5, 0.75, 1.0]},
    "bf16": _ONECYCLE | {"precision": "bf16"},
}


def _check_recipes(names: list[str]) -> list[str]:
    for name in names:
        known("recipe", name, RECIPES)
    return names


Recipes = Annotated[list[str], AfterValidator(_check_recipes)]
