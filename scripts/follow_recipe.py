"""Train one network with one seed by one recipe, and follow what that costs."""

import torch

from edgepress import metrics, registry, training
from edgepress.datasets import Prepared
from edgepress.files import FileError, write_atomically
from edgepress.logs import job
from edgepress.outputs import NetworkError
from edgepress.training import progress

with job(snakemake.log[0], FileError, NetworkError):
    torch.set_num_threads(snakemake.params.threads)
    registry.set_own(snakemake.params.own)
    device = training.choose_device(snakemake.params.device)
    data = Prepared.load(snakemake.input.data)
    seed = int(snakemake.wildcards.seed)
    weights, frozen = snakemake.params.weights, snakemake.params.frozen
    network, loaded = training.begun(snakemake.wildcards.network, data, seed, weights, frozen)
    settings, energy = training.Training(**snakemake.params.training), snakemake.config.get("energy")
    rows = progress.follow(network.to(device), data.to(device), settings, seed, energy, loaded)
    rows = [{**dict(snakemake.wildcards.items()), **row} for row in rows]
    write_atomically(snakemake.output[0], metrics.to_csv(rows, progress.COLUMNS))
