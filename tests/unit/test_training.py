import copy
import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from edgepress import training
from edgepress.datasets import Prepared, sample
from edgepress.evaluation import evaluate, predict
from edgepress.training import Training, retrain, train

QUICK = Training(lr=0.01, batch_size=32, max_epochs=8, patience=3)


def network(inputs=4, outputs=3, seed=0, dropout=0.0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(inputs, 12), nn.ReLU(), nn.Dropout(dropout), nn.Linear(12, outputs))


def weights(trained):
    return torch.cat([value.reshape(-1) for value in trained.state_dict().values()])


def fitted(data, settings=QUICK, seed=0, **kind):
    trained = network(data.inputs["train"].shape[1], data.outputs, **kind)
    return trained, train(trained, data, settings, seed)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_the_seed_decides_the_training(classes, dropout):
    (first, history), (again, same_history), (other, _) = (fitted(classes, seed=s, dropout=dropout) for s in (1, 1, 2))
    assert torch.equal(weights(first), weights(again)) and history == same_history
    assert not torch.equal(weights(first), weights(other))


def test_what_was_drawn_before_does_not_matter(classes):
    first, _ = fitted(classes, dropout=0.5)
    again = network(dropout=0.5)
    torch.rand(100)
    train(again, classes, QUICK, 0)
    assert torch.equal(weights(first), weights(again))


def test_classes_are_learned(classes):
    trained, _ = fitted(classes, replace(QUICK, max_epochs=60, patience=60))
    assert evaluate(trained, classes, "test")["accuracy"] > 0.9


def test_amounts_are_learned_in_their_own_unit(amounts):
    trained, _ = fitted(amounts, replace(QUICK, max_epochs=60, patience=60))
    quality = evaluate(trained, amounts, "test")
    assert quality["r2"] > 0.95 and quality["mae"] < 20


def test_the_unit_of_the_target_does_not_matter(amounts):
    in_thousandths = replace_targets(amounts, lambda targets: 1000 * targets)
    fine, coarse = (fitted(data, QUICK)[0] for data in (in_thousandths, amounts))
    outputs = [predict(trained, amounts.inputs["test"]) for trained in (fine, coarse)]
    assert torch.allclose(outputs[0], 1000 * outputs[1], rtol=1e-3)


def replace_targets(data, change):
    return Prepared(data.name, data.task, data.outputs, data.inputs, {s: change(t) for s, t in data.targets.items()})


def test_training_on_keeps_the_start_where_nothing_is_better(classes):
    trained, _ = fitted(classes, replace(QUICK, max_epochs=30, patience=30))
    before = copy.deepcopy(trained.state_dict())
    history = retrain(trained, never_better(classes), Training(lr=0.05, batch_size=8, max_epochs=5, patience=2), 0)
    assert len(history) == 2
    assert all(torch.equal(before[name], tensor) for name, tensor in trained.state_dict().items())


class Doubled(nn.Module):
    """Weights unchanged in training, and doubled in evaluation."""

    def forward(self, weights):
        return weights if self.training else 2 * weights


def test_norms_have_the_statistics_of_the_weights_that_are_evaluated(classes):
    torch.manual_seed(3)
    trained = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    frozen = nn.BatchNorm1d(3).requires_grad_(False)
    trained.append(frozen)
    parametrize.register_parametrization(trained[0], "weight", Doubled())
    retrain(trained, classes, QUICK, 0)
    batches = trained.eval()[0](sample(classes.inputs["train"], 90, seed=0)).detach().tensor_split(3)
    norm = trained[1]
    for found, statistic in ((norm.running_mean, torch.mean), (norm.running_var, torch.var)):
        torch.testing.assert_close(found, torch.stack([statistic(batch, dim=0) for batch in batches]).mean(dim=0))
    assert norm.momentum == 0.1 and not norm.training
    assert frozen.running_mean.tolist() == [0, 0, 0] and frozen.running_var.tolist() == [1, 1, 1]


@pytest.mark.parametrize("order", ["sorted", "in turns"])
@pytest.mark.parametrize("rows", [400, 4096])
def test_norms_have_the_statistics_of_all_rows_however_these_lie(order, rows):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(rows) % 4
    labels = labels.sort().values if order == "sorted" else labels
    inputs = 3 * torch.randn(4, 6, generator=generator)[labels] + torch.randn(rows, 6, generator=generator)
    norm = nn.BatchNorm1d(6)
    drawn = torch.get_rng_state()
    training.settle_norms(nn.Sequential(norm), inputs, batch_size=64, seed=0)
    assert torch.equal(drawn, torch.get_rng_state())
    torch.testing.assert_close(norm.running_var, inputs.var(dim=0), rtol=0.05, atol=0)
    torch.testing.assert_close(norm.running_mean, inputs.mean(dim=0), rtol=0, atol=0.15)


