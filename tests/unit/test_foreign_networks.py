"""Networks and weights of users: computed weights, buffers of other types, prefixes, unknown layers."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize, prune, spectral_norm, weight_norm

from edgepress import networks, registry, training
from edgepress.costs.operations import layer_macs, observed
from edgepress.evaluation import predict
from edgepress.files import FileError
from edgepress.packing import Compressed
from edgepress.sweep import Bench, Trained, left_out
from edgepress.training import Training

CPU = torch.device("cpu")
SETTINGS = Training(lr=0.01, batch_size=30, max_epochs=1, patience=1)


class Doubled(nn.Module):
    def forward(self, weight):
        return 2 * weight


def own(layer):
    parametrize.register_parametrization(layer, "weight", Doubled())
    return layer


def pruned(layer):
    return prune.l1_unstructured(layer, "weight", 0.5)


COMPUTED = [parametrizations.weight_norm, weight_norm, parametrizations.spectral_norm, spectral_norm, own, pruned]


@pytest.fixture
def network_of(monkeypatch):
    """Makes a network known under a name, and builds it."""

    def known(build, data):
        entry = registry.NetworkEntry("net", __name__, "", "", inputs=["table"])
        monkeypatch.setattr(registry.NetworkEntry, "load", lambda entry: build)
        monkeypatch.setattr(registry, "networks", lambda: {"net": entry})
        return networks.build("net", data)

    return known


@pytest.mark.filterwarnings("ignore:`torch.nn.utils")
@pytest.mark.parametrize("computed", COMPUTED)
def test_a_computed_weight_is_shipped_as_it_is_computed(network_of, classes, tmp_path, computed):
    def build():
        return nn.Sequential(computed(nn.Linear(4, 8)), nn.ReLU(), nn.Linear(8, 3))

    network = network_of(build, classes)
    training.train(network, classes, SETTINGS, seed=0)
    raw = {name: tensor.clone() for name, tensor in networks.inference_state(network).items()}
    weight, outputs = network.eval()[0].weight.detach().clone(), predict(network, classes.inputs["test"])
    networks.bake(network)
    assert set(networks.inference_state(network)) == {"0.weight", "0.bias", "2.weight", "2.bias"}
    assert torch.equal(network[0].weight, weight)
    assert torch.equal(predict(network, classes.inputs["test"]), outputs)

    baked = networks.inference_state(network)
    for number, state in enumerate((baked, raw)):  # a file may hold the weight, or what it is computed from
        path = tmp_path / f"{number}.safetensors"
        save_file({name: tensor.clone() for name, tensor in state.items()}, path)
        fresh = network_of(build, classes)
        networks.load_all_from(fresh, path)
        assert torch.allclose(predict(fresh, classes.inputs["test"]), outputs, atol=1e-6)

    (tmp_path / "model").write_bytes(networks.to_bytes(network))
    classes.save(tmp_path / "data")
    trained = Trained.load("net", 0, tmp_path / "model", tmp_path / "data")
    bench = Bench(trained, ("test",), CPU, SETTINGS)
    for method, level in {"nearest_uniform": "w8", "magnitude": "s50", "lsq": "w4", "gptq": "w8"}.items():
        (result,) = bench.sweep(method, [level], draws=1)
        assert result.rows[0]["status"] == "ok", result.rows[0]["reason"]
        assert Compressed.from_bytes(result.packed).tensors.keys() == baked.keys()


@pytest.mark.filterwarnings("ignore:`torch.nn.utils")
@pytest.mark.parametrize("computed", [parametrizations.weight_norm, weight_norm, parametrizations.spectral_norm])
def test_training_begins_from_a_weight_that_is_computed_now(network_of, classes, tmp_path, computed):
    plain = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    with torch.no_grad():
        plain[0].weight /= torch.linalg.matrix_norm(plain[0].weight, 2)  # which spectral_norm keeps
    save_file(plain.state_dict(), tmp_path / "w.safetensors")
    network = network_of(lambda: nn.Sequential(computed(nn.Linear(4, 8)), nn.ReLU(), nn.Linear(8, 3)), classes)
    loaded = networks.begin_from(network, tmp_path / "w.safetensors")
    training.freeze(network, loaded)
    assert not any(parameter.requires_grad for parameter in network.parameters())
    for _ in range(40):  # of the power iteration of spectral_norm
        network.train()(classes.inputs["test"])
    assert torch.allclose(network.eval()[0].weight, plain[0].weight, atol=1e-3)


def test_a_weight_that_an_unknown_hook_computes_is_refused():
    layer = nn.Linear(3, 2)
    weight = layer.weight.detach()
    del layer.weight
    layer.register_forward_pre_hook(lambda module, args: setattr(module, "weight", weight))
    layer.weight = weight
    with pytest.raises(ValueError, match="the weight of 0 is computed by an unknown hook"):
        networks.bake(nn.Sequential(layer))


class Indexed(nn.Module):
    """Buffers that are no floats, and one that is infinite, as masks of attention are."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.head = nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)
        self.register_buffer("index", torch.tensor([3, 2**24 + 1, 2**60 + 1]))
        self.register_buffer("small", torch.tensor([-3, 7], dtype=torch.int8))
        self.register_buffer("keep", torch.tensor([[True, False]]))
        self.register_buffer("mask", torch.full((2, 2), -torch.inf).triu(1))

    def forward(self, x):
        return self.head(torch.relu(self.norm(self.first(x))))


