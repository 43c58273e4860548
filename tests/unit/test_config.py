from pathlib import Path

import pytest
import yaml

from edgepress import config, config_text
from edgepress.config import RunConfig
from edgepress.config_text import ConfigError
from edgepress.documents import STARTER, documents
from edgepress.jobs import Job

ROOT = Path(__file__).parents[2]


def test_further_mistakes_are_counted():
    with pytest.raises(ConfigError, match=r"2 more errors"):
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


def test_a_method_with_one_level_has_it_alone_and_in_a_chain():
    chains = {"trained_on": {"steps": ["qat_control"]}, "then": {"steps": ["qat_control", "gptq"], "bits": [4, 2]}}
    asked = config.parse({"methods": ["qat_control", "lsq"], "chains": chains, "retraining_bits": [3]})
    jobs = {job.name: job.levels for job in asked.jobs()}
    assert jobs["qat_w32"] == {"qat_control": ["w32"], "trained_on": ["w32"]}
    assert jobs["qat_w3"] == {"lsq": ["w3"]}
    assert asked.levels("then") == ["w4", "w2"]
    assert config.parse({"methods": ["qat_control", "random"], "retraining_bits": []}).levels("qat_control") == []


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
    assert nearest.table == "nearest/metrics.csv" and not nearest.retrains


def test_methods_that_train_again_share_a_job_a_level():
    chains = {"lsq_prune20": {"steps": ["lsq", "magnitude"], "sparsity": [0.2], "bits": [4]}}
    asked = config.parse({"methods": ["lsq", "qat_midrise"], "chains": chains, "retraining_bits": [4, 2]})
    jobs = {job.name: job for job in asked.jobs()}
    assert {name: list(job.levels) for name, job in jobs.items()} == {
        "qat_w4": ["lsq", "qat_midrise"],
        "qat_w2": ["lsq", "qat_midrise"],
        "qat_then_pruning_w4s20": ["lsq_prune20"],
    }
    assert jobs["qat_w2"].table == "qat_w2/metrics.csv" and jobs["qat_w2"].retrains
    assert jobs["qat_w2"].levels == {"lsq": ["w2"], "qat_midrise": ["w2"]}


def test_a_level_alone_is_a_job_of_its_own():
    cheap, again = config.parse({"methods": ["nearest_uniform", "lsq"], "bits": [4]}).jobs()
    assert cheap.alone("nearest_uniform", "w4") == Job("nearest_uniform_w4", {"nearest_uniform": ["w4"]})
    assert again.alone("lsq", "w4") == Job("lsq_w4", {"lsq": ["w4"]}, retrains=True)
    assert cheap.alone("nearest_uniform", "w3") is None and cheap.alone("lsq", "w4") is None


def test_full_precision_is_simulated_beside_the_precisions_asked_for():
    assert config.parse({}).simulated == []
    assert config.parse({"hardware": ["w8a8", "w4a4"]}).simulated == ["w32a32", "w8a8", "w4a4"]
    assert config.parse({"hardware": ["w8a8", "w32a32"]}).simulated == ["w32a32", "w8a8"]
    but_one = config.parse({"hardware": ["w8a8"], "overrides": {"digits/cnn": {"hardware": []}}}).cells()
    assert {place for place, cell in but_one.items() if not cell.simulated} == {("digits", "cnn")}


def test_methods_that_train_again_can_be_left_out():
    asked = config.parse({"methods": ["lsq", "midrise"], "retraining_bits": []})
    assert [job.levels.keys() for job in asked.jobs()] == [{"midrise"}]
    assert config.parse({"methods": ["lsq"], "bits": [7]}).levels("lsq") == ["w7"]


def test_a_method_can_be_swept_over_bits_and_sparsity_together():
    asked = config.parse({"methods": ["admm"], "retraining_bits": [4, 2], "retraining_sparsity": [0.5, 0.9]})
    assert asked.levels("admm") == ["w4s50", "w4s90", "w2s50", "w2s90"]
    assert [job.name for job in asked.jobs()] == ["admm_w4s50", "admm_w4s90", "admm_w2s50", "admm_w2s90"]
    assert asked.offers == {"admm"}


def test_methods_that_train_again_have_shares_of_their_own():
    asked = {"methods": ["magnitude", "magnitude_finetuned"], "sparsity": [0.5, 0.8]}
    assert config.parse(asked).levels("magnitude_finetuned") == ["s50", "s80"]
    fewer = config.parse(asked | {"retraining_sparsity": [0.8]})
    assert (fewer.levels("magnitude"), fewer.levels("magnitude_finetuned")) == (["s50", "s80"], ["s80"])
    assert [job.name for job in config.parse(asked | {"retraining_sparsity": []}).jobs()] == ["pruning"]


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


# ---- the text of a config ---------------------------------------------------------------------------------------


def test_a_missing_file_is_told(tmp_path):
    for path in (tmp_path / "absent.yaml", tmp_path):
        with pytest.raises(ConfigError, match=r"cannot be read as YAML.*mend the file, or name another") as caught:
            config_text.check_keys(path)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("text", ["", "# nothing\n", "run: a\ntraining: {lr: 0.1}\nnetworks: {digits: [cnn]}\n"])
def test_sound_yaml_passes(tmp_path, text):
    (tmp_path / "mine.yaml").write_text(text)
    config_text.check_keys(tmp_path / "mine.yaml")