def test_the_best_epoch_on_val_is_kept(classes, amounts):
    # On these val splits a network gets better and then, as it learns the train split, worse.
    wrong = torch.arange(90) % 3 == 0
    classes.targets["val"] = torch.where(wrong, (classes.targets["val"] + 1) % 3, classes.targets["val"])
    amounts.targets["val"] = 1000 + 0.5 * (amounts.targets["val"] - 1000)
    for data in (classes, amounts):
        trained, history = fitted(data, Training(lr=0.005, batch_size=8, max_epochs=30, patience=30))
        losses = [row["val_loss"] for row in history]
        assert losses[0] > min(losses) and losses[-1] > min(losses), "the data do not show it"
        assert evaluate(trained, data, "val")["loss"] == pytest.approx(min(losses), rel=1e-4)


def never_better(classes):
    """Val targets that a network gets wrong the more surely, the better it knows the train split."""
    return Prepared(
        classes.name, classes.task, 3, classes.inputs, {**classes.targets, "val": (classes.targets["val"] + 1) % 3}
    )


def test_training_ends_after_patience_epochs_without_a_better_one(classes):
    _, history = fitted(never_better(classes), Training(lr=0.05, batch_size=8, max_epochs=50, patience=4))
    losses = [row["val_loss"] for row in history]
    assert losses.index(min(losses)) == len(losses) - 1 - 4
    assert len(losses) < 50


def test_training_ends_after_max_epochs(classes):
    _, history = fitted(classes, Training(lr=1e-4, batch_size=32, max_epochs=3, patience=50))
    assert [row["epoch"] for row in history] == [1, 2, 3]


@pytest.mark.parametrize("batch_size", [90, 32, 8])
def test_the_learning_rate_falls_along_a_cosine_to_0(classes, batch_size):
    _, history = fitted(classes, Training(lr=0.02, batch_size=batch_size, max_epochs=6, patience=6))
    expected = [0.01 * (1 + math.cos(math.pi * epoch / 6)) for epoch in range(6)]  # at the start of each
    assert [row["lr"] for row in history] == pytest.approx(expected, abs=1e-9)


def test_the_learning_rate_stays_where_it_is_constant(classes):
    _, history = fitted(classes, replace(QUICK, schedule="constant", max_epochs=4))
    assert [row["lr"] for row in history] == [0.01] * 4


def test_without_patience_all_epochs_are_taken(classes):
    _, history = fitted(never_better(classes), Training(lr=0.05, batch_size=8, max_epochs=12, patience=None))
    assert len(history) == 12


@pytest.mark.parametrize(
    "epochs, expected",
    [
        (6, [0.5, 0.5, 0.75, 0.75, 1, 1]),
        (4, [0.5, 0.75, 1, 1]),
        (2, [0.75, 1]),
        (1, [1]),
    ],
)
def test_images_grow_to_full_size(epochs, expected):
    settings = replace(QUICK, max_epochs=epochs, resolutions=[0.5, 0.75, 1.0])
    assert [settings.resolution(epoch) for epoch in range(1, epochs + 1)] == expected
    assert settings.small_epochs == expected.index(1)


def test_a_smaller_image_holds_means():
    images = torch.tensor([[1.0, 3, 0, 0], [5, 7, 0, 0], [0, 0, 8, 8], [0, 0, 8, 8]]).expand(2, 3, 4, 4)
    assert training.resized(images, 0.5).tolist() == [[[[4, 0], [0, 8]]] * 3] * 2
    assert training.resized(images, 1.0) is images


class Seeing(nn.Module):
    """Notes the sides of the images that it trains on, and gets better on them and worse on val."""

    def __init__(self):
        super().__init__()
        self.sides, self.head = [], nn.Linear(3, 2)

    def forward(self, x):
        if self.training:
            self.sides.append(x.shape[2])
        return self.head(x.mean((2, 3)))


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(3)
    inputs = {split: torch.randn(32, 3, 8, 8, generator=generator) for split in ("train", "val")}
    targets = {split: (x.mean((1, 2, 3)) > 0).long() for split, x in inputs.items()}
    return Prepared("toy", "classification", 2, inputs, targets)


def test_only_epochs_at_full_size_count_for_what_is_best_and_for_patience(images):
    images.targets["val"] = 1 - images.targets["val"]  # it gets worse on them
    settings = Training(0.05, 32, max_epochs=9, patience=2, resolutions=[0.5, 0.75, 1.0])
    network = Seeing()
    history = train(network, images, settings, 0)
    assert network.sides == [4, 4, 4, 6, 6, 6, 8, 8, 8]
    losses = [row["val_loss"] for row in history]
    assert min(losses) < min(losses[6:]) and losses[6] == min(losses[6:])
    assert evaluate(network, images, "val")["loss"] == pytest.approx(losses[6])


def test_a_network_that_takes_no_small_images_says_so(images):
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2))
    with pytest.raises(ValueError, match=r"does not accept images of 4×4, its resolution 0\.5"):
        train(network, images, replace(QUICK, resolutions=[0.5, 1.0]), 0)


