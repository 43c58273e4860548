import pytest
import torch
from torch import nn

from edgepress import networks
from edgepress.networks import compressible, inference_state, load_inference_state, parameter_count
from edgepress.networks.cnn import CNN


def normed():
    torch.manual_seed(5)
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 2))
    network(torch.randn(6, 1, 4, 4))
    return network


def test_the_seed_decides_the_weights_and_nothing_else(classes):
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    first, again, other = (networks.build("dnn_complex", classes, seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["net.0.weight"], other["net.0.weight"])


@pytest.mark.parametrize(
    "name, widths",
    [("dnn_simple", [(10, 4), (3, 10)]), ("dnn_complex", [(20, 4), (40, 20), (60, 40), (30, 60), (3, 30)])],
)
def test_dense_networks_for_classes_are_those_of_the_study(classes, name, widths):
    network = networks.build(name, classes)
    assert [tuple(network.state_dict()[weight].shape) for weight in compressible(network)] == widths
    dropouts = [module.p for module in network.modules() if isinstance(module, nn.Dropout)]
    assert dropouts == ([0.1] * 4 if name == "dnn_complex" else [])


def test_the_complex_network_for_amounts_is_that_of_the_study(amounts):
    network = networks.build("dnn_complex", amounts)
    shapes = [tuple(network.state_dict()[weight].shape) for weight in compressible(network)]
    assert shapes == [(50, 3), (100, 50), (100, 100), (50, 100), (1, 50)]


def test_the_convolutional_network_is_that_of_the_study():
    network = CNN((3, 32, 32), 10, "classification")
    shapes = [tuple(network.state_dict()[weight].shape)[:2] for weight in compressible(network)]
    assert shapes == [(32, 3), (64, 32), (128, 64), (128, 128), (256, 128), (256, 256), (512, 4096), (10, 512)]
    assert sum(isinstance(module, nn.BatchNorm2d) for module in network.modules()) == 5
    assert network.eval()(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_inference_state_is_all_that_inference_needs():
    state = inference_state(normed())
    assert list(state) == [
        *("0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var"),
        *("3.weight", "3.bias"),
    ]
    other = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 2))
    load_inference_state(other, state)
    inputs = torch.randn(5, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(other.eval()(inputs), normed().eval()(inputs))


def test_a_state_that_does_not_fit_is_rejected():
    state = inference_state(normed())
    missing = {name: value for name, value in state.items() if name != "1.running_var"}
    with pytest.raises(ValueError, match=r"1\.running_var"):
        load_inference_state(normed(), missing)
    with pytest.raises(ValueError, match="surplus"):
        load_inference_state(normed(), state | {"surplus": torch.zeros(1)})


def test_weights_of_linear_and_conv_layers_are_compressible():
    assert compressible(normed()) == ["0.weight", "3.weight"]
    assert compressible(nn.Linear(2, 2)) == ["weight"]
    assert compressible(nn.Sequential(nn.BatchNorm1d(3), nn.Embedding(3, 3), nn.PReLU())) == []
    assert parameter_count(normed()) == 27 + 3 + 3 + 3 + 24 + 2