def test_buffers_that_are_no_floats_are_kept_exactly(classes, tmp_path):
    torch.manual_seed(0)
    network = Indexed().eval()
    save_file(networks.inference_state(network), tmp_path / "w.safetensors")
    fresh = Indexed()
    fresh.index.zero_()
    networks.load_all_from(fresh, tmp_path / "w.safetensors")
    assert "index" in networks.begin_from(Indexed(), tmp_path / "w.safetensors")
    bench = Bench(Trained("indexed", 0, fresh.eval(), classes), ("test",), CPU, SETTINGS)
    chosen = {"nearest_uniform": "w4", "magnitude": "s50", "gptq_compact": "w4", "channels_l1": "s50",
              "activations_equalized": "a8", "lsq": "w4", "lsq_activations": "w4a8"}  # fmt: skip
    for method, level in chosen.items():
        (result,) = bench.sweep(method, [level], draws=1)
        assert result.rows[0]["status"] == "ok", (method, result.rows[0]["reason"])
        stored = Compressed.from_bytes(result.packed)
        for holder in (stored.state_dict(), networks.inference_state(stored.rebuild(bench.shipped))):
            for name in ("index", "small", "keep", "mask"):
                if name in holder:  # a traced network has what it uses
                    assert holder[name].dtype == network.get_buffer(name).dtype
                    assert torch.equal(holder[name], network.get_buffer(name)), (method, name)


WRONG = {
    "index": (torch.tensor([0.5, 1, 2]), "index is float32 and its values do not fit int64"),
    "small": (torch.tensor([300, 7]), "small is int64 and its values do not fit int8"),
    "first.weight": (torch.ones(4, 4, dtype=torch.int8), "contains values that are not finite floats"),
    "mask": (torch.full((2, 2), torch.nan), "mask contains values that are not finite floats"),
    "norm.running_var": (torch.full((4,), torch.inf), "contains values that are not finite floats"),
}


@pytest.mark.parametrize("name", WRONG)
def test_tensors_of_another_kind_are_refused(tmp_path, name):
    tensor, words = WRONG[name]
    save_file(networks.inference_state(Indexed()) | {name: tensor}, tmp_path / "w.safetensors")
    for load in (networks.load_all_from, networks.begin_from):
        with pytest.raises(FileError, match=words):
            load(Indexed(), tmp_path / "w.safetensors")


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.module."])
def test_a_prefix_of_all_names_is_left_out_and_said(tmp_path, capsys, prefix):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    save_file({f"{prefix}{name}": tensor for name, tensor in network.state_dict().items()}, tmp_path / "w.safetensors")
    for load in (networks.load_all_from, networks.begin_from):
        fresh = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
        load(fresh, tmp_path / "w.safetensors")
        assert torch.equal(fresh[0].weight, network[0].weight)
        assert f"removed the prefix '{prefix}'" in capsys.readouterr().err


class Recurrent(nn.Module):
    def __init__(self, kind="LSTM"):
        super().__init__()
        self.rnn, self.head = getattr(nn, kind)(2, 8, batch_first=True), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.rnn(x.unflatten(1, (2, 2)))[0][:, -1])


class Written(nn.Module):
    """A layer written out: a product with a separate parameter."""

    def __init__(self):
        super().__init__()
        self.weight, self.head = nn.Parameter(torch.randn(8, 4)), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(F.linear(x, self.weight))


class Attending(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(4, 2, batch_first=True), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.attention(x[:, None], x[:, None], x[:, None])[0][:, 0])


