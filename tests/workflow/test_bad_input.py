"""The end of an invalid run: one sentence, no traceback, and no files."""

import pytest

from edgepress.metrics import from_csv

from .conftest import REPOSITORY, snakemake

TRAINED = "results/tiny/breast_cancer/dnn_simple/seed0/fp32"

# what is wrong: (the config, the end of the sentence)
BAD = {
    "a method misspelt": ("methods: [nearest_unifrom]", "no method 'nearest_unifrom'; did you mean 'nearest_uniform'?"),
    "bits out of range": ("bits: [17]", "'bits[0]' is 17 but must be at most 16"),
    "bits a number": ("bits: 4", "'bits' is 4 but must be a valid list, as [4]"),
    "a setting twice": ("seeds: [0]\nseeds: [1]", "line 2 names 'seeds' a second time; name it once"),
    "a network that does not fit": ("networks: {breast_cancer: [cnn]}", "a table data set; give it another network"),
    "weights that are not there": ("weights: no.safetensors", "that file does not exist; name a safetensors file"),
    "a number in base 8": ("seeds: [010]", "has 010, which YAML reads as 8; write the number you mean"),
}
COMMAND_LINE = {
    "a setting misspelt": ("sed=[1]", "there is no setting 'sed'; did you mean 'seeds'?"),
    "a number for a list": ("seeds=0", "'seeds' is 0 but must be a valid list, as [0]"),
    "a bracket left open": ("seeds=[0", "'seeds' is '[0' but must be a valid list, as […]"),
    "text in a list": ("bits=[4, few]", "'bits[1]' is 'few' but must be a valid integer"),
}


def assert_told(ended, folder, sentence: str) -> None:
    assert ended.returncode != 0
    last = ended.stderr.strip().splitlines()[-1]
    assert last.startswith("Error: ") and last.endswith(sentence)
    assert "Traceback" not in ended.stderr and 'File "' not in ended.stderr
    assert [path.name for path in folder.iterdir() if path.name != ".snakemake"] == []


@pytest.mark.parametrize("wrong", BAD)
def test_a_bad_config_ends_in_one_sentence(tmp_path, wrong):
    text, sentence = BAD[wrong]
    (tmp_path / "bad.yaml").write_text(text + "\n")
    folder = tmp_path / "run"
    folder.mkdir()
    assert_told(snakemake(folder, config=tmp_path / "bad.yaml"), folder, sentence)


@pytest.mark.parametrize("wrong", COMMAND_LINE)
def test_a_bad_setting_of_the_command_line_ends_in_one_sentence(tmp_path, wrong):
    setting, sentence = COMMAND_LINE[wrong]
    ended = snakemake(tmp_path, "--dry-run", "--config", setting)
    assert_told(ended, tmp_path, sentence)
    assert "tiny.yaml + --config: " in ended.stderr


def test_lists_and_names_can_be_set_on_the_command_line(tmp_path):
    settings = ["seeds=[0]", "bits=[4, 2]", "sparsity=[0.5]", "frozen=false", "training={lr: 0.005, max_epochs: 1}"]
    done = snakemake(tmp_path, "results/tiny/metrics.csv", "--config", *settings)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = from_csv(tmp_path / "results/tiny/metrics.csv")
    assert {row["seed"] for row in rows} == {"0"}
    assert {row["level"] for row in rows} == {"w32", "w4", "w2", "s50"}
    assert len((tmp_path / TRAINED / "history.csv").read_text().splitlines()) == 1 + 1


def test_an_override_of_what_the_run_has_not_is_warned_of_once(tmp_path):
    config = tmp_path / "mine.yaml"
    config.write_text((REPOSITORY / "config/tiny.yaml").read_text() + "  churn/dnn_simple: {draws: 3}\n")
    done = snakemake(tmp_path, "data/prepared/breast_cancer_split0.safetensors", config=config)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stderr.count("'overrides' has 'churn/dnn_simple', which this run has not; it changes nothing") == 1


@pytest.mark.parametrize(
    "damaged, job",
    [("data/prepared/breast_cancer_split0.safetensors", "train"), (f"{TRAINED}/model.safetensors", "nearest")],
)
def test_a_flipped_bit_in_what_is_kept_ends_in_one_sentence(tiny_copy, damaged, job):
    folder = tiny_copy
    content = bytearray((folder / damaged).read_bytes())
    content[-1] ^= 1
    (folder / damaged).write_bytes(content)
    target = f"{TRAINED}/metrics.csv" if job == "train" else f"{TRAINED}/../nearest/metrics.csv"
    (folder / target).unlink()
    ended = snakemake(folder, str((folder / target).resolve().relative_to(folder)), "--rerun-triggers", "input")
    assert ended.returncode != 0
    log = (folder / f"logs/tiny/breast_cancer/dnn_simple/seed0/{job}.log").read_text()
    assert log.splitlines()[-1].startswith(f"failed: {damaged} is damaged: its checksum does not match; remove it")
    assert f"{damaged} is damaged" in ended.stderr and "Traceback" not in ended.stderr + log
