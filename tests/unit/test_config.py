import math
from pathlib import Path

import pytest
import yaml

from edgepress import config
from edgepress.config import ConfigError, RunConfig
from edgepress.documents import documents

ROOT = Path(__file__).parents[2]
INTEGER, NUMBER, LIST = "valid integer", "valid number", "valid list"

# What is wrong, and what the message must say.
WRONG = [
    ({"run": "a/b"}, ["'run'", "a/b"]),
    ({"run": "../elsewhere"}, ["'run'", "../elsewhere"]),
    ({"run": "/tmp"}, ["'run'", "/tmp"]),
    ({"run": ".hidden"}, ["'run'", ".hidden"]),
    ({"run": "-x"}, ["'run'", "-x"]),
    ({"run": ""}, ["'run'", "''"]),
    ({"run": "two words"}, ["'run'", "two words"]),
    ({"run": "two\nlines"}, ["'run'", "two\\nlines"]),
    ({"run": "starter\n"}, ["'run'", "starter\\n"]),
    ({"run": "größe"}, ["'run'", "größe"]),
    ({"run": None}, ["'run'", "None"]),
    ({"run": 3}, ["'run'", "3"]),
    ({"run": True}, ["'run'", "True"]),
    ({"run": ["a"]}, ["'run'", "['a']"]),
    ({"device": "gpu"}, ["'device'", "gpu", "'cuda'"]),
    ({"device": "cuda:1"}, ["'device'", "cuda:1"]),
    ({"device": None}, ["'device'", "None"]),
    ({"threads": 0}, ["'threads'", "0", "at least 1"]),
    ({"threads": -4}, ["'threads'", "-4", "at least 1"]),
    ({"threads": "2"}, ["'threads'", "'2'", INTEGER]),
    ({"threads": 2.0}, ["'threads'", "2.0", INTEGER]),
    ({"threads": True}, ["'threads'", "True", INTEGER]),
    ({"threads": None}, ["'threads'", "None", INTEGER]),
    ({"split_seed": -1}, ["'split_seed'", "-1", "at least 0"]),
    ({"split_seed": 2**31}, ["'split_seed'", str(2**31), "less than"]),
    ({"split_seed": False}, ["'split_seed'", "False", INTEGER]),
    ({"seeds": []}, ["'seeds'", "empty"]),
    ({"seeds": 3}, ["'seeds'", "3", LIST]),
    ({"seeds": "012"}, ["'seeds'", "012", LIST]),
    ({"seeds": None}, ["'seeds'", "None", LIST]),
    ({"seeds": {0: 1}}, ["'seeds'", LIST]),
    ({"seeds": [0, 1, 0]}, ["'seeds'", "0 more than once"]),
    ({"seeds": [0, -1]}, ["'seeds[1]'", "-1", "at least 0"]),
    ({"seeds": [1.0]}, ["'seeds[0]'", "1.0", INTEGER]),
    ({"seeds": [True]}, ["'seeds[0]'", "True", INTEGER]),
    ({"seeds": [[0]]}, ["'seeds[0]'", "[0]", INTEGER]),
    ({"hardware": "w8a8"}, ["'hardware'", "w8a8", LIST]),
    ({"hardware": ["w8"]}, ["'hardware[0]'", "'w8' is no precision", "w4a8"]),
    ({"hardware": ["w8a8", "w17a8"]}, ["'hardware[1]'", "w17a8", "1–16 or 32"]),
    ({"hardware": ["w4a8s50"]}, ["'hardware[0]'", "w4a8s50"]),
    ({"hardware": ["w8a8", "w8a8"]}, ["'hardware'", "'w8a8' more than once"]),
    ({"overrides": {"digits": {"hardware": ["a8"]}}}, ["'overrides.digits.hardware[0]'", "'a8'"]),
    ({"energy": "DEU"}, ["'energy'", "DEU"]),
    ({"energy": {}}, ["'energy.country'", "required"]),
    ({"energy": {"country": "Germany"}}, ["'energy.country'", "Germany"]),
    ({"energy": {"country": "DEU", "contry": "DEU"}}, ["setting 'contry'", "did you mean 'country'?"]),
    ({"networks": {}}, ["'networks'", "empty"]),
    ({"networks": None}, ["'networks'", "None"]),
    ({"networks": ["cnn"]}, ["'networks'", "['cnn']"]),
    ({"networks": {"digit": ["cnn"]}}, ["data set 'digit'", "did you mean 'digits'?"]),
    ({"networks": {"imagenet_22k": ["cnn"]}}, ["data set 'imagenet_22k'", "known are", "digits"]),
    ({"networks": {"digits": []}}, ["'networks.digits'", "empty"]),
    ({"networks": {"digits": "cnn"}}, ["'networks.digits'", "'cnn'", LIST]),
    ({"networks": {"digits": None}}, ["'networks.digits'", "None", LIST]),
    ({"networks": {"digits": ["cn"]}}, ["network 'cn'", "did you mean 'cnn'?"]),
    ({"networks": {"digits": ["dnn_simpel"]}}, ["network 'dnn_simpel'", "did you mean 'dnn_simple'?"]),
    ({"networks": {"digits": ["cnn", "cnn"]}}, ["'networks.digits'", "'cnn' more than once"]),
    ({"networks": {"digits": [1]}}, ["'networks.digits[0]'", "1", "valid string"]),
    ({"networks": {1: ["cnn"]}}, ["networks", "1", "valid string"]),
    ({"networks": {"breast_cancer": ["cnn"]}}, ["'cnn' takes image inputs", "'breast_cancer' is a table"]),
    ({"networks": {"mv_synthetic": ["dnn_simple", "cnn"]}}, ["'cnn' takes image inputs", "'mv_synthetic'"]),
    ({"methods": []}, ["'methods'", "empty"]),
    ({"methods": None}, ["'methods'", "None", LIST]),
    ({"methods": "midrise"}, ["'methods'", "'midrise'", LIST]),
    ({"methods": ["midris"]}, ["method 'midris'", "did you mean 'midrise'?"]),
    ({"methods": ["stochastic-normal"]}, ["method 'stochastic-normal'", "did you mean 'stochastic_normal'?"]),
    ({"methods": ["fp32"]}, ["method 'fp32'", "known are"]),
    ({"methods": ["random", "midrise", "random"]}, ["'methods'", "'random' more than once"]),
    ({"methods": [4]}, ["'methods[0]'", "4", "valid string"]),
    ({"methods": ["midrise", None]}, ["'methods[1]'", "None", "valid string"]),
    ({"bits": []}, ["'bits'", "empty"]),
    ({"bits": 4}, ["'bits'", "4", LIST]),
    ({"bits": [8, 0]}, ["'bits[1]'", "0", "at least 1"]),
    ({"bits": [17]}, ["'bits[0]'", "17", "at most 16"]),
    ({"bits": [32]}, ["'bits[0]'", "32", "at most 16"]),
    ({"bits": [-4]}, ["'bits[0]'", "-4", "at least 1"]),
    ({"bits": ["4"]}, ["'bits[0]'", "'4'", INTEGER]),
    ({"bits": [4.0]}, ["'bits[0]'", "4.0", INTEGER]),
    ({"bits": [True]}, ["'bits[0]'", "True", INTEGER]),
    ({"bits": [None]}, ["'bits[0]'", "None", INTEGER]),
    ({"bits": [4, 8, 4]}, ["'bits'", "4 more than once"]),
    ({"sparsity": []}, ["'sparsity'", "empty"]),
    ({"sparsity": 0.5}, ["'sparsity'", "0.5", LIST]),
    ({"sparsity": [1.0]}, ["'sparsity[0]'", "1.0", "less than 1"]),
    ({"sparsity": [0.5, 50]}, ["'sparsity[1]'", "50", "less than 1"]),
    ({"sparsity": [-0.1]}, ["'sparsity[0]'", "-0.1", "at least 0"]),
    ({"sparsity": ["50%"]}, ["'sparsity[0]'", "50%", NUMBER]),
    ({"sparsity": [True]}, ["'sparsity[0]'", "True", NUMBER]),
    ({"sparsity": [None]}, ["'sparsity[0]'", "None", NUMBER]),
    ({"sparsity": [math.nan]}, ["'sparsity[0]'", "nan", "finite"]),
    ({"sparsity": [math.inf]}, ["'sparsity[0]'", "inf"]),
    ({"sparsity": [0, 0.0]}, ["'sparsity'", "0.0 more than once"]),
    ({"draws": 0}, ["'draws'", "0", "at least 1"]),
    ({"draws": 2.5}, ["'draws'", "2.5", INTEGER]),
    ({"draws": "5"}, ["'draws'", "'5'", INTEGER]),
    ({"training": None}, ["'training'", "None"]),
    ({"training": "fast"}, ["'training'", "'fast'"]),
    ({"training": {"lr": 0}}, ["'training.lr'", "0", "more than 0"]),
    ({"training": {"lr": -0.1}}, ["'training.lr'", "-0.1", "more than 0"]),
    ({"training": {"lr": 3}}, ["'training.lr'", "3", "at most 1"]),
    ({"training": {"lr": "1e-3"}}, ["'training.lr'", "'1e-3'", NUMBER]),
    ({"training": {"lr": True}}, ["'training.lr'", "True", NUMBER]),
    ({"training": {"lr": math.nan}}, ["'training.lr'", "nan"]),
    ({"training": {"batch_size": 0}}, ["'training.batch_size'", "0", "at least 1"]),
    ({"training": {"batch_size": 1.5}}, ["'training.batch_size'", "1.5", INTEGER]),
    ({"training": {"max_epochs": 0}}, ["'training.max_epochs'", "0", "at least 1"]),
    ({"training": {"patience": 0}}, ["'training.patience'", "0", "at least 1"]),
    ({"training": {"epochs": 3}}, ["setting 'epochs'", "did you mean 'max_epochs'?"]),
    ({"training": {"warmup": 3}}, ["setting 'warmup'", "known are", "batch_size"]),
    ({"bit": [4]}, ["setting 'bit'", "did you mean 'bits'?"]),
    ({"sparcity": [0.5]}, ["setting 'sparcity'", "did you mean 'sparsity'?"]),
    ({"xyzzy": 1}, ["setting 'xyzzy'", "known are", "training"]),
    ({"lr": 0.1}, ["setting 'lr'", "known are"]),
    ({1: 2}, ["1", "strings"]),
    ({None: 2}, ["None", "strings"]),
    ({"overrides": {"digit": {}}}, ["overrides", "no data set 'digit'", "'digits'"]),
    ({"overrides": {"digits/cnnn": {}}}, ["overrides", "no network 'cnnn'", "'cnn'"]),
    ({"overrides": {"digits": {"drawn": 3}}}, ["no setting 'drawn'", "'draws'"]),
    ({"overrides": {"digits": {"run": "mine"}}}, ["no setting 'run'"]),
    ({"overrides": {"digits": {"training": {"lrr": 3}}}}, ["no setting 'lrr'", "'lr'"]),
    ({"overrides": {"digits": {"methods": ["midris"]}}}, ["overrides.digits.methods", "'midrise'"]),
    ({"overrides": {"digits": {"draws": 0}}}, ["overrides.digits.draws", "at least 1"]),
    ({"splits": ["validation"]}, ["splits", "validation"]),
    ({"retraining": {"lr": 0}}, ["retraining.lr", "more than 0"]),
    ({"retraining_bits": [17]}, ["retraining_bits[0]", "at most 16"]),
    ({"chains": {"mine": {"steps": ["magnitude", "lsq"]}}}, ["'lsq' trains the network again", "first step of 'mine'"]),
    # Names that break a line must not break the sentence.
    ({"two\nlines": 1}, ["two", "lines"]),
    ({"methods": ["two\nlines"]}, ["two", "lines"]),
    ({"networks": {"two\nlines": ["cnn"]}}, ["two", "lines"]),
    ({"networks": {"digits": ["two\nlines"]}}, ["two", "lines"]),
]


