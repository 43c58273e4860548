"""A method is its settings: names are printed from them, configs name products, tables and files have them."""

import pytest
import torch

from edgepress import config, metrics, registry
from edgepress.config import ConfigError
from edgepress.levels import Level
from edgepress.packing import Compressed
from edgepress.spec import AFTER_TRAINING, COLUMNS, TRAINED, Spec
from edgepress.sweep import Bench, Trained, identify

PLAIN = Spec("uniform", "nearest", "tensor", AFTER_TRAINING)
NAMES = {
    "nearest_uniform": PLAIN,
    "stochastic_normal_channel": Spec("normal", "stochastic", "channel", AFTER_TRAINING),
    "qat_stochastic_uniform_iqr": Spec("uniform_iqr", "stochastic", "tensor", TRAINED),
    "midrise": Spec("midrise", "nearest", "tensor", AFTER_TRAINING),
    "dithered_uniform": Spec("uniform", "dithered", "tensor", AFTER_TRAINING),
    "gptq_compact": Spec("symmetric", "gptq", "channel", AFTER_TRAINING, "compact=True"),
    "lsq_channel": Spec("symmetric", "nearest", "channel", TRAINED, "scale=learned"),
    "obs_2_4": Spec(when=AFTER_TRAINING, options="pattern=2:4 score=obs"),
    "channels_l1_finetuned": Spec(when=TRAINED, options="pruning=channels_l1"),
}


def test_every_name_stands_for_a_spec_and_is_printed_from_it():
    entries = registry.built_in("methods")
    assert {name: registry.named(entry.spec) for name, entry in entries.items()} == {name: name for name in entries}
    assert len({entry.spec for entry in entries.values()}) == len(entries) >= 68
    assert {name: entries[name].spec for name in NAMES} == NAMES
    assert registry.named(Spec("uniform", "gptq", "tensor")) is None


def test_a_spec_goes_with_or_without_training():
    assert registry.methods()["qat_nearest_uniform"].spec.after_training == PLAIN
    assert Spec(options="a=1 pattern=2:4").option("pattern") == "2:4" and Spec().option("pattern") is None
    assert PLAIN.rounds and not NAMES["gptq_compact"].rounds and not NAMES["lsq_channel"].rounds


def test_rows_have_the_settings_of_the_main_step_and_whether_any_trains():
    told = {
        ("nearest_uniform", "magnitude"): PLAIN,
        ("magnitude", "stochastic_normal_channel"): NAMES["stochastic_normal_channel"],
        ("magnitude_finetuned", "nearest_uniform"): Spec("uniform", "nearest", "tensor", TRAINED),
        ("activations_mse",): Spec(when=AFTER_TRAINING, options="ranges=mse"),
        ("of_another_machine",): Spec(),
        (): Spec(),
    }
    assert {steps: registry.spec(steps) for steps in told} == told
    row = identify("mine", "f", Level(bits=4), ["magnitude", "midrise"])
    assert [row[name] for name in COLUMNS] == ["midrise", "nearest", "tensor", AFTER_TRAINING, ""]
    assert not set(COLUMNS) & set(identify("onnxruntime", registry.PEER, Level(bits=8)))
    assert tuple(metrics.COLUMNS)[-len(COLUMNS) :] == COLUMNS


def methods_of(*items):
    return config.parse({"methods": list(items)}).methods


