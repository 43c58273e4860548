"""Join the tables of the replicated data sets."""

from edgepress import metrics
from edgepress.files import write_atomically
from edgepress.logs import job

with job(snakemake.log[0]):
    for name, path in snakemake.output.items():
        write_atomically(path, metrics.join(snakemake.input[name]))
