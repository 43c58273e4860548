"""Join the metrics of all cells into one table."""

from edgepress import metrics
from edgepress.files import write_atomically
from edgepress.logs import job

with job(snakemake.log[0]):
    write_atomically(snakemake.output[0], metrics.join(snakemake.input))
