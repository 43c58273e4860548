"""Other libraries, measured as our methods are. Those that are not installed are skipped."""

import copy
import math

import pytest
import torch
from torch import nn

from edgepress import config, networks, peers, registry
from edgepress.config import ConfigError, RunConfig
from edgepress.datasets import sample
from edgepress.evaluation import predict
from edgepress.folding import fold_batch_norm
from edgepress.levels import Level
from edgepress.sweep import Bench, Trained
from edgepress.targets import latency
from edgepress.targets import onnx_runtime as runtime

from .eight_bit import trained
from .test_environments import pins

SPLITS = ["val", "test"]
CPU = torch.device("cpu")
PLUGIN = {"plugins": [__file__.replace("test_peers", "small_peer")]}
BUILT_IN = sorted(registry.built_in("peers"))
CASES = [(name, network) for name in BUILT_IN for network in ("resnet8", "ds_cnn")]
# How far outputs may be from those in full precision, as a share of their range: a level's noise, not its quality.
NEAR = {"w8a8": 0.1, "w8": 0.05, "w4": 0.5, "w4a8": 0.5, "w4a4": 1.0}


@pytest.fixture
def plugin():
    """The peers of small_peer.py, known while a test runs."""
    config.parse(PLUGIN)
    registry.peers()["halves"].load().given.clear()
    yield
    registry.set_own({})


def made(name):
    entry = registry.peers()[name]
    return entry.load()(**entry.args)


@pytest.fixture
def bench(classes):
    torch.manual_seed(1)
    return Bench(Trained("tiny", 7, nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)), classes), SPLITS, CPU)


def test_what_there_is_says_what_it_needs():
    assert BUILT_IN == ["brevitas", "brevitas_gptq", "onnxruntime", "openvino", "torch_pruning", "torchao"]
    locked = {name.replace("-", "_").lower() for name in pins("requirements-peers.lock")}
    for entry in registry.built_in("peers").values():
        assert set(entry.packages) <= locked and entry.levels and entry.about
        assert entry.runtime is None or entry.runtime in entry.packages
        assert [str(Level.parse(level)) for level in entry.levels] == entry.levels


def test_what_is_measured_is_what_the_files_hold(bench, plugin, tmp_path):
    rows = next(peers.sweep(bench, "halves", tmp_path))
    size = sum(file.stat().st_size for file in (tmp_path / "w16").iterdir())
    assert size > 2 * 43  # numbers of two bytes, and a header
    rounded = copy.deepcopy(bench.shipped).bfloat16().float()
    for split, row in zip(SPLITS, rows, strict=True):
        outputs, targets = predict(rounded, bench.data.inputs[split]), bench.data.targets[split]
        assert row["loss"] == pytest.approx(float(nn.functional.cross_entropy(outputs, targets)), abs=1e-12)
        assert (row["method"], row["family"], row["level"], row["draw"]) == ("halves", "peer", "w16", 0)
        assert (row["bits"], row["act_bits"], row["status"]) == (16, None, "ok")
        assert (row["bytes"], row["compression_ratio"]) == (size, bench.fp32_bytes / size)
        assert (row["tensor_bytes"], row["add_bits"]) == (2 * 43, None)
        assert (row["macs"], row["bops"]) == (35, 35 * 16 * 32)
        assert "sparsity" not in row


def test_a_peer_calibrates_on_training_data_alone(bench, plugin, tmp_path):
    list(peers.sweep(bench, "halves", tmp_path))
    given = registry.peers()["halves"].load().given
    assert len(given) == 2
    rows = sample(bench.trained.data.inputs["train"], 512)  # all 90 of them
    assert len(rows) == 90 and all(torch.equal(inputs, rows) for inputs in given)


def test_a_library_that_fails_is_a_row_with_its_reason(bench, plugin, tmp_path):
    _, rows = peers.sweep(bench, "halves", tmp_path)
    assert [(row["split"], row["status"], row["reason"]) for row in rows] == [
        (split, "failed", "NotImplementedError: 8 bits are too few") for split in SPLITS
    ]
    assert "bytes" not in rows[0]
    assert [path.name for path in tmp_path.iterdir()] == ["w16"]


def test_a_library_that_is_not_there_is_a_row_that_says_how_to_install_it(bench, plugin, tmp_path):
    levels = list(peers.sweep(bench, "absent", tmp_path))
    assert [(row["level"], row["split"]) for rows in levels for row in rows] == [
        (level, split) for level in ("w8a8", "w4") for split in SPLITS
    ]
    for row in (row for rows in levels for row in rows):
        assert row["status"] == "skipped" and "bytes" not in row
        assert row["reason"] == (
            "no_such_library, nor_this missing: pip install --no-deps --requirement envs/requirements-peers.lock"
        )
    assert not list(tmp_path.iterdir())


