"""Residual networks: the study's ResNet-9, MLPerf Tiny's ResNet-8, and ResNet-50 under torchvision's names."""

from __future__ import annotations

from torch import Tensor, nn

NETWORKS = {
    "resnet8": {
        "object": "ResNet8",
        "about": "MLPerf Tiny's image classification reference: three residual stages of 16, 32 and 64 channels",
        "inputs": ["image"],
    },
    "resnet9": {
        "object": "ResNet9",
        "about": "the study's ResNet-9: four convolutions up to 512 channels and two residual pairs",
        "inputs": ["image"],
    },
    "resnet50": {
        "object": "ResNet50",
        "about": "ResNet-50 with the study's head (2048, 1024, outputs); from scratch, or from a file of `weights`",
        "inputs": ["image"],
    },
}


def conv_norm(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, relu: bool = True) -> nn.Sequential:
    """A convolution without bias that keeps the image's size at stride 1, BatchNorm and, optionally, ReLU."""
    layers = [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, nn.ReLU()) if relu else nn.Sequential(*layers)


class _Residual(nn.Module):
    """Two convolutions and a shortcut (a 1×1 convolution if the shape changes); ReLU after the sum."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(conv_norm(inputs, outputs, stride=stride), conv_norm(outputs, outputs, relu=False))
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.body(x) + self.shortcut(x))


class ResNet8(nn.Module):
    """MLPerf Tiny's ResNet-8 (Banbury et al. 2021, arXiv 2106.07597): 78 k weights, 12.5 M MACs at 32×32×3."""

    def __init__(self, input_shape: tuple[int, ...], outputs: int, task: str) -> None:
        super().__init__()
        stages = [_Residual(16, 16, 1), _Residual(16, 32, 2), _Residual(32, 64, 2)]
        self.features = nn.Sequential(conv_norm(input_shape[0], 16), *stages, nn.AdaptiveAvgPool2d(1))
        self.head = nn.Linear(64, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(rows, channels, height, width) → (rows, outputs)."""
        return self.head(self.features(x).flatten(1))


class _Pair(nn.Module):
    """ResNet-9's residual: two convolutions whose output is added to their input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(conv_norm(channels, channels), conv_norm(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class ResNet9(nn.Module):
    """The study's ResNet-9, 6.6 M weights. Three pools halve the image; the last is a global pool."""

    def __init__(self, input_shape: tuple[int, ...], outputs: int, task: str) -> None:
        super().__init__()

        def pooled(inputs: int, outputs: int) -> nn.Sequential:
            return nn.Sequential(conv_norm(inputs, outputs), nn.MaxPool2d(2))

        self.features = nn.Sequential(
            conv_norm(input_shape[0], 64),
            pooled(64, 128),
            _Pair(128),
            pooled(128, 256),
            pooled(256, 512),
            _Pair(512),
            nn.AdaptiveMaxPool2d(1),
        )
        self.head = nn.Linear(512, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(rows, channels, height, width) → (rows, outputs)."""
        return self.head(self.features(x).flatten(1))


class _Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 convolutions and a shortcut, under torchvision's names."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
        self.relu = nn.ReLU()
        changes = stride != 1 or inputs != 4 * width
        self.downsample = conv_norm(inputs, 4 * width, 1, stride, relu=False) if changes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        inner = self.relu(self.bn1(self.conv1(x)))
        inner = self.relu(self.bn2(self.conv2(inner)))
        return self.relu(self.bn3(self.conv3(inner)) + self.downsample(x))


class ResNet50(nn.Module):
    """ResNet-50 (He et al. 2016, arXiv 1512.03385). Except ``fc``, names are torchvision's, so its weights fit."""

    def __init__(self, input_shape: tuple[int, ...], outputs: int, task: str) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(input_shape[0], 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        self.relu, self.maxpool = nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        inputs = 64
        self.layer1: nn.Module
        self.layer2: nn.Module
        self.layer3: nn.Module
        self.layer4: nn.Module
        for stage, (width, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3)), start=1):
            layers = []
            for block in range(blocks):
                layers.append(_Bottleneck(inputs, width, 2 if block == 0 and stage > 1 else 1))
                inputs = 4 * width
            setattr(self, f"layer{stage}", nn.Sequential(*layers))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Sequential(nn.Linear(2048, 1024), nn.ReLU(), nn.Linear(1024, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(rows, channels, height, width) → (rows, outputs)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.avgpool(x).flatten(1))
