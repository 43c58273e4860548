"""Join tables of one kind, the metrics of all cells, say, into one."""

from edgepress import metrics
from edgepress.files import write_atomically
from edgepress.logs import job

with job(snakemake.log[0]):
    write_atomically(snakemake.output[0], metrics.join(snakemake.input))