def test_a_config_names_products_families_and_methods():
    product = {"codebook": ["uniform", "normal"], "rounding": ["nearest", "stochastic"], "granularity": "channel"}
    named = [f"{rounding}_{codebook}_channel" for codebook in product["codebook"] for rounding in product["rounding"]]
    assert methods_of(product) == named
    assert methods_of("magnitude", product, "dithered_uniform") == ["magnitude", *named, "dithered_uniform"]
    assert methods_of({"codebook": "kde"}, "random") == ["nearest_kde", "random"]
    assert methods_of({"codebook": "uniform", "when": [AFTER_TRAINING, TRAINED]}) == [
        "nearest_uniform", "qat_nearest_uniform"
    ]  # fmt: skip
    assert methods_of(
        {"codebook": "symmetric", "rounding": "gptq", "options": "compact=True", "granularity": "channel"}
    )
    assert methods_of("qat_activations", "stochastic", "stochastic_kde") == [
        "lsq_activations", "dithered_uniform",
        *(f"stochastic_{codebook}" for codebook in ("uniform", "uniform_iqr", "histogram", "normal")), "stochastic_kde"
    ]  # fmt: skip
    assert methods_of({"codebook": "uniform"}, "nearest_uniform") == ["nearest_uniform"]
    overrides = {"digits/cnn": {"methods": [{"codebook": "normal"}]}}
    assert config.parse({"overrides": overrides}).cell("digits", "cnn").methods == ["nearest_normal"]


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ({"codebook": "lloyd_max", "rounding": ["nearest", "stochastic"]},
         "no method with codebook lloyd_max, rounding stochastic, granularity tensor, after training; take it "),
        ({"codebok": "uniform"}, "did you mean 'codebook'?"),
        ({"codebook": "unifrm"}, "no codebook 'unifrm'; did you mean 'uniform'?"),
        ({"codebook": "uniform", "when": "trainde"}, "no when 'trainde'; did you mean 'trained'?"),
        ({"rounding": "nearest"}, "needs a codebook"),
        ({}, "needs a codebook"),
        ({"codebook": None}, "needs a codebook"),
        ({"codebook": []}, "has no codebook; name at least one"),
        ({"codebook": 3}, "no codebook '3'; known are histogram"),
        ({"codebook": [["uniform"]]}, "no codebook \"['uniform']\""),
        ({1: "uniform"}, "no setting of a method '1'"),
        ("nearst_uniform", "no method 'nearst_uniform'; did you mean 'nearest_uniform'?"),
        (["nearest_uniform"], "must be a valid string"),
        ("huffman", "put it in one of the 'chains'"),
    ],
)  # fmt: skip
def test_a_combination_that_does_not_exist_is_one_sentence(item, said):
    with pytest.raises(ConfigError) as caught:
        methods_of(item)
    assert "'methods" in str(caught.value) and said in str(caught.value) and "\n" not in str(caught.value)


MINE = """
from dataclasses import dataclass
from edgepress.methods.rounding import Rounding

METHODS = {
    "mine_{rounding}_{codebook}": {
        "object": "Mine", "about": "{rounding} of {codebook}", "family": "mine", "sweep": "bits",
        "rounding": {"nearest": "the nearest", "stochastic": "a neighbour"}, "codebook": ["uniform", "normal"],
        "options": {"by": "me"}, "args": {"sizes": [1, 2]},
    },
    "as_before": {
        "object": "Rounding", "about": "its codebook in args", "family": "mine", "sweep": "bits", "stochastic": True,
        "args": {"codebook": "normal", "rounding": "stochastic"},
    },
}


@dataclass(frozen=True)
class Mine(Rounding):
    sizes: object = None
"""


@pytest.fixture
def mine(tmp_path):
    (tmp_path / "mine.py").write_text(MINE, encoding="utf-8")
    yield {"plugins": [str(tmp_path / "mine.py")]}
    registry.set_own({})


def test_a_method_of_ones_own_is_one_file_and_its_settings_are_told(mine, classes):
    product = {"codebook": "normal", "rounding": ["nearest", "stochastic"], "options": "by=me sizes=[1,2]"}
    asked = config.parse({**mine, "methods": ["as_before", product]})
    assert asked.methods == ["as_before", "mine_nearest_normal", "mine_stochastic_normal"]
    entry = registry.methods()["mine_stochastic_normal"]
    assert entry.stochastic and (entry.about, entry.family) == ("a neighbour of normal", "mine")
    registry.set_own(registry.own())  # as a job gets it
    assert registry.methods()["mine_stochastic_normal"] == entry

    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(classes.inputs["train"][0].numel(), 3))
    bench = Bench(Trained("net", 0, network, classes), ["val"], torch.device("cpu"))
    for method in asked.methods:
        (result,) = bench.sweep(method, ["w3"], draws=1)
        spec = registry.methods()[method].spec
        assert spec.codebook == "normal" and {Spec(*(row[name] for name in COLUMNS)) for row in result.rows} == {spec}
        stored = Compressed.from_bytes(result.packed)
        assert stored.steps == (method,) and stored.spec == spec


@pytest.mark.parametrize(
    "declared, said",
    [
        ('"{rounding}_x": {"object": "X", "about": "x", "family": "f", "sweep": "bits"}', "it declares no rounding"),
        ('"{": {"object": "X", "about": "x", "family": "f", "sweep": "bits"}', "{"),
        ('"a": {"object": "X", "about": "", "family": "f", "sweep": "bits"}, "{rounding}": {"object": "X", "about": "",'
         ' "family": "f", "sweep": "bits", "rounding": ["a"]}', "'a' is declared twice"),
        ('"{codebook}": {"object": "X", "about": "{b}", "family": "f", "sweep": "bits", "codebook": ["a"]}', "b"),
        ('"a": 3', "a"),
    ],
)  # fmt: skip
def test_a_product_that_cannot_be_read_is_one_sentence_that_names_the_file(tmp_path, declared, said):
    (tmp_path / "mine.py").write_text(f"METHODS = {{{declared}}}", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"mine\.py") as caught:
        config.parse({"plugins": [str(tmp_path / "mine.py")]})
    assert said in str(caught.value) and "\n" not in str(caught.value)
