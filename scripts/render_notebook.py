"""Run one report notebook and make a page of it."""

from edgepress.warm import hand_over

hand_over("edgepress.reporting.render")

from pathlib import Path

from edgepress.logs import job
from edgepress.reporting import render

with job(snakemake.log[0]):
    render.execute(
        snakemake.input.notebook,
        snakemake.output.notebook,
        snakemake.output.page,
        run_folder=Path(snakemake.input.metrics).parent,
        datasets=snakemake.params.datasets,
        **({"published": snakemake.input.published} if snakemake.input.published else {}),
    )
