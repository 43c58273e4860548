"""What every registered data set promises."""

import pytest
import torch

from edgepress import datasets, registry
from edgepress.datasets import SPLITS, Prepared


@pytest.fixture(scope="module", params=sorted(registry.datasets()))
def prepared(request) -> Prepared:
    return datasets.prepare(request.param, split_seed=0)


def test_declares_what_it_is(prepared):
    entry = registry.datasets()[prepared.name]
    assert entry.about
    assert prepared.task == entry.task
    assert len(prepared.input_shape) == {"table": 1, "image": 3}[entry.input]


def test_splits_are_60_20_20(prepared):
    counts = {split: len(prepared.inputs[split]) for split in SPLITS}
    total = sum(counts.values())
    for split, share in zip(SPLITS, (0.6, 0.2, 0.2), strict=True):
        assert abs(counts[split] - share * total) <= 1


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
    """Standard or min-max scaling is exact on train; on val and test it would be so only if it had seen them."""

    def statistics(split):
        flat = prepared.inputs[split].flatten(1).double()
        return flat.min(dim=0).values, flat.max(dim=0).values, flat.mean(dim=0), flat.std(dim=0, correction=0)

    def is_scaled(split):
        low, high, mean, std = statistics(split)
        varies = high > low
        min_max = (low[varies].abs().max() < 1e-6) and ((high[varies] - 1).abs().max() < 1e-6)
        standard = (mean.abs().max() < 1e-4) and ((std[varies] - 1).abs().max() < 1e-3)
        pixels = prepared.inputs[split].double()
        overall = abs(float(pixels.mean())) < 1e-5 and abs(float(pixels.std(correction=0)) - 1) < 1e-4
        return bool(min_max or standard or overall)

    assert is_scaled("train")
    assert not is_scaled("val") and not is_scaled("test")


def test_is_the_same_again_and_another_split_differs(prepared):
    again, other = (datasets.prepare(prepared.name, split_seed=seed) for seed in (0, 1))
    assert all(torch.equal(again.inputs[split], prepared.inputs[split]) for split in SPLITS)
    assert not torch.equal(other.targets["train"], prepared.targets["train"])


def test_survives_disk(prepared, tmp_path):
    prepared.save(tmp_path / "data.safetensors")
    loaded = Prepared.load(tmp_path / "data.safetensors")
    assert (loaded.name, loaded.task, loaded.outputs) == (prepared.name, prepared.task, prepared.outputs)
    for split in SPLITS:
        assert torch.equal(loaded.inputs[split], prepared.inputs[split])
        assert torch.equal(loaded.targets[split], prepared.targets[split])
