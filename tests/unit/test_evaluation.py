import math

import pytest
import torch
from sklearn.metrics import balanced_accuracy_score
from torch import nn

from edgepress.datasets import Prepared
from edgepress.evaluation import evaluate, predict, score


class Constant(nn.Module):
    """Answers the same whatever it is asked."""

    def __init__(self, values):
        super().__init__()
        self.values = nn.Parameter(torch.tensor(values))

    def forward(self, x):
        return self.values.expand(len(x), -1)


def test_classification_by_hand():
    outputs = torch.tensor([[2.0, 0.0], [0.0, 0.0], [1.0, 3.0]], dtype=torch.float64)
    losses = [math.log(1 + math.exp(-2)), math.log(2), math.log(1 + math.exp(2))]
    quality = score(outputs, torch.tensor([0, 1, 0]))
    assert quality == {
        "loss": pytest.approx(sum(losses) / 3),
        "accuracy": pytest.approx(1 / 3),
        "balanced_accuracy": pytest.approx((1 / 2 + 0) / 2),
    }


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
def test_balanced_accuracy_counts_each_class_alike():
    always_0 = score(torch.tensor([[1.0, 0.0]] * 100, dtype=torch.float64), torch.tensor([0] * 95 + [1] * 5))
    assert (always_0["accuracy"], always_0["balanced_accuracy"]) == (0.95, 0.5)
    generator = torch.Generator().manual_seed(0)
    for chances in ([0.95, 0.05], [0.7, 0.2, 0.1, 0.0], [0.0, 1.0, 0.0]):  # of some classes there are no examples
        targets = torch.multinomial(torch.tensor(chances), 200, replacement=True, generator=generator)
        outputs = torch.rand(200, len(chances), generator=generator, dtype=torch.float64)
        expected = balanced_accuracy_score(targets, outputs.argmax(dim=1))
        assert score(outputs, targets)["balanced_accuracy"] == pytest.approx(expected)


def test_regression_by_hand():
    outputs = torch.tensor([[1.0], [2.0], [6.0]], dtype=torch.float64)
    quality = score(outputs, torch.tensor([1.0, 4.0, 4.0]))
    # Errors 0, −2, 2; the targets' variance is 2.
    assert quality == {
        "loss": pytest.approx(8 / 3),
        "mse": pytest.approx(8 / 3),
        "mae": pytest.approx(4 / 3),
        "r2": pytest.approx(1 - (8 / 3) / 2),
    }


def test_the_mean_has_r2_0_and_the_truth_has_r2_1():
    targets = torch.tensor([1.0, 2.0, 6.0])
    assert score(torch.full((3, 1), 3.0, dtype=torch.float64), targets)["r2"] == pytest.approx(0)
    assert score(targets[:, None].double(), targets)["r2"] == 1


def test_targets_that_are_all_the_same_do_not_fail():
    quality = score(torch.tensor([[1.0], [2.0]], dtype=torch.float64), torch.tensor([3.0, 3.0]))
    assert quality["mse"] == pytest.approx(2.5)


@pytest.mark.parametrize("classes, reported", [(2, False), (19, False), (20, True), (100, True)])
def test_top5_from_20_classes_up(classes, reported):
    assert ("top5" in score(torch.zeros(3, classes, dtype=torch.float64), torch.tensor([0, 1, 1]))) == reported


def test_top5_by_hand():
    outputs = torch.arange(20, dtype=torch.float64).repeat(3, 1)
    quality = score(outputs, torch.tensor([15, 14, 19]))  # fifth, sixth and first
    assert quality["top5"] == pytest.approx(2 / 3) and quality["accuracy"] == pytest.approx(1 / 3)


def test_prediction_is_in_evaluation_mode_and_without_gradient():
    network = nn.Sequential(nn.Linear(3, 50), nn.Dropout(0.9), nn.Linear(50, 2)).train()
    inputs = torch.ones(4, 3)
    first, second = predict(network, inputs), predict(network, inputs)
    assert torch.equal(first, second) and first.dtype == torch.float64 and not first.requires_grad


def test_batches_do_not_show():
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).eval()
    inputs = torch.randn(10_001, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = network(inputs).double()
    assert torch.allclose(predict(network, inputs), expected, atol=1e-6)


def data_of(inputs, targets):
    return Prepared("toy", "regression", 1, {"val": inputs}, {"val": targets})


def test_the_split_asked_for_is_measured():
    data = Prepared(
        "toy", "regression", 1, dict.fromkeys(["val", "test"], torch.zeros(2, 1)),
        {"val": torch.tensor([0.0, 2.0]), "test": torch.tensor([4.0, 6.0])},
    )  # fmt: skip
    assert [evaluate(Constant([1.0]), data, split)["mae"] for split in ("val", "test")] == [1, 4]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_outputs_that_are_not_finite_are_an_error(value):
    with pytest.raises(ArithmeticError, match="not finite"):
        evaluate(Constant([value]), data_of(torch.zeros(3, 1), torch.tensor([0.0, 1.0, 2.0])), "val")
