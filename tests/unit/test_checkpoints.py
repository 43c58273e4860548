"""A training that is killed at any epoch and resumed gives the same result as an uninterrupted one, bit for bit."""

import copy
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace

import pytest
import torch
from torch import nn

from edgepress import methods
from edgepress.checkpoints import Checkpoints
from edgepress.datasets import SPLITS, Prepared
from edgepress.levels import Level
from edgepress.sweep import generator_for
from edgepress.training import Training, freeze, train

SETTINGS = Training(lr=0.01, batch_size=16, max_epochs=5, patience=5)


class Killed(BaseException):
    pass


@pytest.fixture
def images() -> Prepared:
    generator = torch.Generator().manual_seed(3)
    inputs = {split: torch.randn(40, 3, 8, 8, generator=generator) for split in SPLITS}
    return Prepared("toy", "classification", 2, inputs, {s: (x.mean((1, 2, 3)) > 0).long() for s, x in inputs.items()})


def dense(data):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(data.input_shape[0], 12), nn.ReLU(), nn.Dropout(0.3), nn.Linear(12, data.outputs))


def convolutional(data):
    torch.manual_seed(0)
    features = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.ReLU())
    return nn.Sequential(features, nn.Flatten(), nn.Dropout(0.2), nn.Linear(8 * 4 * 4, data.outputs))


def growing(data):
    torch.manual_seed(0)
    features = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    return nn.Sequential(features, nn.Flatten(), nn.Linear(6, data.outputs))


def until(epoch):
    """Kills a training when ``epoch`` is reported, before its checkpoint is written."""

    def on_epoch(row):
        if row["epoch"] == epoch:
            raise Killed

    return on_epoch


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("killed_in", [1, 2, 4, 5])
@pytest.mark.parametrize(
    ("kind", "build", "settings"),
    [
        ("classes", dense, SETTINGS),
        ("amounts", dense, replace(SETTINGS, schedule="onecycle", weight_decay=0.1)),
        ("images", convolutional, replace(SETTINGS, augment="crop_flip", label_smoothing=0.1)),
        ("images", convolutional, replace(SETTINGS, precision="bf16")),
        ("images", growing, replace(SETTINGS, resolutions=[0.5, 1.0], schedule="constant", patience=None)),
    ],
    ids=["dropout", "onecycle_regression", "augmented_convolutions", "bf16", "progressive"],
)
def test_a_killed_training_ends_as_an_unbroken_one(kind, build, settings, killed_in, request, tmp_path, capsys):
    data = request.getfixturevalue(kind)
    unbroken, broken, resumed = build(data), build(data), build(data)
    history = train(unbroken, data, settings, seed=1)
    checkpoints = Checkpoints(tmp_path / "job", "code", seconds=0)
    with pytest.raises(Killed):
        train(broken, data, settings, 1, until(killed_in), checkpoints)
    torch.rand(7)
    told = []
    assert train(resumed, data, settings, 1, told.append, checkpoints) == history == told
    assert same(unbroken.state_dict(), resumed.state_dict())
    said = capsys.readouterr().out
    assert (f"Resumed after epoch {killed_in - 1}," in said) == (killed_in > 1)


def test_at_most_the_epoch_that_was_broken_is_repeated(classes, tmp_path):
    class Counting(nn.Sequential):
        def forward(self, x):
            counted.append(len(x)) if self.training else None
            return super().forward(x)

    counted = []
    checkpoints = Checkpoints(tmp_path, "code", seconds=0)
    with pytest.raises(Killed):
        train(Counting(dense(classes)), classes, SETTINGS, 0, until(3), checkpoints)
    assert sum(counted) == 3 * 90
    train(Counting(dense(classes)), classes, SETTINGS, 0, checkpoints=checkpoints)
    assert sum(counted) == (5 + 1) * 90
    train(Counting(dense(classes)), classes, SETTINGS, 0, checkpoints=checkpoints)
    assert sum(counted) == (5 + 1) * 90  # it had ended