@pytest.mark.parametrize(
    "given, meant",
    [
        (["0", "1"], [0, 1]),  # seeds=[0, 1]
        ({"lr": "0.1", "augment": "crop"}, {"lr": 0.1, "augment": "crop"}),  # training={lr: 0.1, augment: crop}
        ({"digits": ["cnn"]}, {"digits": ["cnn"]}),
        ("true", True),
        ("null", None),
        ("None", None),  # what is empty, in a job
        ("mine", "mine"),
        ("[0, 1", "[0, 1"),  # left as it is, to be told
        (3, 3),
        (None, None),
    ],
)
def test_what_snakemake_leaves_as_text_gets_its_type(given, meant):
    assert config_text.typed(given) == meant


def test_long_values_are_not_told_in_full():
    with pytest.raises(ConfigError) as caught:
        config.parse({"run": "a" * 10_000, "seeds": {"x": list(range(10_000))}})
    assert len(str(caught.value)) < 300


def test_overrides_of_what_the_run_has_not_are_known():
    names = ["digits", "churn", "digits/cnn", "digits/dnn_simple", "churn/dnn_simple"]
    asked = config.parse({"networks": {"digits": ["cnn"]}, "overrides": {name: {"draws": 2} for name in names}})
    assert asked.idle_overrides == ["churn", "digits/dnn_simple", "churn/dnn_simple"]


def test_frozen_needs_weights_where_it_holds():
    weights = {"weights": "mine.safetensors"}
    assert config.parse({"frozen": True, **weights}).frozen
    assert config.parse({"frozen": True, "overrides": {name: weights for name in RunConfig().networks}}).frozen
    with pytest.raises(ConfigError, match="true for breast_cancer/dnn_simple, but 'weights' names no file"):
        config.parse({"frozen": True, "overrides": {"digits": weights}})


def test_paths_are_looked_for(tmp_path):
    there = tmp_path / "mine.safetensors"
    there.touch()
    config.check_paths(config.parse({"weights": str(there)}))
    config.check_paths(config.parse({"replication": {"weights": str(tmp_path)}}))


# ---- documents that follow from the model -----------------------------------------------------------------------


@pytest.mark.parametrize("path", documents(ROOT), ids=lambda path: str(path.relative_to(ROOT)))
def test_documents_have_not_drifted(path):
    expected = documents(ROOT)[path]
    assert path.read_text(encoding="utf-8") == expected, "run `python -m edgepress.documents`"


def test_the_starter_config_is_the_default_and_what_it_adds():
    path = ROOT / "config" / "config.yaml"
    config_text.check_keys(path)
    assert config.parse(yaml.safe_load(path.read_text(encoding="utf-8"))) == RunConfig.model_validate(STARTER)


def test_the_config_of_gains_adds_every_cost_to_the_starter_run():
    starter, gains = (yaml.safe_load((ROOT / f"config/{name}.yaml").read_text()) for name in ("config", "gains"))
    chains = starter["overrides"]["digits/cnn"]["chains"] | gains["overrides"]["digits/cnn"]["chains"]
    both = starter | gains | {"overrides": starter["overrides"] | {"digits/cnn": {"chains": chains}}}
    offers = config.parse(both).cell("digits", "cnn").offers
    assert {"latency", "hardware", "mixed", "qat"} <= offers
    assert config.parse(both).energy is not None


def test_a_part_of_retraining_leaves_its_other_defaults():
    for part, expected in (({}, (0.002, 10)), ({"max_epochs": 1}, (0.002, 1)), ({"lr": 0.1}, (0.1, 10))):
        found = config.parse({"retraining": part}).retraining
        assert (found.lr, found.max_epochs) == expected


def test_an_override_changes_what_it_names_and_leaves_the_rest_of_the_run():
    run = {"lr": 0.01, "max_epochs": 3, "batch_size": 7}
    for part in ("training", "retraining"):
        overrides = {"digits": {part: {"patience": 2}}, "digits/cnn": {part: {"max_epochs": 1}}}
        asked = config.parse({part: run, "overrides": overrides})
        found = getattr(asked.cell("digits", "cnn"), part)
        assert (found.lr, found.batch_size, found.max_epochs, found.patience) == (0.01, 7, 1, 2)
        found = getattr(asked.cell("digits", "dnn_simple"), part)
        assert (found.lr, found.batch_size, found.max_epochs, found.patience) == (0.01, 7, 3, 2)
        assert getattr(asked.cell("breast_cancer", "dnn_simple"), part).patience == 10


def test_a_training_that_one_place_leaves_out_is_that_of_the_run_where_another_has_it():
    asked = config.parse({
        "training": {"lr": 0.1},
        "overrides": {
            "digits": {"training": None, "weights": "of_the_user.safetensors"},
            "digits/cnn": {"training": {"max_epochs": 2}},
        },
    })  # fmt: skip
    assert asked.cell("digits", "dnn_simple").training is None
    assert (asked.cell("digits", "cnn").training.lr, asked.cell("digits", "cnn").training.max_epochs) == (0.1, 2)


def test_methods_without_a_level_offer_nothing():
    asked = config.parse({"methods": ["nearest_uniform", "lsq"], "retraining_bits": []}).cell("digits", "cnn")
    assert asked.offers == {"bits", "nearest"}


def test_a_level_has_one_way_to_be_written():
    with pytest.raises(ConfigError, match="'w08a8' is written w8a8"):
        config.parse({"latency": ["w08a8"]})
