import pytest
import torch
from torch import nn

from edgepress.levels import Level
from edgepress.methods import compress, create
from edgepress.training import Training

BRIEFLY = Training(lr=0.01, batch_size=30, max_epochs=1, patience=1)


@pytest.mark.parametrize("name", ["obs", "channels_l1", "gptq", "lsq", "admm", "magnitude_finetuned"])
def test_what_changes_the_weights_it_keeps_cannot_follow_another_step(classes, name):
    network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    steps = [create("nearest_uniform"), create(name, BRIEFLY)]
    with pytest.raises(ValueError, match="must come before others"):
        compress(steps, network, classes, Level(bits=4, sparsity=0.5), torch.Generator())
