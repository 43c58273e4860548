"""Recompute what the study published on one data set."""

from edgepress.warm import hand_over

hand_over("edgepress.as_published.replication")

from pathlib import Path

import torch

from edgepress import metrics
from edgepress.as_published import replication
from edgepress.files import FileError, write_atomically
from edgepress.logs import job

with job(snakemake.log[0], FileError):
    torch.set_num_threads(snakemake.params.threads)
    dataset = snakemake.wildcards.dataset
    weights, raw = Path(snakemake.input.weights[0]).parent, Path(snakemake.input.raw[0]).parent
    rows, tensors = replication.replicate(dataset, weights, raw, snakemake.params.draws)
    sound = replication.in_sound_definitions(dataset, weights, raw, snakemake.params.draws)
    write_atomically(snakemake.output.metrics, metrics.to_csv(rows, [*metrics.COLUMNS, replication.PUBLISHED_ORDER]))
    write_atomically(snakemake.output.tensors, metrics.to_csv(tensors, replication.TENSOR_COLUMNS))
    write_atomically(snakemake.output.sound, metrics.to_csv(sound))
