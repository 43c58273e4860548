"""The report of the replication, from small hand-made tables."""

import pandas as pd
import pytest

from edgepress.reporting import replication

DEMO = {"dataset": "telescope", "network": "demo", "method": "multipoint", "split": "test"}


@pytest.fixture
def run(tmp_path):
    """The folder of a replication of two cells, and the published ones: the accuracy at 4 bits is another."""
    recomputed = [
        DEMO | {"level": level, "draw": 0, "accuracy": accuracy, "loss": 0.5, "published_order_loss": 0.4}
        for level, accuracy in (("w8", 0.8588328), ("w4", 0.4169295))
    ]
    published = [
        DEMO | {"level": "w8", "accuracy": "0.858833", "loss": 0.4},
        DEMO | {"level": "w4", "accuracy": "0.416931", "loss": 0.41},
    ]
    sound = [
        DEMO | {"method": method, "level": level, "bits": int(level[1:]), "accuracy": accuracy, "status": "ok"}
        for method, level, accuracy in (
            ("fp32", "w32", 0.859),
            ("multipoint", "w8", 0.858),
            ("multipoint", "w4", 0.857),
            ("multipoint_fixed", "w8", 0.856),
            ("multipoint_fixed", "w4", 0.855),
        )
    ]
    tensors = [
        DEMO | {"level": level, "tensor": tensor, "mean_abs_err": error if tensor == "net.2.weight" else 0.0}
        for level, error in (("w8", 0.001), ("w4", 0.4))
        for tensor in ("net.0.weight", "net.2.weight")
    ]
    tables = {"metrics": recomputed, "default": sound, "tensors": tensors, "published": published}
    for name, rows in tables.items():
        pd.DataFrame(rows).assign(reason=None, mse=None).to_csv(tmp_path / f"{name}.csv", index=False)
    return tmp_path


def test_a_cell_is_met_in_all_published_digits_and_to_1e_5_in_loss(run):
    cells = replication.load(run, run / "published.csv")
    assert cells.accuracy_same.tolist() == [True, False]
    assert cells.loss_same.tolist() == [True, False]
    [row] = replication.match(cells).to_dict("records")
    assert (row["method"], row["cells"], row["accuracy_same"], row["loss_same"]) == ("multipoint", 2, 1, 1)
    assert replication.differing(cells).level.tolist() == ["w4"]


def test_multipoint_stands_beside_its_sound_definitions(run):
    table = replication.multipoint(replication.load(run, run / "published.csv"), run)
    expected = {
        "level": ["w8", "w4"],
        "published": [0.858833, 0.416931],
        "recomputed": [0.8588328, 0.4169295],
        "error": [0.001, 0.4],
        "multipoint": [0.858, 0.857],
        "multipoint_fixed": [0.856, 0.855],
    }
    assert table.to_dict("list") == expected
