import pytest

from edgepress import registry

METHOD = """
import torch_is_not_imported_here

METHODS = {{
    "{name}": {{"object": "Dither", "about": "adds noise", "family": "dither", "sweep": "bits"{more}}},
}}
raise RuntimeError("a plugin is read, not run")
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An empty package instead of edgepress; its registries are read again."""
    for folder in ("datasets", "networks", "methods"):
        (tmp_path / folder).mkdir()
    monkeypatch.setattr(registry, "PACKAGE", tmp_path)
    registry.built_in.cache_clear()
    yield tmp_path
    registry.built_in.cache_clear()


def test_a_new_file_is_a_new_method(package):
    (package / "methods" / "dither.py").write_text(METHOD.format(name="dither", more=', "args": {"amount": 2}'))
    (entry,) = registry.methods().values()
    assert (entry.name, entry.module, entry.object) == ("dither", "edgepress.methods.dither", "Dither")
    assert (entry.family, entry.sweep, entry.stochastic, entry.args) == ("dither", "bits", False, {"amount": 2})


def test_a_file_without_a_declaration_offers_nothing(package):
    (package / "networks" / "helpers.py").write_text("def METHODS(): ...\nNETWORK = {'x': {}}\n")
    assert registry.networks() == {}


def test_an_annotated_declaration_counts_too(package):
    source = METHOD.format(name="dither", more="").replace("METHODS =", "METHODS: dict[str, dict] =")
    (package / "methods" / "dither.py").write_text(source)
    assert list(registry.methods()) == ["dither"]


def test_a_name_declared_twice_is_an_error_that_names_both(package):
    for stem in ("one", "two"):
        (package / "methods" / f"{stem}.py").write_text(METHOD.format(name="dither", more=""))
    with pytest.raises(ValueError, match=r"two\.py: 'dither' is already declared in edgepress\.methods\.one"):
        registry.methods()


@pytest.mark.parametrize(
    "source, message",
    [
        ("METHODS = {'x': make()}", "must be a plain literal"),
        ("NAME = 'x'\nMETHODS = {NAME: {}}", "must be a plain literal"),
        ("METHODS = {'x': {'object': 'X'}}", "about"),
        (METHOD.format(name="x", more=', "colour": "red"'), "colour"),
    ],
)
def test_a_declaration_that_cannot_be_read_is_an_error_that_names_the_file(package, source, message):
    (package / "methods" / "broken.py").write_text(source)
    with pytest.raises(ValueError, match=rf"broken\.py.*{message}"):
        registry.methods()


def test_what_there_is():
    assert {"digits", "breast_cancer", "mv_synthetic"} <= set(registry.datasets())
    assert {"dnn_simple", "dnn_complex", "cnn"} <= set(registry.networks())
    assert {"midrise", "nearest_uniform", "stochastic_normal", "magnitude", "random"} <= set(registry.methods())
    assert "fp32" not in registry.methods()
    stochastic = {name for name, entry in registry.methods().items() if entry.stochastic}
    assert stochastic == {name for name in registry.methods() if name.startswith(("stochastic", "dithered", "random"))}


def test_an_entry_loads_its_object():
    from edgepress.methods.pruning import Pruning

    assert registry.methods()["magnitude"].load() is Pruning


def test_a_typo_gets_a_suggestion():
    assert registry.unknown("method", "midris", registry.methods()) == (
        "there is no method 'midris'; did you mean 'midrise'?"
    )


def test_a_stranger_gets_the_list():
    assert registry.unknown("data set", "zzz", {"digits": 1, "churn": 2}) == (
        "there is no data set 'zzz'; known are churn, digits."
    )
