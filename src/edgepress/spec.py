"""A method's settings as one value, and methods declared as products of settings. Imports nothing heavy."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

AFTER_TRAINING, TRAINED = "after training", "trained"
BY_CHANCE = ("stochastic", "dithered")  # roundings that draw
STEPS = "+"  # joins the steps of a chain in one text


@dataclass(frozen=True)
class Spec:
    """The settings of a method, as metrics.csv stores them, a column each; empty where a setting does not apply.

    ``codebook`` says where the levels of weights lie, a function of ``edgepress.codebooks``; ``rounding`` how weights
    come to them: ``nearest``, ``stochastic``, ``dithered``, ``gptq`` or ``adaround``; ``granularity`` whether a
    ``tensor`` or a ``channel`` has a codebook; ``when`` whether this happens after training or while the network is
    fine-tuned. ``options`` are all other settings: ``pattern=2:4 scope=network``.

    >>> Spec("uniform", "nearest", "tensor", TRAINED).after_training
    Spec(codebook='uniform', rounding='nearest', granularity='tensor', when='after training', options='')
    """

    codebook: str = ""
    rounding: str = ""
    granularity: str = ""
    when: str = ""
    options: str = ""

    def __str__(self) -> str:
        told = {name: value if name == "when" else f"{name} {value}" for name, value in vars(self).items() if value}
        return ", ".join(told.values())

    @classmethod
    def of(cls, row: Any) -> Spec:
        """The spec in a row of metrics.csv."""
        return cls(*(getattr(row, name) for name in COLUMNS))

    @property
    def rounds(self) -> bool:
        """Whether it rounds weights to a codebook and does nothing else."""
        return bool(self.codebook) and self.rounding in ("nearest", *BY_CHANCE) and not self.options

    @property
    def after_training(self) -> Spec:
        """The same without training."""
        return replace(self, when=AFTER_TRAINING)

    def option(self, name: str) -> str | None:
        """An option's value, None where it has none of that name."""
        return dict(text.split("=", 1) for text in self.options.split()).get(name)


# What a product of settings in a config leaves out.
ROUNDING = Spec(rounding="nearest", granularity="tensor", when=AFTER_TRAINING)
COLUMNS = tuple(field.name for field in fields(Spec))


def in_words(options: Mapping[str, Any]) -> str:
    """Options as text, the same for the same options."""
    return " ".join(f"{name}={''.join(str(value).split())}" for name, value in sorted(options.items()))


def products(name: str, declared: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The methods of a declaration, each with its name.

    A name such as ``{rounding}_{codebook}`` stands for one method for each combination of these settings. A setting is
    a value, a list of values, or a dict from each value to its words in ``about``; it may stand in ``args``. ``family``
    may name settings, too. Raises TypeError where one is not declared.
    """
    args = declared.get("args", {})
    lists = {one: declared.get(one, args.get(one)) for one in dict.fromkeys(re.findall(r"{(\w+)}", name))}
    if missing := [one for one, values in lists.items() if not values]:
        raise TypeError(f"its name has {{{missing[0]}}}, but it declares no {missing[0]}")
    lists = {one: [values] if isinstance(values, str) else values for one, values in lists.items()}
    for values in itertools.product(*lists.values()):
        chosen = dict(zip(lists, values, strict=True))
        told = {one: lists[one][value] if isinstance(lists[one], dict) else value for one, value in chosen.items()}
        method = {**declared, **{one: value for one, value in chosen.items() if one not in args}}
        if args:
            method["args"] = {**args, **{one: value for one, value in chosen.items() if one in args}}
        texts = {"about": told, "family": chosen}
        method |= {one: declared[one].format(**words) for one, words in texts.items() if lists and one in declared}
        yield name.format(**chosen), method
