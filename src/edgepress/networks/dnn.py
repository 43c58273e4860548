"""Fully connected networks of the study: Linear, ReLU and, in the complex one, dropout."""

from __future__ import annotations

from math import prod

from torch import Tensor, nn

NETWORKS = {
    "dnn_simple": {
        "object": "DNN",
        "about": "one hidden layer of 10",
        "inputs": ["table", "image"],
        "args": {"hidden": {"classification": [10], "regression": [10]}},
    },
    "dnn_complex": {
        "object": "DNN",
        "about": "four hidden layers: 20, 40, 60, 30 and dropout .1 to classify; 50, 100, 100, 50 to regress",
        "inputs": ["table", "image"],
        "args": {
            "hidden": {"classification": [20, 40, 60, 30], "regression": [50, 100, 100, 50]},
            "dropout": {"classification": 0.1, "regression": 0.0},
        },
    },
}


class DNN(nn.Module):
    """Linear–ReLU(–Dropout) for each hidden width of the task, then a Linear; images are flattened.

    ``hidden`` and ``dropout`` are given per task. The study also uses dropout in regression, where it shifts
    predictions once dropout is off (MSE .5 instead of .01 on MV), so the rate is 0 here. The layer remains to keep the
    weights' names.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        outputs: int,
        task: str,
        hidden: dict[str, list[int]],
        dropout: dict[str, float] | None = None,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = prod(input_shape)
        for next_width in hidden[task]:
            layers += [nn.Linear(width, next_width), nn.ReLU()]
            if dropout is not None:
                layers.append(nn.Dropout(dropout[task]))
            width = next_width
        self.net = nn.Sequential(*layers, nn.Linear(width, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(rows, …) → (rows, outputs)."""
        return self.net(x.flatten(1))