def test_latency_says_of_each_peer_why_it_has_no_time(plugin, tmp_path):
    rows = latency.measure(trained("dnn_complex"), [], (1,), {"halves": tmp_path, "absent": tmp_path})
    assert [(row["peer"], row["level"], row["status"]) for row in rows] == [
        ("halves", "w16", "unavailable"),
        ("halves", "w8", "unavailable"),
        ("absent", "w8a8", "skipped"),
        ("absent", "w4", "skipped"),
    ]
    assert "no runtime" in rows[0]["reason"] and "pip install" in rows[2]["reason"]


def test_a_config_names_peers_or_asks_for_all_of_them():
    assert RunConfig(peers=True).peers == BUILT_IN
    assert RunConfig(peers=False).peers == RunConfig().peers == []
    jobs = RunConfig(peers=["torchao", "brevitas"]).peer_jobs()
    assert [(job.name, job.tables) for job in jobs] == [
        ("torchao", {"torchao": "torchao/metrics.csv"}),
        ("brevitas", {"brevitas": "brevitas/metrics.csv"}),
    ]
    cells = config.parse({"peers": True, "overrides": {"digits/cnn": {"peers": False}}}).cells()
    assert {place: bool(cell.peers) for place, cell in cells.items()} == {place: place[1] != "cnn" for place in cells}


def test_a_peer_of_ones_own_is_asked_for_like_the_others(plugin):
    assert config.parse({**PLUGIN, "peers": ["halves"]}).peers == ["halves"]
    assert "absent" in config.parse({**PLUGIN, "peers": True}).peers


def test_a_name_is_of_a_method_or_of_a_peer(tmp_path):
    plugin = tmp_path / "plugin.py"
    description = '{"object": "X", "about": "x", "family": "x", "sweep": "bits"}'
    plugin.write_text(f'METHODS = {{"torchao": {description}}}')
    with pytest.raises(ConfigError, match=r"'torchao'.* is the name of something else"):
        config.parse({"plugins": [str(plugin)]})


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def compressed(request, tmp_path_factory):
    """A peer's rows on test, by level, with its network in full precision, its bench and the folder of its files."""
    name, network = request.param
    entry = registry.peers()[name]
    if entry.missing:
        pytest.skip(entry.why_missing)
    folder = tmp_path_factory.mktemp(name)
    bench = Bench(trained(network), ["test"], CPU)
    before = copy.deepcopy(networks.inference_state(bench.shipped))
    rows = {rows[0]["level"]: rows[0] for rows in peers.sweep(bench, name, folder)}
    assert all(torch.equal(before[key], tensor) for key, tensor in networks.inference_state(bench.shipped).items())
    return name, rows, bench, folder


def test_every_level_gives_a_file_that_is_no_pickle(compressed):
    _, rows, bench, folder = compressed
    for level, row in rows.items():
        assert row["status"] == "ok", row["reason"]
        files = list((folder / level).iterdir())
        assert row["bytes"] == sum(file.stat().st_size for file in files) > row["tensor_bytes"] > 0
        assert {file.suffix for file in files} <= {".onnx", ".safetensors", ".xml", ".bin"}
        assert 0 < row["bops"] < bench.baseline()[0]["bops"] and math.isfinite(row["loss"])


def test_quantized_outputs_are_near_those_in_full_precision(compressed):
    name, rows, bench, folder = compressed
    if name == "torch_pruning":
        pytest.skip("it takes out channels")
    inputs = bench.data.inputs["test"]
    expected = predict(bench.shipped, inputs)
    for level in rows:
        found = predict(made(name).load(folder / level, bench.shipped), inputs)
        apart = (found - expected).abs().mean() / (expected.max() - expected.min())
        assert 0 < float(apart) < NEAR[level], level


def test_removed_channels_are_removed_operations(compressed):
    name, rows, bench, _ = compressed
    if name != "torch_pruning":
        pytest.skip("it removes nothing")
    whole = bench.baseline()[0]
    shares = [rows[level]["sparsity"] for level in ("s25", "s50", "s75")]
    hidden = networks.compressible(bench.shipped)[:-1]
    part = sum(bench.shipped.get_parameter(weight).numel() for weight in hidden) / bench.weights
    for share, wanted in zip(shares, (0.25, 0.5, 0.75), strict=True):
        assert wanted * part <= share < wanted * part + 0.08  # channels go one a layer at a time
    assert whole["macs"] > rows["s25"]["macs"] > rows["s50"]["macs"] > rows["s75"]["macs"]


