"""Compress one trained network by the methods of one family, at all their levels, and measure each result."""

from edgepress.warm import hand_over

hand_over("edgepress.sweep", "edgepress.training.consumption")

import torch

from edgepress import metrics, registry, training
from edgepress.checkpoints import Checkpoints
from edgepress.files import FileError, write_atomically
from edgepress.logs import job
from edgepress.sweep import Bench, Trained
from edgepress.training.consumption import metered

with job(snakemake.log[0], FileError):
    torch.set_num_threads(snakemake.params.threads)
    registry.set_own(snakemake.params.own)
    cell = snakemake.wildcards
    trained = Trained.load(cell.network, cell.seed, snakemake.input.model, snakemake.input.data)
    device = training.choose_device(snakemake.params.device)
    retraining = snakemake.params.retraining and training.Training(**snakemake.params.retraining)
    checkpoints = Checkpoints(snakemake.params.checkpoints, snakemake.params.code)
    bench = Bench(trained, snakemake.params.splits, device, retraining, snakemake.params.fold_bn, checkpoints)

    packed, energy = iter(snakemake.output.packed), iter(snakemake.output.energy)
    for (method, levels), table in zip(snakemake.params.levels.items(), snakemake.output.metrics, strict=True):
        rows = []
        identity = {**dict(snakemake.wildcards.items()), "method": method, "level": levels[0]}
        with metered(next(energy, None), snakemake.config.get("energy"), identity) as noted:
            for result in bench.sweep(method, levels, snakemake.params.draws, snakemake.params.steps[method]):
                print(method, result.level, f"{len(result.packed):,} bytes")
                write_atomically(next(packed), result.packed)
                rows += result.rows
                noted["status"] = result.rows[-1]["status"]
        write_atomically(table, metrics.to_csv(rows))
    checkpoints.remove()
