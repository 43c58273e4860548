"""Networks as C: what a build for this machine computes, against exact arithmetic."""

import ctypes
import itertools
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgepress import methods, registry
from edgepress.cli import main
from edgepress.encodings import Dense
from edgepress.folding import fold_batch_norm
from edgepress.levels import Level
from edgepress.methods import in_full_precision
from edgepress.methods.rounding import rounded
from edgepress.networks.cnn import CNN
from edgepress.packing import Compressed
from edgepress.sweep import Trained
from edgepress.targets import NotServedError, c
from edgepress.targets.c import host, measure, parts
from edgepress.targets.c.measure import agree
from edgepress.targets.c.memory import arena
from edgepress.targets.c.reference import Reference, raw_inputs

from ..contract.conftest import small_data
from ..random_networks import network as random_network

needs_gcc = pytest.mark.skipif(
    shutil.which("gcc") is None and shutil.which("cc") is None, reason=f"there is no C compiler: {host.INSTALL}"
)


def computed(network, stored, inputs, options=("-O2",)):
    """What the C code gives, and what the reference does."""
    given, program = c.made(network, stored, tuple(inputs.shape[1:]))
    files = c.exported(given, program, inputs)
    return host.run(files, raw_inputs(program, inputs), options), Reference(given, program).raw(inputs), program


@needs_gcc
@pytest.mark.parametrize("seeds", [range(start, start + 10) for start in (0, 10, 20)], ids=str)
def test_random_networks_under_sanitizers(seeds):
    exact = 0
    for seed in seeds:
        network, stored, inputs = random_network(seed)
        try:
            found, expected, _ = computed(network, stored, inputs, ("-O1", *host.SANITIZERS))
        except NotServedError:
            continue
        assert np.array_equal(found, expected), seed
        exact += 1
    assert exact >= 8


def chains(every):
    """Each method alone, and each that rounds weights after activations are quantized; not ``every``: each method that
    looks at no examples, since those that do store weights as others do, in more time.
    """
    given = {"bits": 3, "act_bits": 8, "sparsity": 0.5}
    for name, entry in registry.methods().items():
        if entry.retrains or not entry.sweeps or (entry.examples and not every):
            continue
        yield (name,), Level(**{sweep: given[sweep] for sweep in entry.sweeps})
        if every and entry.sweeps == ["bits"] and not entry.first:
            yield ("activations_minmax", name), Level(bits=3, act_bits=8)


@needs_gcc
@pytest.mark.parametrize("kind", ["cnn", "dnn"])
def test_what_each_method_stores_is_computed_exactly_or_refused(kind):
    data = small_data("image" if kind == "cnn" else "table", "classification")
    torch.manual_seed(0)
    network = (
        CNN(data.input_shape, 3, data.task, width=2)
        if kind == "cnn"
        else nn.Sequential(nn.Linear(7, 8), nn.ReLU(), nn.Linear(8, 3))
    )
    network = fold_batch_norm(network.eval(), data.input_shape)
    served = set()
    for chain, level in chains(every=kind == "dnn"):
        steps = [methods.create(step) for step in chain]
        if any(step.skip(network, data, level) for step in steps):
            continue
        stored = methods.compress(steps, network, data, level, torch.Generator().manual_seed(1))
        stored = Compressed.from_bytes(stored.to_bytes())
        try:
            found, expected, program = computed(network, stored, data.inputs["test"])
        except NotServedError as error:
            assert "\n" not in str(error) and ("dithered" in str(error) or "float32" in str(error)), chain
            continue
        assert agree(found, expected), chain
        if not program.integers:
            with torch.no_grad():
                near = stored.rebuild(network)(data.inputs["test"]).numpy()
            np.testing.assert_allclose(found, near, rtol=1e-4, atol=1e-4 * np.abs(near).max())
        served.update(chain)
    assert len(served) > 30


def test_what_c_does_not_have_is_said_in_one_sentence():
    layer = nn.Linear(4, 3)
    whole = in_full_precision(nn.Sequential(layer))
    wide = whole.with_tensors({"0.weight": rounded(layer.weight.detach(), "uniform", 12)})
    normed = nn.Sequential(layer, nn.BatchNorm1d(3))
    cases = [
        (nn.Sequential(layer), wide, r"'0\.weight' has codes of 12 bits"),
        (nn.Sequential(layer, nn.Tanh()), whole, "Tanh, is an operation that C does not have"),
        (normed, in_full_precision(normed), "BatchNorm1d"),
    ]
    for network, stored, reason in cases:
        with pytest.raises(NotServedError, match=reason):
            c.made(network.eval(), stored, (4,))


