"""Prepare one data set."""

from edgepress import datasets
from edgepress.logs import job

with job(snakemake.log[0]):
    datasets.prepare(snakemake.wildcards.dataset, snakemake.params.split_seed).save(snakemake.output[0])
