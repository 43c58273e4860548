"""The user's own data, networks and methods in a config, and in the registry."""

import json
import sys

import pytest
import torch
from safetensors.torch import save_file

from edgepress import config, networks, provenance, registry
from edgepress.config import ConfigError
from edgepress.datasets import SPLITS, Prepared

from . import small_own

PEOPLE = {"csv": "people.csv", "target": "stays", "task": "classification"}
OWN = {
    "plugins": ["my_method.py"],
    "own_data": {"people": PEOPLE},
    "own_networks": {"tiny": {"builder": "nets:Tiny", "args": {"width": 5}}},
    "networks": {"people": ["tiny", "dnn_simple"]},
    "methods": ["signs", "nearest_uniform"],
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder with what a user has, as the working directory, and not a trace of it afterwards."""
    small_own.write(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    before = set(sys.modules)
    provenance.forget()
    yield tmp_path
    registry.set_own({})
    for module in set(sys.modules) - before:
        if module.startswith(("nets", "layers", "edgepress plugin")):
            del sys.modules[module]
    provenance.forget()


def people() -> Prepared:
    inputs = {split: torch.randn(6, 3) for split in SPLITS}
    return Prepared("people", "classification", 2, inputs, {split: torch.arange(6) % 2 for split in SPLITS})


def test_the_registry_knows_what_a_config_adds():
    config.parse(OWN)
    assert registry.datasets()["people"].files == ["people.csv"]
    assert registry.networks()["tiny"].args == {"width": 5}
    assert registry.methods()["signs"].family == "signs"
    config.parse({})
    assert not {"people", "tiny", "signs"} & {*registry.datasets(), *registry.networks(), *registry.methods()}


def test_another_process_knows_it_from_plain_data():
    config.parse(OWN)
    known, carried = registry.own(), json.loads(json.dumps(registry.own()))
    registry.set_own({})
    registry.set_own(carried)
    assert registry.own() == known
    assert registry.own("tiny") == {kind: {} for kind in registry.KINDS} | {"networks": known["networks"]}


def test_knowing_it_runs_none_of_it(folder):
    (folder / "nets.py").write_text("raise RuntimeError", encoding="utf-8")
    (folder / "my_method.py").write_text(small_own.METHOD + "raise RuntimeError\n", encoding="utf-8")
    config.parse(OWN)
    assert provenance.code_digest("my_method.py") and provenance.code_digest("nets")


def test_a_network_is_given_what_it_asks_for(folder):
    config.parse(OWN | {"own_networks": OWN["own_networks"] | {"fixed": {"builder": "nets:fixed"}}})
    assert networks.build("tiny", people()).head.out_features == 2
    assert networks.build("fixed", people()).head.out_features == 1
    with pytest.raises(ValueError, match=r"'dnn_simple' needs data \(input_shape, outputs, task\)"):
        networks.construct(registry.networks()["dnn_simple"])


def test_a_class_that_is_not_there_is_told():
    config.parse(OWN | {"own_networks": {"tiny": {"builder": "nets:Tinny"}}})
    with pytest.raises(ValueError, match="nets has no 'Tinny', which 'tiny' is to be"):
        networks.build("tiny", people())


WRONG = [
    (
        {"own_data": {"a": {"csv": "none.csv", "target": "y", "task": "regression"}}},
        ["own_data.a.csv", "does not exist"],
    ),
    ({"own_data": {"a": {"target": "y"}}}, ["own_data.a", "one of `csv`, `images` and `npz`"]),
    ({"own_data": {"a": {**PEOPLE, "npz": "b.npz"}}}, ["own_data.a", "one of `csv`, `images` and `npz`"]),
    ({"own_data": {"a": 3}}, ["own_data.a", "one of `csv`"]),
    ({"own_data": {"a": {"csv": "people.csv", "task": "regression"}}}, ["'own_data.a.target' is missing"]),
    (
        {"own_data": {"a": {**PEOPLE, "targt": "y"}}},
        ["own_data.a: there is no setting 'targt'", "did you mean 'target'?"],
    ),
    ({"own_data": {"a": {**PEOPLE, "task": "cluster"}}}, ["own_data.a.task", "'classification' or 'regression'"]),
    ({"own_data": {"a": {**PEOPLE, "val": 1.5}}}, ["own_data.a.val", "1.5", "less than 1"]),
    ({"own_data": {"a": {**PEOPLE, "val": 0.5, "test": 0.5}}}, ["own_data.a", "leave no rows to train on"]),
    ({"own_data": {"a": {**PEOPLE, "mean": [0.5]}}}, ["own_data.a", "give both `mean` and `std`"]),
    ({"own_data": {"a": {**PEOPLE, "mean": [0.5], "std": [0.0]}}}, ["own_data.a", "`std` must be more than 0"]),
    ({"own_data": {"digits": PEOPLE}}, ["'digits' cannot be the name of a data set"]),
    ({"own_data": {"figures": PEOPLE}}, ["'figures' cannot be the name of a data set"]),
    ({"own_data": {"a/b": PEOPLE}}, ["'a/b' cannot be the name of a data set"]),
    ({"own_networks": {"a": {"builder": "nets.Tiny"}}}, ["own_networks.a.builder", "is not of the form module:Class"]),
    ({"own_networks": {"a": {"builder": "../nets:Tiny"}}}, ["own_networks.a.builder", "is not of the form"]),
    ({"own_networks": {"a": {"builder": "nts:Tiny"}}}, ["own_networks.a.builder", "no module 'nts'"]),
    (
        {"own_networks": {"a": {"bilder": "nets:Tiny"}}},
        ["own_networks.a: there is no setting 'bilder'", "did you mean 'builder'?"],
    ),
    ({"own_networks": {"cnn": {"builder": "nets:Tiny"}}}, ["'cnn' cannot be the name of a network"]),
    ({"plugins": ["none.py"]}, ["plugins[0]", "none.py does not exist"]),
    ({"plugins": ["people.csv"]}, ["plugins[0]", "people.csv is not a Python file"]),
    ({"plugins": ["nets.py"]}, ["plugins[0]", "declares none of METHODS, NETWORKS and DATASETS"]),
    ({"plugins": ["my_method.py", "my_method.py"]}, ["plugins", "more than once"]),
    ({"plugins": ["broken.py"]}, ["plugins[0]", "broken.py cannot be read", "plain literal"]),
    ({"plugins": ["syntax.py"]}, ["plugins[0]", "syntax.py cannot be read"]),
    ({"plugins": ["taken.py"]}, ["'midrise' of taken.py is already in use"]),
    ({"training": None}, ["'training' of digits/dnn_simple is None", "'weights'"]),
    ({"overrides": {"digits/cnn": {"training": None}}}, ["'training' of digits/cnn is None", "'weights'"]),
]


@pytest.mark.parametrize("raw, words", WRONG, ids=[str(raw) for raw, _ in WRONG])
def test_what_cannot_be_is_said_in_a_sentence(folder, raw, words):
    (folder / "broken.py").write_text("METHODS = dict(a=3)", encoding="utf-8")
    (folder / "syntax.py").write_text("METHODS = {", encoding="utf-8")
    (folder / "taken.py").write_text(small_own.METHOD.replace("signs", "midrise"), encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        config.parse(raw, "mine.yaml")
    message = str(error.value)
    assert message.startswith("mine.yaml: ") and "\n" not in message
    assert all(word in message for word in words), message


def test_a_network_that_is_not_trained_has_one_seed_unless_its_files_differ_by_seed():
    once = config.parse({"training": None, "weights": "w.safetensors"}).cell("digits", "cnn")
    assert once.seeds == [0] and once.weights_of(0) == "w.safetensors"
    each = config.parse({"training": None, "weights": "w{seed}.safetensors"}).cell("digits", "cnn")
    assert each.seeds == [0, 1, 2] and each.weights_of(2) == "w2.safetensors"


def test_networks_that_a_replication_does_not_train_need_no_file():
    cell = config.parse({"training": None, "replication": {"weights": "study"}}).cell("digits", "cnn")
    assert cell.training is None and cell.weights is None


def test_an_override_trains_what_the_run_does_not():
    run = config.parse(
        {"training": None, "weights": "w.safetensors", "overrides": {"digits/cnn": {"training": {"lr": 0.5}}}}
    )
    assert run.cell("digits", "dnn_simple").training is None
    assert run.cell("digits", "cnn").training.lr == 0.5
    assert run.cell("digits", "cnn").training.max_epochs == config.TrainingConfig().max_epochs


def test_all_of_a_network_comes_from_its_file(folder):
    config.parse(OWN)
    trained, fresh = networks.build("tiny", people(), seed=1), networks.build("tiny", people(), seed=2)
    save_file(trained.state_dict(), "whole.safetensors")
    networks.load_all_from(fresh, "whole.safetensors")
    assert all(torch.equal(fresh.state_dict()[name], tensor) for name, tensor in trained.state_dict().items())
    part = {name: tensor for name, tensor in trained.state_dict().items() if "head" not in name}
    save_file(part, "part.safetensors")
    save_file(trained.state_dict() | {"more": torch.ones(1)}, "more.safetensors")
    save_file(trained.state_dict() | {"head.bias": torch.ones(3)}, "other.safetensors")
    for file, words in {
        "part": r"missing \['head\.weight', 'head\.bias'\]",
        "more": r"unexpected \['more'\]",
        "other": r"head\.bias is \(3,\) but \(2,\)",
    }.items():
        with pytest.raises(ValueError, match=rf"^{file}\.safetensors: .*{words}"):
            networks.load_all_from(fresh, f"{file}.safetensors")


@pytest.mark.parametrize(
    "file, root, counts",
    [
        ("nets.py", "nets", True),
        ("layers.py", "nets", True),  # which it imports
        ("layers.py", "my_method.py", False),
        ("my_method.py", "my_method.py", True),
    ],
)
def test_an_edit_to_the_users_code_shows(folder, file, root, counts):
    before = provenance.code_digest(root)
    (folder / file).write_text((folder / file).read_text(encoding="utf-8") + "\nmore = 1\n", encoding="utf-8")
    provenance.forget()
    assert (provenance.code_digest(root) != before) == counts


def test_installed_packages_are_told_by_their_versions():
    assert provenance.files_of("torch.nn") == [] and provenance.files_of("json") == []


def test_content_decides_the_digest_of_a_folder(folder):
    def digest() -> str:
        provenance.forget()
        return provenance.content_digest(folder / "images")

    (folder / "images/a").mkdir(parents=True)
    (folder / "images/a/1.png").write_bytes(b"one")
    first = digest()
    (folder / "images/a/1.png").touch()
    assert digest() == first
    (folder / "images/a/1.png").rename(folder / "images/a/2.png")
    renamed = digest()
    (folder / "images/a/2.png").write_bytes(b"two")
    assert len({first, renamed, digest()}) == 3


def test_the_manifest_tells_of_the_users_files_and_code(folder):
    config.parse(OWN)
    provenance.start("manifest.json", {"run": "x", "seeds": [0]}, folder, registry.own(), ["people.csv", "people.csv"])
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["own"] == json.loads(json.dumps(registry.own()))
    assert manifest["own_code"] == {
        name: provenance.code_digest(name) for name in ("edgepress.datasets.own_csv", "my_method.py", "nets")
    }
    assert manifest["own_files_sha256"] == {"people.csv": provenance.content_digest("people.csv")}


def test_a_report_of_networks_that_were_not_trained_says_so():
    import pandas as pd

    from edgepress.reporting import figures

    nothing = pd.DataFrame(columns=["dataset", "network", "seed", "epoch", "lr", "train_loss", "val_loss"])
    (axes,) = figures.training_curves(nothing, "people").axes
    assert [text.get_text() for text in axes.texts] == ["no network was trained"]
