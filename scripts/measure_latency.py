"""Time one trained network on a real runtime, at each level that the config asks for, and the files of peers."""

from pathlib import Path

import torch

from edgepress import metrics, registry
from edgepress.files import FileError, write_atomically
from edgepress.logs import job
from edgepress.sweep import Trained
from edgepress.targets import latency

with job(snakemake.log[0], FileError):
    torch.set_num_threads(1)  # what is compared with the runtime's outputs is computed as elsewhere
    registry.set_own(snakemake.params.own)
    cell = snakemake.wildcards
    trained = Trained.load(cell.network, cell.seed, snakemake.input.model, snakemake.input.data)
    peers = dict(zip(snakemake.params.peers, map(Path, snakemake.input.peers), strict=True))
    rows = latency.measure(trained, snakemake.params.levels, peers=peers)
    write_atomically(snakemake.output[0], metrics.to_csv(rows, latency.COLUMNS))
