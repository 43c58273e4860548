"""Write the page that leads to the others."""

from edgepress.logs import job
from edgepress.reporting import notebooks, render

with job(snakemake.log[0]):
    render.index(notebooks(snakemake.params.notebooks), snakemake.params.run_folder, snakemake.output[0])