@pytest.mark.parametrize("raw, words", WRONG, ids=[str(raw) for raw, _ in WRONG])
def test_what_is_wrong_is_told_in_one_line(raw, words):
    with pytest.raises(ConfigError) as caught:
        config.parse(raw, "config/mine.yaml")
    message = str(caught.value)
    assert message.startswith("config/mine.yaml: ")
    assert len(message.splitlines()) == 1
    assert [word for word in words if word not in message] == []


def test_further_mistakes_are_counted():
    with pytest.raises(ConfigError, match=r"2 more to mend"):
        config.parse({"draws": 0, "threads": 0, "bits": [99]})


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"run": "A-1_b"},
        {"bits": [1, 16]},
        {"sparsity": [0, 0.999999]},
        {"methods": ["random"]},
        {"networks": {"digits": ["cnn"], "breast_cancer": ["dnn_complex"]}},
        {"training": {"lr": 1}},
        {"seeds": [2**31 - 1], "draws": 1, "threads": 64, "device": "cpu"},
    ],
)
def test_what_is_right_overrides_the_default(raw):
    parsed = config.parse(raw).model_dump()
    default = RunConfig().model_dump()
    for key, value in default.items():
        asked = raw.get(key, value)
        assert parsed[key] == (value | asked if key == "training" else asked)