def test_patience_goes_on_counting(classes, tmp_path):
    """Val targets that a network gets wrong the more surely, the better it knows the train split."""
    classes.targets["val"] = (classes.targets["val"] + 1) % 3
    settings = Training(lr=0.05, batch_size=8, max_epochs=50, patience=4)
    history = train(dense(classes), classes, settings, 0)
    checkpoints = Checkpoints(tmp_path, "code", seconds=0)
    with pytest.raises(Killed):
        train(dense(classes), classes, settings, 0, until(len(history) - 1), checkpoints)
    assert train(dense(classes), classes, settings, 0, checkpoints=checkpoints) == history


AGAIN = [
    "qat_stochastic_normal",
    "qat_nearest_uniform",
    "lsq",
    "lsq_channel",
    "lsq_activations",
    "magnitude_finetuned",
    "obs_finetuned",
]
KILLED = [*((name, 4) for name in AGAIN), ("admm", 2), ("admm", 3)]  # it has three epochs, and then two


@pytest.mark.parametrize("name, epoch", KILLED)
def test_methods_that_train_again_resume(name, epoch, classes, tmp_path, capsys, monkeypatch):
    network = dense(classes)
    train(network, classes, SETTINGS, 0)

    def compressed(checkpoints=None):
        generator = generator_for(name)
        method = methods.create(name, SETTINGS, checkpoints)
        file = method.compress(network, classes, Level(bits=3, act_bits=4, sparsity=0.5), generator).to_bytes()
        return file, torch.rand(3, generator=generator).tolist()  # what a next step of a chain would draw

    checkpoints = Checkpoints(tmp_path, "code", seconds=0)
    with monkeypatch.context() as patch:
        patch.setattr("edgepress.methods.retraining.print", until(epoch), raising=False)
        with pytest.raises(Killed):
            compressed(checkpoints)
    capsys.readouterr()
    assert compressed(checkpoints) == compressed()
    assert f"Resumed after epoch {epoch - 1}," in capsys.readouterr().out


def variants(data):
    """Trainings that each differ from the first in one thing: network, data, settings, seed, code, frozen names."""
    other = copy.deepcopy(data)
    other.inputs["val"][3, 1] += 1e-3
    started = dense(data)
    started[0].weight.data[0, 0] += 1e-3
    rate = dense(data)
    rate[2].p = 0.4
    return {
        "itself": (dense(data), data, SETTINGS, 1, "code"),
        "weights": (started, data, SETTINGS, 1, "code"),
        "build": (rate, data, SETTINGS, 1, "code"),
        "data": (dense(data), other, SETTINGS, 1, "code"),
        "settings": (dense(data), data, replace(SETTINGS, lr=0.011), 1, "code"),
        "seed": (dense(data), data, SETTINGS, 2, "code"),
        "code": (dense(data), data, SETTINGS, 1, "other code"),
    }


@pytest.mark.parametrize("change", ["itself", "weights", "build", "data", "settings", "seed", "code", "frozen"])
def test_another_training_is_never_resumed(change, classes, tmp_path, capsys):
    network, data, settings, seed, code = variants(classes)["itself" if change == "frozen" else change]
    first = Checkpoints(tmp_path, "code", seconds=0)
    train(dense(classes), classes, SETTINGS, 1, checkpoints=first)
    if change == "frozen":
        freeze(network, ["0.weight"])
    train(network, data, settings, seed, checkpoints=Checkpoints(tmp_path, code, seconds=0))
    assert ("Resumed" in capsys.readouterr().out) == (change == "itself")


def test_methods_of_one_seed_have_checkpoints_of_their_own(classes, tmp_path, capsys):
    network = dense(classes)
    for codebook in ("uniform", "histogram"):
        method = methods.create(f"qat_nearest_{codebook}", SETTINGS, Checkpoints(tmp_path, "code", seconds=0))
        method.compress(network, classes, Level(bits=3), generator_for("the same"))
    assert "Resumed" not in capsys.readouterr().out and len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "not_one"])