def test_history_is_told_as_it_comes_and_in_the_targets_unit(amounts):
    told = []
    trained = network(3, 1)
    before = evaluate(trained, amounts, "val")["mse"]
    history = train(trained, amounts, QUICK, 0, on_epoch=lambda row: told.append(dict(row)))
    assert told == history and list(history[0]) == ["epoch", "lr", "train_loss", "val_loss", "val_quality"]
    assert before > 900_000  # the targets lie around 1000
    deviation = float(amounts.targets["train"].var())
    assert 0.05 * deviation < history[0]["train_loss"] < 3 * deviation
    assert 0.05 * deviation < history[0]["val_loss"] < 3 * deviation


def test_train_loss_is_the_mean_over_examples(classes):
    settings = Training(lr=1e-12, batch_size=32, max_epochs=1, patience=1)  # 90 rows: batches of 32, 32 and 26
    trained, history = fitted(classes, settings)
    assert history[0]["train_loss"] == pytest.approx(evaluate(trained, classes, "train")["loss"], rel=1e-5)


def test_the_folded_network_is_a_plain_one(amounts):
    trained, _ = fitted(amounts)
    assert list(trained.state_dict()) == list(network(3, 1).state_dict())
    outputs = trained(amounts.inputs["test"]).detach().mean()
    assert float(outputs) == pytest.approx(1000, abs=30)


@pytest.mark.parametrize("bias", [True, False])
def test_a_bare_layer_is_trained_too(amounts, bias):
    network = nn.Linear(3, 1, bias=bias)
    history = train(network, amounts, Training(lr=0.1, batch_size=8, max_epochs=5, patience=5), 0)
    assert evaluate(network, amounts, "val")["loss"] == pytest.approx(min(r["val_loss"] for r in history), rel=1e-3)


@pytest.mark.parametrize("lr", [1e12, 1e30])
def test_divergence_is_told_in_one_sentence(amounts, lr):
    with pytest.raises(ArithmeticError) as caught:
        fitted(amounts, replace(QUICK, lr=lr))
    message = str(caught.value)
    assert "diverged in epoch 1" in message and "lower its lr" in message and len(message.splitlines()) == 1


def test_bad_inputs_are_told_as_divergence(classes):
    classes.inputs["train"][5, 2] = math.nan
    with pytest.raises(ArithmeticError, match="diverged in epoch 1"):
        fitted(classes)


def test_the_test_split_is_not_touched(amounts):
    seen, _ = fitted(amounts)
    blind, _ = fitted(amounts.only("train", "val"))
    assert torch.equal(weights(seen), weights(blind))


def test_the_data_are_left_as_they_were(amounts):
    before = {split: (amounts.inputs[split].clone(), amounts.targets[split].clone()) for split in amounts.inputs}
    fitted(amounts)
    for split, (inputs, targets) in before.items():
        assert torch.equal(amounts.inputs[split], inputs) and torch.equal(amounts.targets[split], targets)


def test_a_last_batch_of_one_row_does_not_stop_a_norm(classes):
    torch.manual_seed(0)
    normed = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))
    rows = {split: classes.inputs[split][:17] for split in classes.inputs}
    data = Prepared("toy", "classification", 3, rows, {split: classes.targets[split][:17] for split in rows})
    assert len(train(normed, data, Training(lr=0.01, batch_size=8, max_epochs=2, patience=2), 0)) == 2


@pytest.mark.parametrize("batch_size", [7, 89, 90, 1000])
def test_every_example_is_used_once_an_epoch(classes, batch_size):
    class Recorder(nn.Linear):
        def forward(self, x):
            if self.training:
                rows.extend(x[:, 0].tolist())
            return super().forward(x)

    rows = []
    recorder = Recorder(4, 3)
    train(recorder, classes, Training(lr=0.01, batch_size=batch_size, max_epochs=2, patience=2), 0)
    expected = classes.inputs["train"][:, 0].tolist()
    first, second = rows[:90], rows[90:]
    assert sorted(first) == sorted(second) == sorted(expected)
    assert first != second != expected


def test_device():
    assert training.choose_device("cpu") == torch.device("cpu")
    assert training.choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_weight_decay_is_the_same_in_every_unit(amounts):
    settings = replace(QUICK, weight_decay=0.5)
    in_thousandths = replace_targets(amounts, lambda targets: 1000 * targets)
    fine, coarse = (fitted(data, settings)[0] for data in (in_thousandths, amounts))
    outputs = [predict(trained, amounts.inputs["test"]) for trained in (fine, coarse)]
    assert torch.allclose(outputs[0], 1000 * outputs[1], rtol=1e-3)


@pytest.mark.parametrize("epochs", [1, 3, 4])
def test_a_cycle_of_a_few_steps_is_one(classes, epochs):
    _, history = fitted(classes, Training(lr=0.02, batch_size=90, max_epochs=epochs, patience=9, schedule="onecycle"))
    assert len(history) == epochs and max(row["lr"] for row in history) > 0.01