def test_levels_follow_what_the_method_sweeps():
    asked = config.parse({"bits": [8, 3], "sparsity": [0.5, 0.975]})
    assert asked.levels("stochastic_normal") == ["w8", "w3"]
    assert asked.levels("magnitude_global") == ["s50", "s97.5"]


def test_the_methods_of_a_family_share_a_job():
    asked = config.parse({"methods": ["random", "nearest_normal", "magnitude", "nearest_uniform"], "bits": [4, 2]})
    pruning, nearest = asked.jobs()
    assert (pruning.name, list(pruning.levels)) == ("pruning", ["random", "magnitude"])
    assert (nearest.name, nearest.levels) == (
        "nearest",
        {m: ["w4", "w2"] for m in ("nearest_normal", "nearest_uniform")},
    )
    assert nearest.tables["nearest_uniform"] == "nearest_uniform/metrics.csv"
    assert nearest.packed[:2] == ["nearest_normal/w4.safetensors", "nearest_normal/w2.safetensors"]


def test_methods_that_train_again_share_a_job_a_level():
    chains = {"lsq_prune20": {"steps": ["lsq", "magnitude"], "sparsity": [0.2], "bits": [4]}}
    asked = config.parse({"methods": ["lsq", "qat_midrise"], "chains": chains, "retraining_bits": [4, 2]})
    jobs = {job.name: job for job in asked.jobs()}
    assert {name: list(job.levels) for name, job in jobs.items()} == {
        "qat_w4": ["lsq", "qat_midrise"],
        "qat_w2": ["lsq", "qat_midrise"],
        "qat_then_pruning_w4s20": ["lsq_prune20"],
    }
    assert jobs["qat_w2"].tables["lsq"] == "lsq/metrics_w2.csv"
    assert jobs["qat_w2"].packed == ["lsq/w2.safetensors", "qat_midrise/w2.safetensors"]


