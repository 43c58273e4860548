"""How a network may be trained: the settings, and recipes, which are settings that go well together."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from edgepress.checks import Count, Settings, known, wrong


def _rise_to_full_size(resolutions: list[float]) -> list[float]:
    if resolutions[-1] != 1 or resolutions != sorted(resolutions):
        raise wrong(f"lists {resolutions!r}, but images grow to full size; let it rise to 1.0")
    return resolutions


Resolutions = Annotated[
    list[Annotated[float, Field(gt=0, le=1)]], Field(min_length=1), AfterValidator(_rise_to_full_size)
]


class TrainingConfig(Settings):
    """How networks are trained in full precision."""

    lr: float = Field(0.01, gt=0, le=1, description="Adam's learning rate where it is highest")
    batch_size: Count = Field(128, description="examples a step")
    max_epochs: Count = Field(40, description="passes over the training rows at most")
    schedule: Literal["constant", "cosine", "onecycle"] = Field(
        "cosine",
        description="the learning rate over all epochs: `cosine` lets it fall to 0, `onecycle` first rise to `lr` over "
        "a third of them",
    )
    weight_decay: float = Field(0.0, ge=0, lt=1, description="decoupled weight decay")
    augment: Literal["none", "crop", "crop_flip"] = Field(
        "none", description="random shifts of images by up to an eighth; `crop_flip` mirrors half of them, too"
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of the target spread over all classes")
    precision: Literal["auto", "float32", "bf16"] = Field(
        "auto", description="arithmetic of a step; `auto` is bf16 on a GPU, twice as fast there and on recent CPUs"
    )
    resolutions: Resolutions = Field(
        [1.0],
        description="shares of an image's sides at which it is trained on, each for as many epochs: small images first "
        "in `[0.5, 0.75, 1.0]`",
    )
    patience: Count | None = Field(
        10, description="epochs without a better loss on val after which training ends; null takes all epochs"
    )


class RetrainingConfig(TrainingConfig):
    """How methods that train a trained network again do it."""

    lr: float = Field(0.002, gt=0, le=1, description="Adam's learning rate where it is highest")
    max_epochs: Count = Field(10, description="passes over the training rows at most")


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

# What each recipe sets; the rest is as in the settings that it is applied to.
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
