"""The command line: its output, files and errors."""

import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from edgepress import cli, networks, registry
from edgepress.datasets import SPLITS, Prepared
from edgepress.encodings import Dense
from edgepress.networks._bare import stand_in
from edgepress.packing import Compressed

from . import small_own


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    small_own.write(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    yield tmp_path
    registry.set_own({})
    for module in [name for name in sys.modules if name in ("nets", "layers")]:
        del sys.modules[module]


@pytest.fixture
def model(folder):
    """A file of two Linear layers, as a user has one."""
    generator = torch.Generator().manual_seed(0)
    shapes = {"hidden.weight": (5, 3), "hidden.bias": (5,), "head.weight": (2, 5), "head.bias": (2,)}
    tensors = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    save_file(tensors, "model.safetensors")
    return tensors


def run(capsys, *words: str) -> tuple[int, str, str]:
    code = cli.main(words)
    said = capsys.readouterr()
    return code, said.out, said.err


LIGHT = [
    ["--help"],
    ["compress", "--help"],
    ["compare", "--help"],
    ["list"],
    ["list", "methods"],
    ["describe", "multipoint"],
    ["describe", "churn"],
    ["list", "--config", "mine.yaml"],
]


@pytest.mark.parametrize("words", LIGHT, ids=" ".join)
def test_what_only_looks_up_imports_nothing_heavy(folder, words):
    (folder / "mine.yaml").write_text("own_networks: {tiny: {builder: 'nets:Tiny'}}", encoding="utf-8")
    code = (
        "import sys, runpy\nsys.argv = ['edgepress', *sys.argv[1:]]\n"
        "try: runpy.run_module('edgepress', run_name='__main__')\nexcept SystemExit as end: assert not end.code\n"
        "print('HEAVY', sorted({'torch', 'pandas', 'numpy', 'scipy', 'sklearn', 'pytest'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("HEAVY []\n")


def test_help_teaches_by_examples(capsys):
    for command in ("list", "describe", "compress", "unpack", "inspect", "compare", "check"):
        with pytest.raises(SystemExit) as end:
            cli.main([command, "--help"])
        assert end.value.code == 0
        assert f"\n  edgepress {command}" in capsys.readouterr().out


def test_list_and_describe_tell_of_what_is_known(capsys, folder):
    _, everything, _ = run(capsys, "list")
    for entries in (registry.datasets(), registry.networks(), registry.methods()):
        for name, entry in entries.items():
            assert f"  {name} " in everything and entry.about in everything
            code, said, _ = run(capsys, "describe", name)
            assert code == 0 and entry.about in said
    (folder / "mine.yaml").write_text("plugins: [my_method.py]\n", encoding="utf-8")
    assert "signs" not in everything and "signs" in run(capsys, "list", "methods", "--config", "mine.yaml")[1]
    assert "Two values per layer" in run(capsys, "describe", "signs", "--config", "mine.yaml")[1]


def test_a_file_alone_is_compressed_inspected_and_unpacked(capsys, folder, model):
    code, said, _ = run(capsys, "compress", "model.safetensors", "--method", "nearest_uniform", "--bits", "4")
    packed = folder / "model.nearest_uniform_w4.safetensors"
    assert code == 0 and f"{packed.name}: {packed.stat().st_size:,} bytes" in said
    stored = Compressed.load(packed).state_dict()
    assert stored.keys() == model.keys()
    for name, before in model.items():
        if name.endswith("bias"):
            assert torch.equal(stored[name], before)
        else:
            error = float((before - stored[name]).norm() / before.norm())
            (line,) = (line for line in said.splitlines() if line.startswith(name))
            assert error > 0 and line.endswith(f"{error:.2%}")
    code, said, _ = run(capsys, "inspect", packed.name)
    assert said.splitlines()[-1].startswith("made by ") and " then " not in said.splitlines()[-1]
    assert code == 0 and "head.weight" in said and "codes grid" in said
    code, _, _ = run(capsys, "unpack", packed.name, "--output", "plain.safetensors")
    plain = load_file("plain.safetensors")
    assert code == 0 and all(torch.equal(plain[name], stored[name]) for name in stored)


def test_methods_are_applied_in_turn(capsys, folder, model):
    words = ["--method", "magnitude", "nearest_uniform", "--sparsity", "0.8", "--bits", "3", "--output", "small.st"]
    code, _, said = run(capsys, "compress", "model.safetensors", *words)
    assert code == 0 and "head.weight is assumed to be the output layer" in said
    stored = Compressed.load("small.st").state_dict()
    assert int((stored["hidden.weight"] == 0).sum()) == 12 and stored["head.weight"].unique().numel() <= 8
    code, _, said = run(capsys, "compress", "model.safetensors", *words, "--force", "--output-layer", "hidden")
    stored = Compressed.load("small.st").state_dict()
    assert code == 0 and "hidden.weight is assumed" in said and int((stored["head.weight"] == 0).sum()) == 8
    code, _, said = run(capsys, "compress", "model.safetensors", *words, "--force", *TINY)
    stored = Compressed.load("small.st").state_dict()
    assert code == 0 and "assumed" not in said and int((stored["hidden.weight"] == 0).sum()) == 12


def layers(**shapes):
    """Tensors of these shapes, by name, ``_`` standing for a dot."""
    return {name.replace("_", "."): torch.randn(shape) for name, shape in shapes.items()}


CONV, FC = {"conv1_weight": (8, 3, 3, 3)}, {"fc_weight": (10, 8)}
OUTPUTS = {
    "a bias, which comes before other layers by its name": (layers(**CONV, **FC, fc_bias=(10,)), ["fc"]),
    "no bias": (layers(**CONV, **FC), ["fc"]),
    "norms": (layers(**CONV, **FC, fc_bias=(10,), zn_weight=(8,), zn_bias=(8,), zn_mean=(8,)), ["fc"]),
    "a prefix": (layers(module_conv1_weight=(8, 3, 3, 3), module_fc_weight=(9, 8), module_fc_bias=(9,)), ["module.fc"]),
    "numbers": (layers(c_0_weight=(6, 9), c_3_weight=(6, 6), c_10_weight=(4, 6), c_10_bias=(4,)), ["c.10"]),
    "the first by its name": (layers(**CONV, a_weight=(2, 5), a_bias=(2,), b_weight=(5, 8), b_bias=(5,)), ["a"]),
    "equal widths": (layers(l_0_weight=(8, 8), l_2_weight=(8, 8), l_11_weight=(8, 8)), ["l.11"]),
    "convolutions alone": (layers(a_weight=(8, 3, 3, 3), b_weight=(4, 8, 1, 1), b_bias=(4,)), ["b"]),
    "two heads": (layers(trunk_weight=(8, 4), age_weight=(1, 8), sex_weight=(2, 8)), ["age", "sex"]),
    "there and back": (layers(encoder_weight=(4, 8), decoder_weight=(8, 4)), ["decoder", "encoder"]),
    "a whole number": ({**layers(**FC), "table.weight": torch.ones(20, 4, dtype=torch.int64)}, ["fc"]),
}


@pytest.mark.parametrize("case", OUTPUTS)
def test_the_output_layer_of_a_bare_file_is_told_by_shapes_or_asked_for(capsys, folder, case):
    tensors, outputs = OUTPUTS[case]
    save_file(tensors, "net.safetensors")
    words = ["compress", "net.safetensors", "--method", "magnitude", "--sparsity", "0.5", "--output", "out.st"]
    code, _, said = run(capsys, *words)
    if len(outputs) > 1:
        assert code == 2 and f"name it by --output-layer ({', '.join(f'{name}.weight' for name in outputs)})" in said
        assert not (folder / "out.st").exists()
        code, _, said = run(capsys, *words, "--output-layer", outputs[0])
    assert code == 0 and f"{outputs[0]}.weight is assumed to be the output layer" in said
    zeros = {name: int((tensor == 0).sum()) for name, tensor in Compressed.load("out.st").state_dict().items()}
    weights = [name for name in tensors if name.endswith("weight") and tensors[name].dim() > 1 and "table" not in name]
    assert {name for name in weights if not zeros[name]} == {f"{outputs[0]}.weight"}
    code, _, said = run(capsys, *words, "--force", "--output-layer", "nothing")
    assert code == 2 and "has no Linear or Conv layer 'nothing'" in said


def test_what_is_not_compressed_is_said_and_what_is_no_float_is_kept(capsys, folder):
    rows = torch.arange(2**24, 2**24 + 6).reshape(2, 3)
    tensors = layers(**FC) | {
        "rnn.weight_ih_l0": torch.randn(60, 4),
        "index": rows,
        "mask": torch.tensor([True, False]),
    }
    save_file(tensors, "net.safetensors")
    words = ["compress", "net.safetensors", "--method", "nearest_uniform", "--bits", "4", "--output", "out.st"]
    code, _, said = run(capsys, *words)
    assert code == 0 and "75 % of the weights are in layers that no method compresses: rnn.weight_ih_l0" in said
    assert run(capsys, "unpack", "out.st", "--output", "plain.st")[0] == 0
    plain = load_file("plain.st")
    for name in ("index", "mask", "rnn.weight_ih_l0"):
        assert plain[name].dtype == tensors[name].dtype and torch.equal(plain[name], tensors[name])


def test_a_weight_under_two_names_is_drawn_and_stored_once(capsys, folder):
    tied = torch.randn(64, 8)
    tensors = layers(a_weight=(8, 64), b_weight=(5, 8)) | {"emb.weight": tied, "out.weight": tied.clone()}
    sizes = []
    for name, part in (("both", tensors), ("one", {n: t for n, t in tensors.items() if n != "emb.weight"})):
        save_file(part, "net.safetensors")
        words = ["--method", "stochastic_uniform", "--bits", "2", "--output", f"{name}.st"]
        assert run(capsys, "compress", "net.safetensors", *words)[0] == 0
        sizes.append((folder / f"{name}.st").stat().st_size)
    assert sizes[0] - sizes[1] < 40
    stored = Compressed.load("both.st").state_dict()
    assert torch.equal(stored["emb.weight"], stored["out.weight"])
    _, said, _ = run(capsys, "inspect", "both.st")
    assert "see emb.weight" in said and f"of {8 * 64 + 5 * 8 + 64 * 8:,} numbers" in said
    assert run(capsys, "unpack", "both.st", "--output", "plain.st")[0] == 0
    assert load_file("plain.st").keys() == tensors.keys()


def test_the_seed_decides_chance(capsys, folder, model):
    words = ["compress", "model.safetensors", "--method", "stochastic_uniform", "--bits", "2", "--output"]
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        run(capsys, *words, name, "--seed", seed)
    a, b, c = ((folder / name).read_bytes() for name in "abc")
    assert a == b != c


def test_a_method_that_looks_at_examples_gets_them_from_a_file(capsys, folder, model):
    words = ["compress", "model.safetensors", "--method", "multipoint", "--bits", "3", "--output", "out.st"]
    code, _, said = run(capsys, *words)
    assert code == 2 and "multipoint uses examples: name the network by --network" in said
    assert not (folder / "out.st").exists()
    inputs = {split: torch.randn(6, 3) for split in SPLITS}
    data = Prepared("people", "classification", 2, inputs, {split: torch.arange(6) % 2 for split in SPLITS})
    data.save("people.safetensors")
    assert run(capsys, *words, "--data", "people.safetensors", *TINY)[0] == 0
    assert Compressed.load("out.st").state_dict().keys() == model.keys()


def test_progress_counts_the_layers(model):
    from edgepress import methods
    from edgepress.cli.files import _watched
    from edgepress.levels import Level

    seen = []
    chain = [_watched(methods.create(name), lambda: seen.append(1)) for name in ("nearest_uniform", "magnitude")]
    level = Level(bits=4, sparsity=0.5)
    methods.compress(chain, stand_in(model), None, level, torch.Generator())
    assert len(seen) == 2 + 1  # the output layer is not pruned


OPTIONS = {"bits": ("--bits", "4"), "act_bits": ("--act-bits", "8"), "sparsity": ("--sparsity", "0.5")}


@pytest.mark.parametrize("method", sorted(name for name, entry in registry.methods().items() if entry.sweeps))
def test_every_method_takes_a_bare_file_or_says_what_it_lacks(capsys, folder, model, method):
    entry = registry.methods()[method]
    code, _, said = run(
        capsys,
        "compress",
        "model.safetensors",
        "--method",
        method,
        *(word for sweep in entry.sweeps for word in OPTIONS[sweep]),
        "--output",
        "out.st",
    )
    if code:
        last = said.splitlines()[-1]
        assert code == 2 and any(word in last for word in ("README.md", "--data", "--network"))
        assert not (folder / "out.st").exists()
    else:
        assert Compressed.load("out.st").state_dict().keys() == model.keys()


def test_a_step_without_levels_takes_those_of_the_method_before_it(capsys, folder, model):
    for chain, output in ((["midrise"], "plain.st"), (["midrise", "huffman"], "coded.st")):
        assert (
            run(capsys, "compress", "model.safetensors", "--method", *chain, "--bits", "8", "--output", output)[0] == 0
        )
    plain, coded = Compressed.load("plain.st").state_dict(), Compressed.load("coded.st").state_dict()
    assert all(torch.equal(coded[name], tensor) for name, tensor in plain.items())


def test_a_plugin_serves_here_too(capsys, folder, model):
    words = ["compress", "model.safetensors", "--method", "signs", "--bits", "1", "--plugin", "my_method.py"]
    assert run(capsys, *words)[0] == 0
    assert Compressed.load("model.signs_w1.safetensors").state_dict()["head.weight"].unique().numel() == 2


TINY = ["--network", "nets:Tiny", "--args", '{"width": 5}']
COMPRESS = ["compress", "model.safetensors"]
WRONG = [
    (["describe", "midris"], "did you mean 'midrise'?"),
    (["list", "--config", "none.yaml"], "none.yaml"),
    ([*COMPRESS, "--method", "midris", "--bits", "4"], "did you mean 'midrise'?"),
    ([*COMPRESS, "--method", "midrise"], "midrise needs --bits"),
    ([*COMPRESS, "--method", "huffman", "--bits", "4"], "huffman has no levels by itself; name a method before it"),
    ([*COMPRESS, "--method", "magnitude", "--bits", "4"], "magnitude takes no --bits"),
    ([*COMPRESS, "--method", "midrise", "--bits", "17"], "--bits is 17 but must be 1 to 16"),
    ([*COMPRESS, "--method", "random", "--sparsity", "1"], "--sparsity is 1 but must be 0 to below 1"),
    ([*COMPRESS, "--method", "lsq", "--bits", "4"], "'lsq' fine-tunes the network"),
    ([*COMPRESS, "--method", "multipoint_fixed", "--bits", "1"], "w1 does not apply to this network"),
    ([*COMPRESS, "--method", "midrise", "--bits", "4", "--output", "nets.py"], "nets.py exists already"),
    ([*COMPRESS, "--method", "midrise", "--bits", "4", "--network", "nets"], "there is no network 'nets'"),
    ([*COMPRESS, "--method", "midrise", "--bits", "4", "--network", "cnn"], "'cnn' needs data"),
    ([*COMPRESS, "--method", "midrise", "--bits", "4", "--network", "nets:Tiny"], "missing 1 required"),
    ([*COMPRESS, "--method", "midrise", "--bits", "4", "--network", "no:Tiny"], "No module named 'no'"),
    ([*COMPRESS, "--method", "midrise", "--bits", "4", "--network", "nets:Tiny", "--args", "{"], "--args is not JSON"),
    (
        [*COMPRESS, "--method", "midrise", "--bits", "4", "--network", "nets:Tiny", "--args", '{"width": 6}'],
        "hidden.weight is (5, 3) but (6, 3) in the network",
    ),
    (["compress", "nets.py", "--method", "midrise", "--bits", "4"], "nets.py cannot be read as safetensors"),
    (["compress", "none.st", "--method", "midrise", "--bits", "4"], "none.st"),
    (["compress", "biases.st", "--method", "midrise", "--bits", "4"], "no tensor of 2 or 4 dimensions"),
    (["compress", ".", "--method", "midrise", "--bits", "4"], ". does not exist or is not a file"),
    (["compress", "clash.st", "--method", "midrise", "--bits", "4"], "no tensor 'a.weight': 'a' cannot be the name"),
    (["inspect", "model.safetensors"], "is not a packed network"),
    (["inspect", "none.st"], "none.st cannot be read"),
    (["compress", "packed.st", "--method", "midrise", "--bits", "4"], "packed.st is packed, but plain tensors are"),
    (["unpack", "nets.py"], "is not a packed network"),
    (["compare", "here", "there"], "name a folder results/<run>"),
    (["compare", "nets.py", "people.csv"], ""),
    (["check", "nets.py"], "declares none of METHODS, NETWORKS and DATASETS"),
    (["check", "none.py"], "none.py does not exist"),
]


@pytest.mark.parametrize("words, message", WRONG, ids=[" ".join(words) for words, _ in WRONG])
def test_what_cannot_be_is_said_in_a_sentence(capsys, folder, model, words, message):
    save_file({"a.bias": torch.ones(3)}, "biases.st")
    save_file({"a": torch.ones(3), "a.weight": torch.ones(3, 3)}, "clash.st")
    (folder / "packed.st").write_bytes(Compressed({"a.weight": Dense(torch.ones(2, 2))}).to_bytes())
    before = sorted(folder.rglob("*"))
    code, out, err = run(capsys, *words)
    last = err.splitlines()[-1]
    assert code == 2 and out == "" and last.startswith("edgepress: ") and message in last and "Traceback" not in err
    assert [path for path in sorted(folder.rglob("*")) if "__pycache__" not in path.parts] == before


def test_where_nothing_can_be_written_is_said_in_a_sentence(capsys, folder, model):
    code, _, err = run(capsys, *COMPRESS, "--method", "midrise", "--bits", "4", "--output", "/proc/model.st")
    assert code == 2 and err.splitlines()[-1].startswith("edgepress: /proc/model.st cannot be written: ")


def test_check_passes_a_sound_method_and_fails_one_that_is_not(folder):
    def check(source: str) -> subprocess.CompletedProcess:
        (folder / "my_method.py").write_text(source, encoding="utf-8")
        line = [sys.executable, "-m", "edgepress", "check", "my_method.py", "--verbose"]
        return subprocess.run(line, capture_output=True, text=True, check=False)

    sound = check(small_own.METHOD)
    assert sound.returncode == 0, sound.stdout
    assert "test_unpacks_to_the_same_bits_and_logits[signs-cnn]" in sound.stdout
    assert "midrise" not in sound.stdout
    by_chance = check(small_own.METHOD.replace("size = ", "size = __import__('torch').rand(()) * "))
    assert by_chance.returncode == 1
    assert "FAILED" in by_chance.stdout and "test_the_generator_alone_decides_the_result[signs-" in by_chance.stdout


def test_a_stand_in_has_the_tensors_of_its_network():
    data = Prepared("d", "classification", 3, {"train": torch.zeros(1, 3, 16, 16)}, {"train": torch.zeros(1)})
    for name in ("resnet8", "resnet9", "ds_cnn", "cnn", "dnn_complex"):
        network = networks.build(name, data)
        bare = stand_in(network.state_dict())
        state, expected = networks.inference_state(bare), networks.inference_state(network)
        assert state.keys() == expected.keys() and all(torch.equal(state[key], expected[key]) for key in state)
        weights = networks.compressible(network)
        assert sorted(networks.compressible(bare)) == sorted(weights)
        assert networks.compressible(bare)[-1] == weights[-1]  # the output layer, which pruning leaves dense


def test_layers_of_a_stand_in_are_in_the_order_of_their_numbers():
    names = [f"net.{number}.weight" for number in (0, 2, 10)]
    bare = stand_in({name: torch.ones(2, 2) for name in reversed(names)} | {"net.1.weight": torch.ones(3)})
    assert networks.compressible(bare) == names
