"""The contract of every registered data set."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from edgepress import datasets, registry, sources
from edgepress.datasets import SPLITS, Prepared

MIRROR = Path(os.environ.get("EDGEPRESS_MIRROR", Path(__file__).parents[3] / "shared" / "datasets"))
OFFICIAL_TEST = {"fashion_mnist", "cifar100"}


@pytest.fixture(scope="module")
def raw(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("raw")


@pytest.fixture(scope="module", params=sorted(registry.datasets()))
def prepared(request, raw) -> Prepared:
    name = request.param
    for file, source in sources.load().get(name, {}).items():
        try:
            sources.fetch(replace(source, urls=()), raw / name / file, [MIRROR])
        except sources.FetchError:
            pytest.skip(f"no {source.mirror} on this machine; EDGEPRESS_MIRROR names the folder it is in")
    return datasets.prepare(name, 0, raw)


def test_declares_what_it_is(prepared):
    entry = registry.datasets()[prepared.name]
    assert entry.about
    assert prepared.task == entry.task
    assert len(prepared.input_shape) == {"table": 1, "image": 3}[entry.input]


def test_splits_are_60_20_20_or_official(prepared):
    counts = [len(prepared.inputs[split]) for split in SPLITS]
    if prepared.name in OFFICIAL_TEST:
        train, val, test = counts
        assert test == 10_000 and val * 9 == train
    else:
        tolerance = 1 if prepared.name != "california" else 0.005 * sum(counts)  # which drops rows after the split
        for count, share in zip(counts, (0.6, 0.2, 0.2), strict=True):
            assert abs(count - share * sum(counts)) <= tolerance


def test_tensors_are_of_the_contract(prepared):
    for split in SPLITS:
        inputs, targets = prepared.inputs[split], prepared.targets[split]
        assert inputs.dtype == torch.float32
        assert inputs.isfinite().all()
        assert targets.shape == (len(inputs),)
        if prepared.task == "classification":
            assert targets.dtype == torch.int64
            assert targets.min() >= 0 and targets.max() < prepared.outputs
        else:
            assert targets.dtype == torch.float32
            assert targets.isfinite().all() and prepared.outputs == 1


def test_every_class_is_in_every_split(prepared):
    if prepared.task == "classification":
        for split in SPLITS:
            assert prepared.targets[split].unique().numel() == prepared.outputs


def test_scaling_is_fitted_on_training_rows_alone(prepared):
    """Scaling is exact on train; on val and test it would be so only if it had seen them."""

    def is_scaled(split):
        inputs = prepared.inputs[split]
        columns = inputs if inputs.ndim == 2 else inputs.transpose(0, 1).flatten(1).T  # a channel is a column
        low, high = columns.min(dim=0).values, columns.max(dim=0).values
        mean, std = columns.mean(dim=0, dtype=torch.float64), columns.std(dim=0, correction=0)
        is_standard = (mean.abs() < 1e-5) & ((std - 1).abs() < 1e-3)
        is_min_max = (low == 0) & (high == 1)  # a category as 0 and 1 is, too
        return bool((is_standard | is_min_max | (low == high)).all())

    assert is_scaled("train")
    assert not is_scaled("val") and not is_scaled("test")


def test_is_the_same_again_and_another_split_differs(prepared, raw):
    again, other = (datasets.prepare(prepared.name, split_seed=seed, raw=raw) for seed in (0, 1))
    assert all(torch.equal(again.inputs[split], prepared.inputs[split]) for split in SPLITS)
    assert not torch.equal(other.targets["train"], prepared.targets["train"])


def test_survives_disk(prepared, tmp_path):
    prepared.save(tmp_path / "data.safetensors")
    loaded = Prepared.load(tmp_path / "data.safetensors")
    assert (loaded.name, loaded.task, loaded.outputs) == (prepared.name, prepared.task, prepared.outputs)
    for split in SPLITS:
        assert torch.equal(loaded.inputs[split], prepared.inputs[split])
        assert torch.equal(loaded.targets[split], prepared.targets[split])
