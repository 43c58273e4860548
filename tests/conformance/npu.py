"""What Ethos-U NPUs make of committed networks: results/reference/npu.csv.

``EDGEPRESS_MIRROR=<folder of the data> python -m tests.conformance.npu NETWORK SEED`` measures one network anew and
keeps the other rows. It needs the extra ``npu``.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator
from typing import Any

import torch

from edgepress import methods, networks, tensor_files
from edgepress.evaluation import predict
from edgepress.files import write_atomically
from edgepress.folding import fold_batch_norm
from edgepress.levels import Level
from edgepress.sweep import generator_for
from edgepress.targets import NotServedError, tflite
from edgepress.targets.tflite import runtimes, vela

from . import table

CSV = table.STUDY.parents[1] / "npu.csv"
CELLS = {  # method → levels; activations are put on grids first
    "nearest_uniform_channel": ["w4a8"],
    "nearest_symmetric_channel": ["w8a8"],
    "entropy_step": ["w3a8"],
    "gptq": ["w4a8"],
    "layer_kmeans": ["w4a8"],
}
COLUMNS = ["network", "seed", "method", "level", "accuracy", "packed_bytes", "file_bytes", "compared_rows",
           "differing_in_micro", "differing_in_litert", "differing_by_xnnpack", *vela.COLUMNS]  # fmt: skip
_COMPARED = 32  # rows: TensorFlow Lite Micro takes some 30 ms for one


def rows(name: str, seed: int) -> Iterator[dict[str, Any]]:
    """Rows of ``COLUMNS`` for a network of the study, one a level and NPU, as they are measured."""
    data = table.prepared("fashion_mnist")
    network = networks.build(name, data)
    networks.load_inference_state(network, tensor_files.load(table.STUDY / f"{name}_seed{seed}.safetensors")[0])
    network = fold_batch_norm(network.eval(), data.input_shape)
    calibrate = methods.create("activations_mse")
    known = data.only("train", "val")
    grids = calibrate.compress(network, known, Level(act_bits=8), generator_for(name, "npu"))
    for method, levels in CELLS.items():
        for level in map(Level.parse, levels):
            cell = {"network": name, "seed": seed, "method": method, "level": str(level)}
            stored = methods.compress(
                [methods.create(method)], network, known, level, generator_for(name, method), grids
            )
            cell["accuracy"] = round(_accuracy(predict(stored.rebuild(network), data.inputs["test"]), data), 4)
            cell["packed_bytes"] = len(stored.to_bytes())
            try:
                files = tflite.TFLite().export(network, stored, methods.calibration_inputs(data))
            except NotServedError as error:
                yield cell | {"status": "refused", "reason": str(error)}
                continue
            cell |= _compared(network, stored, files[tflite.FILE], data)
            yield from (cell | vela.modelled(files[tflite.FILE], npu) for npu in vela.NPUS)


def _accuracy(outputs: torch.Tensor, data: Any) -> float:
    return float((outputs.argmax(1) == data.targets["test"]).double().mean())


def _compared(network: torch.nn.Module, stored: Any, model: bytes, data: Any) -> dict[str, Any]:
    """The outputs of each runtime that differ from the reference."""
    inputs = data.inputs["test"][:_COMPARED]
    expected = tflite.TFLite().reference(network, stored, methods.calibration_inputs(data))(inputs)
    runs = {"micro": runtimes.micro(model), "litert": runtimes.litert(model, True), "xnnpack": runtimes.litert(model)}
    apart = {name: int((run(inputs) != expected).sum()) for name, run in runs.items()}
    return {
        "file_bytes": len(model),
        "compared_rows": _COMPARED,
        "differing_in_micro": apart["micro"],
        "differing_in_litert": apart["litert"],
        "differing_by_xnnpack": apart["xnnpack"],
    }


def main(name: str, seed: int) -> None:
    """Measure one network and write the table."""
    kept = list(csv.DictReader(CSV.open(encoding="utf-8"))) if CSV.exists() else []
    kept = [row for row in kept if (row["network"], row["seed"]) != (name, str(seed))]
    for row in rows(name, seed):
        print(row, flush=True)
        kept.append(row)
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted(kept, key=lambda row: (row["network"], str(row["seed"]))))
        write_atomically(CSV, text.getvalue())


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1], int(sys.argv[2]))
