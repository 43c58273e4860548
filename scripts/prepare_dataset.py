"""Prepare one data set."""

from edgepress.warm import hand_over

hand_over("edgepress.datasets", f"edgepress.datasets.{snakemake.wildcards.dataset}")

from pathlib import Path

from edgepress import datasets, registry, sources
from edgepress.files import FileError
from edgepress.logs import job

with job(snakemake.log[0], sources.FetchError, FileError):
    registry.set_own(snakemake.params.own)
    for path, sha256 in zip(snakemake.input.raw, snakemake.params.sha256, strict=True):
        sources.check(path, sha256)
    prepared = datasets.prepare(snakemake.wildcards.dataset, snakemake.params.split_seed, Path(snakemake.params.raw))
    prepared.save(snakemake.output[0])
    rows = ", ".join(f"{len(inputs):,} of {split}" for split, inputs in prepared.inputs.items())
    print(f"{rows}; an example has the shape {prepared.input_shape}, and there are {prepared.outputs} outputs")
