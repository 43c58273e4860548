"""Compress one trained network by another library, at all its levels, and measure what its files hold."""

from edgepress.warm import hand_over

hand_over("edgepress.sweep", "edgepress.peers")

from pathlib import Path

import torch

from edgepress import metrics, peers, registry
from edgepress.files import FileError, write_atomically
from edgepress.logs import job
from edgepress.sweep import Bench, Trained

with job(snakemake.log[0], FileError):
    torch.set_num_threads(snakemake.params.threads)
    registry.set_own(snakemake.params.own)
    cell = snakemake.wildcards
    trained = Trained.load(cell.network, cell.seed, snakemake.input.model, snakemake.input.data)
    bench = Bench(trained, snakemake.params.splits, torch.device("cpu"), fold_bn=snakemake.params.fold_bn)
    folder = Path(snakemake.output.files)
    folder.mkdir(parents=True, exist_ok=True)
    rows = [row for level in peers.sweep(bench, snakemake.wildcards.peer, folder) for row in level]
    write_atomically(snakemake.output.metrics, metrics.to_csv(rows))
