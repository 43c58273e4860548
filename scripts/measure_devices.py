"""Compile a network's packed files for microcontrollers, run them in an emulator, and count."""

from edgepress.warm import hand_over

hand_over("edgepress.networks", "edgepress.targets.c.measure")

from pathlib import Path

import torch

from edgepress import metrics, registry
from edgepress.files import FileError, write_atomically
from edgepress.logs import job
from edgepress.sweep import Trained
from edgepress.targets.c import measure

with job(snakemake.log[0], FileError):
    torch.set_num_threads(1)
    registry.set_own(snakemake.params.own)
    cell = snakemake.wildcards
    trained = Trained.load(cell.network, cell.seed, snakemake.input.model, snakemake.input.data)
    files = measure.files_of(Path(snakemake.output[0]).parent, snakemake.params.levels)
    write_atomically(snakemake.output[0], metrics.to_csv(measure.measure(trained, files), measure.COLUMNS))