def test_a_damaged_checkpoint_is_ignored_and_said(damage, classes, tmp_path, capsys):
    unbroken, resumed = dense(classes), dense(classes)
    history = train(unbroken, classes, SETTINGS, 1)
    checkpoints = Checkpoints(tmp_path, "code", seconds=0)
    train(dense(classes), classes, SETTINGS, 1, checkpoints=checkpoints)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[-100] ^= 1
    path.write_bytes({"cut": whole[:-50], "empty": b"", "flipped": bytes(flipped), "not_one": b"pickle" * 99}[damage])
    assert train(resumed, classes, SETTINGS, 1, checkpoints=checkpoints) == history
    assert same(unbroken.state_dict(), resumed.state_dict())
    assert "is damaged and ignored" in capsys.readouterr().out
    assert path.read_bytes() == whole  # written anew


def test_a_checkpoint_that_cannot_be_written_does_not_end_the_training(classes, tmp_path, capsys):
    (tmp_path / "taken").write_text("no folder")
    checkpoints = Checkpoints(tmp_path / "taken", "code", seconds=0)
    assert train(dense(classes), classes, SETTINGS, 1, checkpoints=checkpoints)
    assert "could not be written" in capsys.readouterr().out


def test_a_short_training_writes_one_at_its_end_alone(classes, tmp_path):
    seen = []
    checkpoints = Checkpoints(tmp_path, "code", seconds=1000)
    train(dense(classes), classes, SETTINGS, 1, lambda row: seen.append(list(tmp_path.iterdir())), checkpoints)
    assert not any(seen) and len(list(tmp_path.iterdir())) == 1


def test_the_environment_says_how_often(tmp_path, monkeypatch):
    assert Checkpoints(tmp_path, "code").seconds == 30
    monkeypatch.setenv("EDGEPRESS_CHECKPOINT_SECONDS", "5")
    assert Checkpoints(tmp_path, "code").seconds == 5


def test_they_are_removed_with_the_folders_left_empty(classes, tmp_path):
    (tmp_path / "run/other").mkdir(parents=True)
    checkpoints = Checkpoints(tmp_path / "run/network/job", "code", seconds=0)
    train(dense(classes), classes, SETTINGS, 1, checkpoints=checkpoints)
    checkpoints.remove()
    checkpoints.remove()  # nothing there is fine
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["other"]


def test_a_process_killed_at_60_percent_resumes_bit_for_bit(tmp_path):
    """A realistic kill: SIGKILL, then a separate process that resumes."""
    program = tmp_path / "job.py"
    program.write_text(
        textwrap.dedent("""
        import os, signal, sys, torch
        from pathlib import Path
        from edgepress import networks, training
        from edgepress.checkpoints import Checkpoints
        from edgepress.datasets import prepare

        torch.set_num_threads(1)
        data = prepare("digits", 0)
        network = networks.build("resnet8", data, 0)
        folder, out, last = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
        settings = training.Training(lr=0.01, batch_size=256, max_epochs=5, patience=5, augment="crop")

        def on_epoch(row):
            print(row["epoch"], flush=True)
            if row["epoch"] == last:
                os.kill(os.getpid(), signal.SIGKILL)

        training.train(network, data, settings, 0, on_epoch, Checkpoints(folder, "code", seconds=0))
        Path(out).write_bytes(b"".join(t.contiguous().numpy().tobytes() for t in network.state_dict().values()))
        """)
    )

    def job(folder, out, last=0):
        line = [sys.executable, program, tmp_path / folder, tmp_path / out, str(last)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.run(line, capture_output=True, text=True, check=False, env=environment)

    assert job("unbroken", "expected").returncode == 0
    assert job("broken", "never", last=4).returncode == -signal.SIGKILL
    again = job("broken", "resumed")
    assert again.returncode == 0, again.stderr
    assert again.stdout.startswith("Resumed after epoch 3,")
    assert (tmp_path / "expected").read_bytes() == (tmp_path / "resumed").read_bytes()
