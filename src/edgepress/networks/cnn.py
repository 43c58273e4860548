"""The study's convolutional network: six 3×3 convolutions in three stages, then two Linear layers."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

NETWORKS = {
    "cnn": {
        "object": "CNN",
        "about": "six 3×3 convolutions in three stages and two Linear layers, as wide as the image",
        "inputs": ["image"],
    },
}


class CNN(nn.Module):
    """Stages of ``width``, 2·, 4· and 8·``width`` channels, each followed by a pool that halves the image.

    ``width`` is the study's 32 for its 32×32 images and proportional for smaller ones (8 for 8×8), so that the network
    suits its task. Images must have at least 8 pixels per side.
    """

    def __init__(self, input_shape: tuple[int, ...], outputs: int, task: str, width: int | None = None) -> None:
        super().__init__()
        channels, height, side = input_shape
        width = min(32, height, side) if width is None else width

        def conv(inputs: int, out: int, norm: bool = True) -> list[nn.Module]:
            layer = nn.Conv2d(inputs, out, 3, padding=1)
            return [layer, nn.BatchNorm2d(out), nn.ReLU()] if norm else [layer, nn.ReLU()]

        self.features = nn.Sequential(
            *conv(channels, width),
            *conv(width, 2 * width, norm=False),
            nn.MaxPool2d(2),
            nn.Dropout(0.2),
            *conv(2 * width, 4 * width),
            nn.Dropout(0.3),
            *conv(4 * width, 4 * width),
            nn.MaxPool2d(2),
            *conv(4 * width, 8 * width),
            *conv(8 * width, 8 * width),
            nn.MaxPool2d(2),
            nn.Dropout(0.3),
        )
        self.places = height // 8, side // 8
        self.head = nn.Sequential(
            nn.Linear(8 * width * self.places[0] * self.places[1], 16 * width),
            nn.ReLU(),
            nn.Linear(16 * width, outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(rows, channels, height, width) → (rows, outputs)."""
        x = self.features(x)
        if self.training and x.shape[2:] != self.places:  # a smaller image, which only occurs in training
            x = F.adaptive_max_pool2d(x, self.places)
        return self.head(x.flatten(1))
