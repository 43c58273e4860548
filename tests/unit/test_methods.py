import pytest
import torch
from torch import nn

from edgepress import methods, peers, registry
from edgepress.datasets import Prepared, sample
from edgepress.levels import Level
from edgepress.methods import compress, create, reconstruction
from edgepress.sweep import Bench, Trained
from edgepress.training import Training

BRIEFLY = Training(lr=0.01, batch_size=30, max_epochs=1, patience=1)


@pytest.mark.parametrize("name", ["obs", "channels_l1", "gptq", "lsq", "admm", "magnitude_finetuned"])
def test_what_changes_the_weights_it_keeps_cannot_follow_another_step(classes, name):
    network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    steps = [create("nearest_uniform"), create(name, BRIEFLY)]
    with pytest.raises(ValueError, match="must come before others"):
        compress(steps, network, classes, Level(bits=4, sparsity=0.5), torch.Generator())


def test_all_methods_and_peers_calibrate_on_the_same_rows(monkeypatch, tmp_path):
    """Of 2,048 rows whose classes alternate, as stride 4 would miss three of four."""
    inputs, targets = torch.randn(2048, 4, generator=torch.Generator().manual_seed(0)), torch.arange(2048) % 4
    data = Prepared(
        "toy", "classification", 4, dict.fromkeys(("train", "val"), inputs), {"train": targets, "val": targets}
    )
    network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)).eval()
    asked, seen = [], []

    def recorded(inputs, rows, seed=0):
        asked.append((len(inputs), rows, seed))
        return sample(inputs, rows, seed)

    class Calibrated:
        def compress(self, network, inputs, level, folder):
            seen.append(inputs)
            (folder / "file").write_bytes(b"1")

        def load(self, folder, network):
            return network

        def weight_bits(self, network, level):
            return {f"{layer}.weight": 8 for layer in (0, 2, 4)}

    monkeypatch.setattr(methods, "sample", recorded)
    monkeypatch.setattr(reconstruction, "_STEPS", 1)
    look = [name for name, entry in registry.methods().items() if entry.examples]
    assert {"gptq", "obs", "mixed", "multipoint", "activations_mse", "activations_equalized", "adaround"} <= set(look)
    for name in look:
        create(name).compress(network, data, Level(bits=4, act_bits=8, sparsity=0.5), torch.Generator())
    assert len(asked) >= len(look)
    bench = Bench(Trained("toy", 0, network, data), ["val"], torch.device("cpu"))
    monkeypatch.setattr(registry.PeerEntry, "load", lambda entry: Calibrated)
    monkeypatch.setattr(registry.PeerEntry, "missing", [])
    list(peers.sweep(bench, "torchao", tmp_path))
    assert seen and set(asked) == {(2048, methods.CALIBRATION_ROWS, 0)}
    assert all(torch.equal(each, sample(inputs, 512)) for each in seen)
    shares = torch.bincount(sample(targets, 512)) / 512
    assert float((shares - 0.25).abs().max()) < 4 * (0.25 * 0.75 / 512) ** 0.5  # four deviations of a random draw
