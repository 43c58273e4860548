"""Follows one weight along the path that ARCHITECTURE.md describes, from training to a point in a figure."""

import struct

import matplotlib.pyplot as plt
import numpy as np
import pytest
import safetensors.numpy
import torch

from edgepress import metrics, networks, tensor_files, training
from edgepress.files import write_atomically
from edgepress.packing import Compressed
from edgepress.reporting import figures, results
from edgepress.sweep import Bench, Trained

NAME, PLACE, BITS = "net.0.weight", 5, 3  # the first tensor of the network, and an entry of it


@pytest.fixture
def trained(classes):
    network = networks.build("dnn_simple", classes, seed=1)
    before = network.get_parameter(NAME).detach().clone()
    training.train(network, classes, training.Training(lr=0.01, batch_size=30, max_epochs=3, patience=3), seed=1)
    assert network.get_parameter(NAME).reshape(-1)[PLACE] != before.reshape(-1)[PLACE]
    return Trained("dnn_simple", 1, network, classes)


def test_one_weight_from_training_to_the_figure(trained, classes, tmp_path):
    weights = trained.network.get_parameter(NAME).detach().reshape(-1).double()
    weight = float(weights[PLACE])

    # model.safetensors holds it in float32.
    model = tmp_path / "model.safetensors"
    write_atomically(model, tensor_files.to_bytes(networks.inference_state(trained.network)))
    assert struct.pack("<f", weight) in model.read_bytes()
    assert float(tensor_files.load(model)[0][NAME].reshape(-1)[PLACE]) == weight

    # The codebook has 2^3 levels from the smallest weight of the tensor to the largest; the code is the nearest one's.
    bench = Bench(trained, ("train", "val", "test"), torch.device("cpu"))
    (result,) = bench.sweep("nearest_uniform", [f"w{BITS}"], draws=1)
    low, step = float(weights.min()), float(weights.max() - weights.min()) / (2**BITS - 1)
    code = round((weight - low) / step)

    # The payload of the packed file: the codebook's two numbers, then the codes, three bits each.
    payload = safetensors.numpy.load(result.packed)["payload"].tobytes()
    assert np.frombuffer(payload[:16], "<f8").tolist() == [low, step]
    bits = int.from_bytes(payload[16 : 16 + -(-BITS * len(weights) // 8)], "little")
    assert bits >> BITS * PLACE & 2**BITS - 1 == code

    # What comes back is that level, and no further from the weight than half a step.
    stored = Compressed.from_bytes(result.packed)
    rebuilt = float(stored.state_dict()[NAME].reshape(-1)[PLACE])
    assert rebuilt == np.float32(low + code * step) != np.float32(weight)
    assert abs(rebuilt - weight) <= step / 2 * 1.001

    # The row is of the network that has it, and of the file.
    network = stored.rebuild(trained.network).eval()
    assert float(network.state_dict()[NAME].reshape(-1)[PLACE]) == rebuilt
    right = (network(classes.inputs["test"]).argmax(dim=1) == classes.targets["test"]).double().mean()
    (row,) = (row for row in result.rows if row["split"] == "test")
    assert (row["accuracy"], row["bytes"], row["bits"]) == (float(right), len(result.packed), BITS)

    # The figure shows it, in per cent.
    tables = tmp_path / "fp32.csv", tmp_path / "nearest_uniform.csv"
    for table, rows in zip(tables, (bench.baseline(), result.rows), strict=True):
        write_atomically(table, metrics.to_csv(rows))
    write_atomically(tmp_path / "metrics.csv", metrics.join(tables))
    figure = figures.precision(results.load(tmp_path / "metrics.csv"), classes.name)
    plt.close(figure)
    _, test = figure.axes
    assert any(list(line.get_ydata()) == [100 * float(right)] for line in test.lines)
