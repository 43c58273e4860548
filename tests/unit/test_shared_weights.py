"""Parameters with several names: encoded, stored and counted once, and measured as stored."""

import copy

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from edgepress import methods, networks, registry, tensor_files
from edgepress.encodings import Dense
from edgepress.files import FileError
from edgepress.levels import Level
from edgepress.packing import Compressed, PackedFileError
from edgepress.sweep import Bench, Trained, float32_file, generator_for
from edgepress.training import Training

CPU = torch.device("cpu")


class TiedLayers(nn.Sequential):
    """Two Linear layers with one weight."""

    def __init__(self):
        super().__init__(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.Linear(4, 3))
        self[2].weight = self[0].weight


class TiedEmbedding(nn.Module):
    """The output layer's weight is that of an embedding, which has the first name."""

    def __init__(self):
        super().__init__()
        self.embedding, self.body, self.head = nn.Embedding(3, 8), nn.Linear(4, 8), nn.Linear(8, 3, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, x):
        start = self.embedding(torch.zeros(len(x), dtype=torch.long))
        return self.head(torch.relu(self.body(x)) + start)


class TwoNames(nn.Module):
    """A layer and a norm that are registered twice, and of which one name is called."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.head = nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)
        self.again, self.norms = self.first, nn.ModuleList([self.norm])

    def forward(self, x):
        return self.head(torch.relu(self.norm(self.again(x))))


class SharedData(nn.Module):
    """Two parameters in the same memory."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)
        self.second.weight.data = self.first.weight.data

    def forward(self, x):
        return self.head(torch.relu(self.second(torch.relu(self.first(x)))))


NETWORKS = {TiedLayers: {"0.weight", "2.weight"}, TiedEmbedding: {"embedding.weight", "head.weight"},
            TwoNames: {"first.weight", "again.weight"}, SharedData: {"first.weight", "second.weight"}}  # fmt: skip


def bench_of(build, data) -> Bench:
    torch.manual_seed(0)
    network = build()
    networks._state.tie(network)
    settings = Training(lr=0.01, batch_size=30, max_epochs=1, patience=1)
    return Bench(Trained("shared", 0, network.eval(), data), ("test",), CPU, settings)


def levels():
    """Each method with one of its levels."""
    points = {"bits": 3, "act_bits": 8, "sparsity": 0.5}
    for name, entry in registry.methods().items():
        if entry.sweeps:
            yield name, str(Level(**{sweep: points[sweep] for sweep in entry.sweeps}))


@pytest.mark.parametrize("build", NETWORKS)
def test_every_method_stores_one_encoding_and_that_is_what_is_measured(classes, build):
    bench, names = bench_of(build, classes), NETWORKS[build]
    for name, level in levels():
        (result,) = bench.sweep(name, [level], draws=1)
        (row,) = result.rows
        assert row["status"] in ("ok", "skipped"), (name, row["reason"])
        if row["status"] == "skipped":
            continue
        stored = Compressed.from_bytes(result.packed)
        one, other = (stored.tensors[key] for key in names)
        assert one is other, name
        assert 0 <= row["sparsity"] < 1
        apart = copy.deepcopy(bench.shipped)  # measured without any tie: each name has what the file says of it
        for module in apart.modules():
            for key, parameter in list(module._parameters.items()):
                module._parameters[key] = parameter if parameter is None else nn.Parameter(parameter.detach().clone())
        if not stored.activations and build is not TwoNames:
            rebuilt = methods.in_full_precision(apart).with_tensors(stored.tensors).rebuild(apart)
            assert bench.rows({}, rebuilt, {})[0]["loss"] == row["loss"], name


@pytest.mark.parametrize("build", NETWORKS)
def test_chance_draws_once_and_bytes_count_once(classes, build):
    bench, names = bench_of(build, classes), NETWORKS[build]
    (result,) = bench.sweep("stochastic_uniform", ["w2"], draws=1)
    apart = {name: encoding for name, encoding in Compressed.from_bytes(result.packed).tensors.items()}
    twice = Compressed({name: Dense(encoding.decode()) for name, encoding in apart.items()})
    once = methods.in_full_precision(bench.shipped)
    numbers = bench.shipped.get_parameter(min(names)).numel()
    assert len(twice.to_bytes()) - len(once.to_bytes()) > 4 * numbers - 64
    assert len(float32_file(bench.shipped)) < len(tensor_files.to_bytes(networks.inference_state(bench.shipped)))
    assert len(networks.compressible(bench.shipped)) == len(set(networks.compressible(bench.shipped)) - names) + 1
    assert bench.baseline()[0]["sparsity"] == 0
    assert bench.weights == sum({id(p): p.numel() for p in bench.shipped.parameters() if p.dim() == 2}.values())


def test_a_method_that_does_not_know_of_ties_cannot_break_them(classes):
    class ByName(methods.Method):
        def apply(self, stored, network, data, level, generator):
            return Compressed({**stored.tensors, "2.weight": Dense(torch.ones(4, 4))})

    stored = ByName().compress(bench_of(TiedLayers, classes).shipped, classes, Level(bits=2), generator_for())
    assert stored.tensors["0.weight"] is stored.tensors["2.weight"] and bool(
        (stored.tensors["0.weight"].decode() == 1).all()
    )


def test_operations_of_shared_layers_are_those_of_each_use(classes):
    bench = bench_of(TiedLayers, classes)
    (result,) = bench.sweep("nearest_uniform", ["w4"], draws=1)
    assert result.rows[0]["macs"] == 16 + 16 + 12
    assert result.rows[0]["bops"] == (16 + 16 + 12) * 4 * 32


def test_a_trained_file_holds_a_shared_weight_once_and_needs_no_more(tmp_path):
    network, fresh = TiedEmbedding(), TiedEmbedding()
    (tmp_path / "model.st").write_bytes(networks.to_bytes(network))
    kept = load_file(tmp_path / "model.st")
    assert set(kept) == {"embedding.weight", "body.weight", "body.bias"}
    for names in ({"embedding.weight": "head.weight"}, {}):  # either name is enough
        save_file({names.get(name, name): tensor for name, tensor in kept.items()}, tmp_path / "w.st")
        networks.load_all_from(fresh, tmp_path / "w.st")
        assert torch.equal(fresh.head.weight, network.head.weight) and fresh.head.weight is fresh.embedding.weight
        assert {"embedding.weight", "head.weight"} <= set(networks.begin_from(TiedEmbedding(), tmp_path / "w.st"))
    save_file({**kept, "head.weight": torch.zeros(3, 8)}, tmp_path / "w.st")
    with pytest.raises(FileError, match=r"embedding\.weight and head\.weight are one tensor in the network but differ"):
        networks.load_all_from(fresh, tmp_path / "w.st")


def test_parameters_that_overlap_in_different_shapes_are_refused():
    network = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 4))
    network[1].weight = nn.Parameter(network[0].weight.t())
    with pytest.raises(ValueError, match=r"1\.weight and 0\.weight share memory but are not the same tensor"):
        networks._state.tie(network)


def test_a_packed_file_that_points_nowhere_is_refused():
    from edgepress import packing

    for layout in (["same", "b"], ["same", 3], ["same"], ["same", "a"]):
        data = packing._container([["a", [2], layout]], b"")
        with pytest.raises(PackedFileError, match="'a'"):
            Compressed.from_bytes(data)
