"""Write the page that leads to the others."""

from pathlib import Path

from edgepress.logs import job
from edgepress.reporting import declared, render

with job(snakemake.log[0]):
    notebooks = [declared(path) for path in snakemake.input.notebooks]
    render.index(notebooks, Path(snakemake.input.metrics).parent, snakemake.output[0])