def test_an_arena_holds_what_lives_at_once():
    """A residual block: its input lives on while the body computes, and the sum is written over it."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.last = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1), nn.Linear(256, 2)

        def forward(self, x):
            x = torch.relu(self.first(x))
            return self.last((x + self.second(x)).flatten(1))

    network = Block().eval()
    _, program = c.made(network, in_full_precision(network), (4, 8, 8))
    image = 4 * 4 * 64
    assert arena(program.plan, program.scratch).size == program.arena.size
    assert 2 * image <= program.arena.size <= 3.2 * image
    places = sorted((program.arena.values[v.name], v.size) for v in {s.writes for s in program.plan.steps[:-1]})
    assert all(place % 8 == 0 for place, _ in places)


@pytest.mark.parametrize("shape, groups", itertools.product([(3, 5, 6)], [1, 3]))
def test_packed_codes_lie_in_the_source(shape, groups):
    torch.manual_seed(2)
    network = nn.Sequential(nn.Conv2d(3, 6, 1, groups=groups), nn.Flatten(), nn.Linear(180, 2)).eval()
    weight = network[2].weight.detach()
    stored = in_full_precision(network).with_tensors({"2.weight": rounded(weight[:, :], "uniform", 8)})
    _, program = c.made(network, stored, shape)
    codes = stored.tensors["2.weight"].codes.reshape(2, 6, 5, 6).permute(0, 2, 3, 1).reshape(-1)
    assert program.layers["2"].rows.codes == bytes(codes.tolist())
    assert isinstance(stored.tensors["0.bias"], Dense)


def test_a_network_too_large_for_a_board_is_refused():
    board = parts.PARTS["stm32l432kc"]
    parts.check_fits(board, 60_000, 200_000)
    for arena_bytes, constants, memory in [(70_000, 10, "RAM"), (10, 260_000, "flash")]:
        with pytest.raises(NotServedError, match=f"bytes of {memory}, and stm32l432kc has"):
            parts.check_fits(board, arena_bytes, constants)


def test_export_from_the_command_line(tmp_path, capsys):
    layers = "nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2)"
    (tmp_path / "nets.py").write_text(f"from torch import nn\ndef net(): return nn.Sequential({layers})\n")
    network = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2))
    stored = in_full_precision(network)
    stored = stored.with_tensors({"0.weight": rounded(network[0].weight.detach(), "uniform", 3)})
    file, output = tmp_path / "net.safetensors", tmp_path / "c"
    file.write_bytes(stored.to_bytes())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        patch.syspath_prepend(tmp_path)
        command = ["export", "net.safetensors", "--to", "c", "-o", "c", "--network", "nets:net"]
        assert main([*command, "--input-shape", "5"]) == 0
        assert {"network.h", "network.c", "selftest.c", "Makefile", "README.md"} <= {f.name for f in output.iterdir()}
        said = [
            ([*command, "--input-shape", "5"], "is there already"),
            ([*command, "--input-shape", "6", "--force"], "of another network than nets:net"),
            ([*command, "--input-shape", "x", "--force"], "--input-shape is 'x'"),
            ([*command, "--force"], "say what an input looks like"),
            ([*command, "--input-shape", "5", "--force", "--board", "none"], "there is no board 'none'"),
            (["export", "net.safetensors", "--to", "d", "-o", "d", "--network", "nets:net"], "there is no target 'd'"),
        ]
        before = {f.name: f.read_bytes() for f in output.iterdir()}
        for arguments, sentence in said:
            assert main(arguments) == 2
            assert sentence in capsys.readouterr().err
        assert {f.name: f.read_bytes() for f in output.iterdir()} == before
        assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith(".")) == []


@needs_gcc
def test_the_reader_in_the_docs_reads_packed_tensors(tmp_path):
    text = (Path(__file__).parents[2] / "docs" / "packed.md").read_text()
    source = text.split("```c\n")[1].split("```")[0]
    (tmp_path / "reader.c").write_text(source)
    library = tmp_path / "reader.so"
    command = [
        host.compiler(),
        "-std=c99",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-shared",
        "-fPIC",
        "reader.c",
        "-o",
        library,
    ]
    subprocess.run(command, cwd=tmp_path, check=True)
    reader = ctypes.CDLL(str(library))
    weights = torch.randn(7, 11, generator=torch.Generator().manual_seed(3))
    for kind, bits in itertools.product(("symmetric", "uniform"), (1, 3, 8, 11)):
        encoding, parts = rounded(weights, kind, bits), []
        encoding.write(parts)
        values = np.empty(77, np.float32)
        read = reader.read_symmetric if kind == "symmetric" else reader.read_grid
        read(b"".join(parts), bits, 77, values.ctypes.data_as(ctypes.c_void_p))
        assert np.array_equal(values, encoding.decode().reshape(-1).numpy())


@needs_gcc
def test_without_the_device_tools_rows_say_how_to_get_them_and_the_host_proves_the_code(tmp_path, monkeypatch):
    data = small_data("table", "classification")
    network = nn.Sequential(nn.Linear(7, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    file = tmp_path / "w3.safetensors"
    stored = in_full_precision(network).with_tensors({"0.weight": rounded(network[0].weight.detach(), "uniform", 3)})
    file.write_bytes(stored.to_bytes())
    monkeypatch.setattr(measure.device, "missing", lambda: ["qemu-system-arm"])
    rows = measure.measure(Trained("net", 0, network, data), {("nearest_uniform", "w3"): file})
    assert rows and all(row.keys() <= measure.COLUMNS.keys() for row in rows)
    for row in rows:
        assert (row["status"], row["host_difference"], row["host_rows"]) == ("skipped", 0, len(data.inputs["test"]))
        assert "qemu-system-arm missing: apt-get install" in row["reason"]
