"""Small stand-ins for data, of each kind of input and task."""

import torch

from edgepress.datasets import SPLITS, Prepared


def small_data(kind: str, task: str, rows: int = 24, side: int = 8) -> Prepared:
    shape = (1, side, side) if kind == "image" else (7,)
    generator = torch.Generator().manual_seed(0)
    outputs = 3 if task == "classification" else 1

    def targets():
        if task == "classification":
            return torch.randint(outputs, (rows,), generator=generator)
        return torch.randn(rows, generator=generator)

    return Prepared(
        "small",
        task,
        outputs,
        {split: torch.randn(rows, *shape, generator=generator) for split in SPLITS},
        {split: targets() for split in SPLITS},
    )