def test_a_runtime_s_file_is_timed_beside_ours(compressed):
    name, rows, bench, folder = compressed
    if bench.trained.network_name != "ds_cnn" or not registry.peers()[name].runtime:
        pytest.skip("one network is enough, and torch is no runtime")
    timed = latency.measure(bench.trained, ["w32"], (1, 8), {name: folder})
    modes = runtime.MODES if registry.peers()[name].runtime == runtime.NAME else runtime.MODES[:1]
    places = [(name, level, mode, batch) for level in rows for mode in modes for batch in (1, 8)]
    found = [(row["peer"], row["level"], row["mode"], row["batch"]) for row in timed[2:]]
    assert found == places
    for row in timed[2:]:
        assert (row["status"], row["source"], row["runtime"]) == ("ok", "measured", registry.peers()[name].runtime)
        assert 0 < row["q1_ms"] <= row["median_ms"] <= row["q3_ms"]
        if row["mode"] == runtime.EXACT:
            assert row["products"] == "exact" and row["integer_layers"] + row["float_layers"] == 10
        if row["mode"] == modes[-1]:
            assert row["accuracy"] == rows[row["level"]]["accuracy"]


def test_onnx_runtime_computes_its_own_file_in_integers(compressed):
    name, _, _, folder = compressed
    if name != "onnxruntime":
        pytest.skip("it is about that peer")
    model = (folder / "w8a8/model.onnx").read_bytes()
    assert [runtime.layers(model, mode) for mode in runtime.MODES] == [(10, 0)] * 2


def test_torchao_leaves_convolutions_of_one_channel_as_they_are(tmp_path):
    network = fold_batch_norm(trained("ds_cnn").network)
    bits = made("torchao").precision(tmp_path, network, Level(bits=4)).weights
    depthwise = [name for name in bits if network.get_parameter(name).shape[1] == 1]
    assert 0 < len(depthwise) < len(bits)
    assert {bits[name] for name in depthwise} == {32} and {bits[name] for name in bits.keys() - set(depthwise)} == {4}


def test_bits_of_layers_input_and_adds_are_those_in_the_file(compressed):
    """The network's input has 8 bits at any level; what else a layer reads has those of the level."""
    name, rows, bench, folder = compressed
    if not registry.peers()[name].runtime:
        pytest.skip("it quantizes weights alone")
    weights = networks.compressible(bench.shipped)
    for level, row in rows.items():
        asked = Level.parse(level)
        found = made(name).precision(folder / level, bench.shipped, asked)
        first, *others = weights
        assert found.weights == dict.fromkeys(weights, asked.bits)
        assert found.inputs == {first: 8, **dict.fromkeys(others, asked.act_bits)}
        assert row["add_bits"] == found.adds == (asked.act_bits if name == "brevitas" else 8)


@pytest.mark.parametrize("network", ["resnet8", "ds_cnn"])
@pytest.mark.parametrize("peer, method", [("brevitas", "activations_mse_adds"), ("brevitas_gptq", "activations_mse")])
def test_terms_of_a_peer_and_of_ours_are_equal(network, peer, method, tmp_path):
    """The same bits of weights, of what layers read and of what is added, so the same bit operations."""
    if registry.peers()[peer].missing:
        pytest.skip(registry.peers()[peer].why_missing)
    bench = Bench(trained(network), ["test"], CPU)
    rows = {rows[0]["level"]: rows[0] for rows in peers.sweep(bench, peer, tmp_path)}
    for result in bench.sweep("ours", list(rows), 1, [method, "nearest_symmetric_channel"]):
        ours, theirs = result.rows[0], rows[result.level]
        for column in ("bits", "act_bits", "add_bits", "macs", "bops"):
            assert ours[column] == theirs[column], (result.level, column)


def test_gptq_of_a_peer_changes_weights(tmp_path):
    """With some quantizers, Brevitas's GPTQ rounds nothing and says so nowhere."""
    if registry.peers()["brevitas_gptq"].missing:
        pytest.skip(registry.peers()["brevitas_gptq"].why_missing)
    from edgepress.peers import brevitas

    given = trained("resnet8")
    quantized = brevitas._quantized(fold_batch_norm(given.network), Level(bits=4, act_bits=4), "MSE")
    before = {name: tensor.clone() for name, tensor in quantized.named_parameters() if name.endswith("weight")}
    with torch.no_grad():
        brevitas._round_for_outputs(quantized, given.data.inputs["train"])
    after = dict(quantized.named_parameters())
    moved = {
        name: float((after[name].detach() - tensor).abs().max() / tensor.abs().max()) for name, tensor in before.items()
    }
    assert len(moved) == 10 and min(moved.values()) > 1e-3, moved