class Product(nn.Module):
    """A product of what two layers compute."""

    def __init__(self):
        super().__init__()
        self.one, self.other, self.head = nn.Linear(4, 6), nn.Linear(4, 6), nn.Linear(3, 3)

    def forward(self, x):
        return self.head((self.one(x)[:, :, None] @ self.other(x)[:, None, :]).mean(1)[:, :3])


class Bilinear(nn.Module):
    def __init__(self):
        super().__init__()
        self.both, self.head = nn.Bilinear(4, 4, 5), nn.Linear(5, 3)

    def forward(self, x):
        return self.head(self.both(x, x))


class Upsampled(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.head = nn.ConvTranspose1d(1, 2, 2, stride=2), nn.Linear(16, 3)

    def forward(self, x):
        return self.head(self.up(x[:, None]).flatten(1))


class Looked(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.bag, self.head = nn.Embedding(5, 4), nn.EmbeddingBag(5, 4), nn.Linear(4, 3)

    def forward(self, x):
        rows = (x > 0).long()
        return self.head(self.table(rows).sum(1) + self.bag(rows))


class LowRank(nn.Linear):
    """A layer that does more than its weight says."""

    def __init__(self):
        super().__init__(4, 3)
        self.down, self.up = nn.Parameter(torch.randn(1, 4)), nn.Parameter(torch.randn(3, 1))

    def forward(self, x):
        return super().forward(x) + x @ self.down.T @ self.up.T


# network: (what multiplies beside layers, the share that is not compressed, the layers it is in)
UNKNOWN = {
    Recurrent: (["rnn (LSTM)"], 320 / 344, "rnn (LSTM)"),
    lambda: Recurrent("GRU"): (["rnn (GRU)"], 240 / 264, "rnn (GRU)"),
    lambda: Recurrent("RNN"): (["rnn (RNN)"], 80 / 104, "rnn (RNN)"),
    Written: (["addmm in forward", "mm in forward"], 32 / 56, "weight (parameter)"),
    Attending: (["attention (MultiheadAttention)"], 48 / 76, "attention (MultiheadAttention)"),
    Product: (["bmm in forward"], 0, ""),
    Bilinear: (["both (Bilinear)"], 80 / 95, "both (Bilinear)"),
    Upsampled: (["up (ConvTranspose1d)"], 4 / 52, "up (ConvTranspose1d)"),
    Looked: ([], 40 / 52, "table (Embedding), bag (EmbeddingBag)"),
    lambda: nn.Sequential(LowRank()): (["0 (LowRank)"], 7 / 19, "0 (LowRank)"),
    lambda: nn.Sequential(nn.LayerNorm((2, 2)), nn.Flatten(), nn.Linear(4, 3)): ([], 0, ""),
}


@pytest.mark.parametrize("build", UNKNOWN)
def test_what_is_not_compressed_or_counted_is_said(classes, build):
    torch.manual_seed(0)
    network = build().eval()
    multiplying, share, layers = UNKNOWN[build]
    shape = (2, 2) if isinstance(network, nn.Sequential) and isinstance(network[0], nn.LayerNorm) else (4,)
    seen = observed(network, shape).uncounted
    assert bool(seen) == bool(multiplying) and set(seen) <= set(multiplying)
    note = left_out(network, seen)
    assert (f"{100 * share:.3g} % of the weights are in layers that no method compresses: {layers}" in note) == bool(
        share
    )
    assert bool(note) == bool(share or multiplying)
    if shape == (4,):
        row = Bench(Trained("odd", 0, network, classes), ("test",), CPU).baseline()[0]
        assert row["note"] == note
        assert (row["macs"] is None, row["bops"] is None) == (bool(multiplying),) * 2
        assert row["macs"] is None or row["macs"] == sum(layer_macs(network, shape).values())


def test_what_is_no_product_of_matrices_leaves_operations_counted():
    plain = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, padding_mode="circular"), nn.BatchNorm2d(8), nn.PReLU(8),
                          nn.Conv2d(8, 8, 3, padding="same", groups=8), nn.Upsample(scale_factor=2, mode="bilinear"),
                          nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.GELU(), nn.Softmax(1), nn.Linear(8, 3))  # fmt: skip
    seen = observed(plain, (3, 6, 6))
    assert seen.uncounted == []
    assert sum(layer_macs(plain, (3, 6, 6)).values()) == 36 * 8 * 27 + 36 * 8 * 9 + 24
