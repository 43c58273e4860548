"""Compress one trained network by the methods of one family, at all their levels, and measure each result."""

import torch
from safetensors.torch import load_file

from edgepress import metrics, networks, training
from edgepress.checkpoints import Checkpoints
from edgepress.datasets import Prepared
from edgepress.files import write_atomically
from edgepress.logs import job
from edgepress.sweep import Bench, Trained

with job(snakemake.log[0]):
    torch.set_num_threads(snakemake.params.threads)
    name, seed = snakemake.wildcards.network, int(snakemake.wildcards.seed)
    data = Prepared.load(snakemake.input.data)
    network = networks.build(name, data)
    networks.load_inference_state(network, load_file(snakemake.input.model))
    device = training.choose_device(snakemake.params.device)
    retraining = snakemake.params.retraining and training.Training(**snakemake.params.retraining)
    checkpoints = Checkpoints(snakemake.params.checkpoints, snakemake.params.code)
    trained = Trained(name, seed, network, data)
    bench = Bench(trained, snakemake.params.splits, device, retraining, snakemake.params.fold_bn, checkpoints)

    packed = iter(snakemake.output.packed)
    for (method, levels), table in zip(snakemake.params.levels.items(), snakemake.output.metrics, strict=True):
        rows = []
        for result in bench.sweep(method, levels, snakemake.params.draws, snakemake.params.steps[method]):
            print(method, result.level, f"{len(result.packed):,} bytes")
            write_atomically(next(packed), result.packed)
            rows += result.rows
        write_atomically(table, metrics.to_csv(rows))
    checkpoints.remove()
