"""Compress one trained network by the methods of one job, and measure each level that is not there yet."""

from edgepress.warm import hand_over

hand_over("edgepress.sweep", "edgepress.training.consumption")

import torch

from edgepress import metrics, registry, tensor_files, training
from edgepress.checkpoints import Checkpoints
from edgepress.files import FileError, write_atomically
from edgepress.level_files import LevelFiles
from edgepress.logs import job
from edgepress.sweep import Bench, Trained
from edgepress.training.consumption import COLUMNS, metered

with job(snakemake.log[0], FileError):
    cell, params, output = snakemake.wildcards, snakemake.params, snakemake.output
    torch.set_num_threads(params.shared["threads"])
    registry.set_own(params.own)
    trained = Trained.load(cell.network, cell.seed, snakemake.input.model, snakemake.input.data)
    device = training.choose_device(params.shared["device"])
    retraining = params.shared["retraining"] and training.Training(**params.shared["retraining"])
    checkpoints = Checkpoints(params.checkpoints, " ".join(each["code"] for each in params.methods.values()))
    bench = Bench(trained, params.shared["splits"], device, retraining, params.shared["fold_bn"], checkpoints)
    read = {name: tensor_files.checksum(path) for name, path in snakemake.input.items()}
    metering = output.get("energy") and snakemake.config["energy"]

    rows, energy = [], []
    for method, levels in params.levels.items():
        settings = params.methods[method]
        files = LevelFiles(f"{params.folder}/{method}", {**params.shared, **settings, **read})
        if missing := files.missing(levels, bool(metering)):
            identity = {"dataset": cell.dataset, "network": cell.network, "seed": cell.seed, "method": method}
            taken = metering and files.energy(levels[0])
            with metered(taken, metering, {**identity, "level": levels[0]}) as noted:
                for result in bench.sweep(method, missing, settings["draws"], settings["steps"]):
                    print(method, result.level, f"{len(result.packed):,} bytes")
                    files.keep(result.level, result.packed, result.rows)
                    noted["status"] = result.rows[-1]["status"]
        rows += files.rows(levels)
        energy += metrics.from_csv(files.energy(levels[0])) if metering else []
    if output.get("metrics"):
        write_atomically(output.metrics, metrics.to_csv(rows))
    if metering:
        write_atomically(output.energy, metrics.to_csv(energy, COLUMNS))
    checkpoints.remove()
