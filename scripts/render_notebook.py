"""Run one report notebook and make a page of it."""

from edgepress.logs import job
from edgepress.reporting import render

with job(snakemake.log[0]):
    render.execute(
        snakemake.input.notebook, snakemake.output.notebook, snakemake.output.page, snakemake.params.run_folder
    )
