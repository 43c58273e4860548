"""VGG-16 under torchvision's names."""

from __future__ import annotations

from torch import Tensor, nn

NETWORKS = {
    "vgg16": {
        "object": "VGG16",
        "about": "VGG-16 with the study's head (25088, 4096, 256, outputs); from scratch, or from a file of `weights`",
        "inputs": ["image"],
    },
}

_STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))


class VGG16(nn.Module):
    """VGG-16 (Simonyan and Zisserman 2015, arXiv 1409.1556). ``features`` has torchvision's names, so its weights
    fit. For images of less than 32 pixels per side, pools that would leave nothing are omitted.
    """

    def __init__(self, input_shape: tuple[int, ...], outputs: int, task: str) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels, side = input_shape[0], min(input_shape[1:])
        for width, convolutions in _STAGES:
            for _ in range(convolutions):
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
            side //= 2
            layers.append(nn.MaxPool2d(2) if side else nn.Identity())
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(7)
        self.classifier = nn.Sequential(
            nn.Linear(25088, 4096), nn.ReLU(), nn.Linear(4096, 256), nn.ReLU(), nn.Linear(256, outputs)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(rows, channels, height, width) → (rows, outputs)."""
        return self.classifier(self.avgpool(self.features(x)).flatten(1))
