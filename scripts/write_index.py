"""Write the page that leads to the others."""

from pathlib import Path

from edgepress.logs import job
from edgepress.reporting import declared, render

with job(snakemake.log[0]):
    notebooks = map(declared, snakemake.input.notebooks)
    shown = {notebook: snakemake.params.shown[notebook.name] for notebook in notebooks}
    render.index(shown, Path(snakemake.input.metrics).parent, snakemake.output[0])