def test_full_precision_is_simulated_beside_the_precisions_asked_for():
    assert config.parse({}).simulated == []
    assert config.parse({"hardware": ["w8a8", "w4a4"]}).simulated == ["w32a32", "w8a8", "w4a4"]
    assert config.parse({"hardware": ["w8a8", "w32a32"]}).simulated == ["w32a32", "w8a8"]
    but_one = config.parse({"hardware": ["w8a8"], "overrides": {"digits/cnn": {"hardware": []}}}).cells()
    assert {place for place, cell in but_one.items() if not cell.simulated} == {("digits", "cnn")}


def test_energy_is_that_of_jobs_that_train_again():
    asked = config.parse({"methods": ["nearest_uniform", "lsq", "qat_midrise"], "bits": [4]})
    tables = {job.name: job.energy for job in asked.jobs()}
    assert tables == {"nearest": [], "qat_w4": ["lsq/energy_w4.csv", "qat_midrise/energy_w4.csv"]}


def test_methods_that_train_again_can_be_left_out():
    assert [job.name for job in config.parse({"methods": ["lsq", "midrise"], "retraining_bits": []}).jobs()] == [
        "midrise"
    ]
    assert config.parse({"methods": ["lsq"], "bits": [7]}).levels("lsq") == ["w7"]


