"""Training from the user's weights, and with a frozen backbone."""

import io
import math

import pytest
import torch
from safetensors.torch import save, save_file
from torch import nn

from edgepress import networks, tensor_files, training
from edgepress.datasets import SPLITS, Prepared
from edgepress.evaluation import predict
from edgepress.files import FileError
from edgepress.networks.resnet import ResNet50
from edgepress.networks.vgg import VGG16
from edgepress.outputs import NetworkError
from edgepress.training import Training


@pytest.fixture
def images() -> Prepared:
    generator = torch.Generator().manual_seed(0)
    inputs = {split: torch.randn(12, 1, 8, 8, generator=generator) for split in SPLITS}
    return Prepared("toy", "classification", 3, inputs, {split: torch.arange(12) % 3 for split in SPLITS})


def small(channels: int, outputs: int) -> nn.Module:
    body = nn.Sequential(nn.Conv2d(channels, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.ModuleDict({"body": body, "head": nn.Linear(4, outputs)})


class Small(nn.Module):
    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.parts = small(channels, outputs)

    def forward(self, x):
        return self.parts["head"](self.parts["body"](x))


def saved(network: nn.Module, path) -> str:
    save_file({name: tensor.contiguous() for name, tensor in networks.inference_state(network).items()}, path)
    return str(path)


def test_what_fits_is_loaded_and_a_new_head_is_left(tmp_path):
    torch.manual_seed(0)
    pretrained, network = Small(1, 1000), Small(1, 3)
    head = network.parts["head"].weight.clone()
    loaded = networks.begin_from(network, saved(pretrained, tmp_path / "w.safetensors"))
    assert [name for name in networks.inference_state(network) if name not in loaded] == [
        "parts.head.weight",
        "parts.head.bias",
    ]
    assert torch.equal(network.parts["body"][0].weight, pretrained.parts["body"][0].weight)
    assert torch.equal(network.parts["head"].weight, head)


def test_a_network_for_grey_images_sees_them_as_three_equal_colours(tmp_path, images):
    torch.manual_seed(0)
    coloured, grey = Small(3, 5), Small(1, 5)
    networks.begin_from(grey, saved(coloured, tmp_path / "w.safetensors"))
    x = images.inputs["val"]
    assert torch.allclose(grey.eval()(x), coloured.eval()(x.expand(-1, 3, -1, -1)), atol=1e-5)


PICKLE = io.BytesIO()
torch.save({"parts.head.bias": torch.zeros(3)}, PICKLE)
HEAD = "parts.head.bias"

# what is wrong: (the file, what the sentence says…)
BAD = {
    "empty": (b"", "cannot be read as safetensors", "name another file"),
    "text": (b"no weights", "cannot be read as safetensors", "name another file"),
    "a pickle": (PICKLE.getvalue(), "cannot be read as safetensors", "save its tensors with safetensors.torch"),
    "cut short": (save({HEAD: torch.zeros(3)})[:-1], "cannot be read as safetensors", "name another file"),
    "a header of terabytes": (b"\xff" * 7 + b"\0" + bytes(99), "cannot be read as safetensors", "name another file"),
    "not there": (None, "does not exist", "name another file"),
    "of another network": (save({"weight": torch.zeros(2)}), "holds no tensor that fits", "of the same network"),
    "of another size": (save({HEAD: torch.zeros(4)}), "holds no tensor that fits", "of the same network"),
    "NaN": (
        save({HEAD: torch.tensor([0, math.nan, 0])}),
        f"{HEAD} contains values that are not finite float",
        "valid weights",
    ),
    "infinite": (
        save({HEAD: torch.tensor([0, 0, -math.inf])}),
        f"{HEAD} contains values that are not finite",
        "valid weights",
    ),
    "whole numbers": (
        save({HEAD: torch.tensor([1, 2, 3])}),
        f"{HEAD} contains values that are not finite float",
        "valid weights",
    ),
    "a flipped bit": (
        tensor_files.to_bytes({HEAD: torch.zeros(3)})[:-1] + b"\1",
        "is damaged: its checksum does not match",
        "remove it",
    ),
}


@pytest.mark.parametrize("wrong", BAD)
def test_a_file_of_bad_weights_is_told_in_one_sentence(tmp_path, wrong):
    content, *said = BAD[wrong]
    path = tmp_path / "w.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FileError) as caught:
        networks.begin_from(Small(1, 3), path)
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message
    assert [words for words in said if words not in message] == [], message


def test_what_is_frozen_stays_with_its_statistics(tmp_path, images):
    torch.manual_seed(0)
    network = Small(1, 3)
    names = networks.begin_from(network, saved(Small(1, 1000), tmp_path / "w.safetensors"))
    before = {name: tensor.clone() for name, tensor in networks.inference_state(network).items()}
    training.freeze(network, names)
    # Weight decay alone would move a parameter that takes part.
    settings = Training(lr=0.1, batch_size=4, max_epochs=3, patience=3, weight_decay=0.5)
    training.train(network, images, settings, seed=0)
    changed = {
        name for name, tensor in networks.inference_state(network).items() if not torch.equal(tensor, before[name])
    }
    assert changed == {"parts.head.weight", "parts.head.bias"}


def test_where_nothing_is_left_to_train_it_is_said(tmp_path, classes):
    path = saved(networks.build("dnn_simple", classes), tmp_path / "w.safetensors")
    _, loaded = training.begun("dnn_simple", classes, 0, path, frozen=False)
    assert set(loaded) == set(networks.inference_state(networks.build("dnn_simple", classes)))
    with pytest.raises(NetworkError, match="nothing is left to train; set `training: null`"):
        training.begun("dnn_simple", classes, 0, path, frozen=True)


# What torchvision calls the tensors of its published weights; the first and last of each.
TORCHVISION = {
    ResNet50: [
        "conv1.weight",
        "bn1.running_var",
        "layer1.0.downsample.1.bias",
        "layer3.5.conv2.weight",
        "layer4.2.bn3.weight",
    ],
    VGG16: ["features.0.weight", "features.28.bias"],
}


@pytest.mark.parametrize("network", TORCHVISION, ids=lambda network: network.__name__)
def test_the_names_are_torchvisions(network):
    with torch.device("meta"):
        names = networks.inference_state(network((3, 32, 32), 10, "classification")).keys()
    assert set(TORCHVISION[network]) <= names


def test_a_network_can_be_trained_on_after_it_was_evaluated(images):
    network = Small(1, 3)
    predict(network, images.inputs["val"])
    training.retrain(network, images, Training(lr=0.01, batch_size=4, max_epochs=1, patience=1), seed=0)
    network(images.inputs["val"]).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
