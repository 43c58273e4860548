"""Write the page that leads to the others."""

from edgepress.warm import hand_over

hand_over("edgepress.reporting.index")

from pathlib import Path

from edgepress.logs import job
from edgepress.reporting import declared, index

with job(snakemake.log[0]):
    notebooks = map(declared, snakemake.input.notebooks)
    shown = {notebook: snakemake.params.shown[notebook.name] for notebook in notebooks}
    index.write(shown, Path(snakemake.input.metrics).parent, snakemake.output[0])