def test_overrides_are_those_of_the_data_set_and_then_of_the_network():
    asked = config.parse(
        {
            "networks": {"digits": ["cnn", "dnn_simple"], "breast_cancer": ["dnn_simple"]},
            "training": {"lr": 0.1, "batch_size": 7},
            "overrides": {
                "digits": {"draws": 2, "seeds": [5], "training": {"lr": 0.2}},
                "digits/cnn": {"seeds": [6, 7], "training": {"max_epochs": 3}},
            },
        }
    )
    cells = asked.cells()
    assert {place: cell.seeds for place, cell in cells.items()} == {
        ("digits", "cnn"): [6, 7],
        ("digits", "dnn_simple"): [5],
        ("breast_cancer", "dnn_simple"): [0, 1, 2],
    }
    assert [cell.draws for cell in cells.values()] == [2, 2, 5]
    assert [cell.training.lr for cell in cells.values()] == [0.2, 0.2, 0.1]
    assert [cell.training.batch_size for cell in cells.values()] == [7, 7, 7]
    assert [cell.training.max_epochs for cell in cells.values()] == [3, 40, 40]


# ---- YAML -------------------------------------------------------------------------------------------------------


def check(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    config.check_keys(path)


@pytest.mark.parametrize(
    "text, words",
    [
        ("run: a\nbits: [4]\nrun: b\n", ["line 3", "'run'", "second time"]),
        ("training:\n  lr: 0.1\n  lr: 0.2\n", ["line 3", "'lr'", "second time"]),
        ("networks: {digits: [cnn], digits: [dnn_simple]}", ["line 1", "'digits'", "second time"]),
        ("x: [{a: 1, b: [{c: 1, c: 2}]}]", ["'c'", "second time"]),
        ("bits: [4", ["cannot be read as YAML"]),
        ("run: a\n\tbits: [4]\n", ["cannot be read as YAML"]),
        ("run: 'a\n", ["cannot be read as YAML"]),
        ("run: *nowhere\n", ["cannot be read as YAML", "nowhere"]),
        ("run: a\n---\nrun: b\n", ["cannot be read as YAML"]),
        ("run: \x00\n", ["cannot be read as YAML"]),
        (b"run: \xff\xfe\n", ["cannot be read as YAML"]),
        ("? [a, b]\n: 1\n", ["mine.yaml"]),
        ("{{a: 1}: 2}\n", ["mine.yaml"]),
        ("a: &a {b: *a}\n", ["mine.yaml"]),
    ],
)
def test_yaml_mistakes_are_told_in_one_line(tmp_path, text, words):
    with pytest.raises(ConfigError) as caught:
        check(tmp_path, text)
    message = str(caught.value)
    assert "mine.yaml" in message and len(message.splitlines()) == 1
    assert [word for word in words if word not in message] == []


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.yaml"):
        config.check_keys(tmp_path / "absent.yaml")


@pytest.mark.parametrize("text", ["", "# nothing\n", "run: a\ntraining: {lr: 0.1}\nnetworks: {digits: [cnn]}\n"])
def test_sound_yaml_passes(tmp_path, text):
    check(tmp_path, text)


# ---- documents that follow from the model -----------------------------------------------------------------------


@pytest.mark.parametrize("path", documents(ROOT), ids=lambda path: str(path.relative_to(ROOT)))
def test_documents_have_not_drifted(path):
    expected = documents(ROOT)[path]
    assert path.read_text(encoding="utf-8") == expected, "run `python -m edgepress.documents`"


def test_the_starter_config_is_the_default():
    path = ROOT / "config" / "config.yaml"
    config.check_keys(path)
    assert config.parse(yaml.safe_load(path.read_text(encoding="utf-8"))) == RunConfig()
