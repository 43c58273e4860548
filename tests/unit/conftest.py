from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import torch
from hypothesis import settings

from edgepress import registry
from edgepress.datasets import SPLITS, Prepared

settings.register_profile("unit", derandomize=True, deadline=None, database=None, max_examples=60)
settings.load_profile("unit")


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A user's folder, the working directory; what a test adds to the registry is gone afterwards."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    registry.set_own({})


@pytest.fixture
def classes() -> Prepared:
    """Three classes that a small network tells apart, 4 inputs."""
    generator = torch.Generator().manual_seed(7)
    inputs = {split: torch.randn(90, 4, generator=generator) for split in SPLITS}
    weights = torch.tensor([[2.0, -1, 0, 1], [-1, 2, 1, 0], [0, 0, -2, 1]]).T
    return Prepared("toy_classes", "classification", 3, inputs, {s: (x @ weights).argmax(1) for s, x in inputs.items()})


@pytest.fixture
def amounts() -> Prepared:
    """A linear regression with noise, whose targets lie around 1000 ± 50."""
    generator = torch.Generator().manual_seed(8)
    inputs = {split: torch.randn(120, 3, generator=generator) for split in SPLITS}
    slope = torch.tensor([1.0, -2.0, 0.5])
    targets = {s: 1000 + 20 * (x @ slope + 0.1 * torch.randn(120, generator=generator)) for s, x in inputs.items()}
    return Prepared("toy_amounts", "regression", 1, inputs, targets)


@pytest.fixture
def image_data() -> Prepared:
    """Noise of 16×16 pixels in three classes."""
    generator = torch.Generator().manual_seed(9)
    inputs = {split: torch.randn(30, 1, 16, 16, generator=generator) for split in SPLITS}
    targets = {split: torch.randint(3, (30,), generator=generator) for split in SPLITS}
    return Prepared("toy_images", "classification", 3, inputs, targets)


@pytest.fixture
def closed_figures():
    """No figure stays open after a test that draws."""
    yield
    plt.close("all")
