"""A depthwise separable network, small and hard to quantize: depthwise filters have few weights and differ in range."""

from __future__ import annotations

from torch import Tensor, nn

from edgepress.networks.resnet import conv_norm

NETWORKS = {
    "ds_cnn": {
        "object": "DSCNN",
        "about": "MLPerf Tiny's depthwise separable network: four blocks of 64 channels",
        "inputs": ["image"],
    },
}


class DSCNN(nn.Module):
    """DS-CNN (Zhang et al. 2017, arXiv 1711.07128) as in MLPerf Tiny, with a first filter of 3×3 at stride 2 for
    images.
    """

    def __init__(self, input_shape: tuple[int, ...], outputs: int, task: str, width: int = 64) -> None:
        super().__init__()

        def separable() -> list[nn.Module]:
            depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)
            return [depthwise, nn.BatchNorm2d(width), nn.ReLU(), conv_norm(width, width, kernel=1)]

        blocks = [layer for _ in range(4) for layer in separable()]
        self.features = nn.Sequential(conv_norm(input_shape[0], width, stride=2), *blocks, nn.AdaptiveAvgPool2d(1))
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(rows, channels, height, width) → (rows, outputs)."""
        return self.head(self.dropout(self.features(x).flatten(1)))
