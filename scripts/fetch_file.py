"""Fetch one file of a data set."""

import sys

from edgepress import sources
from edgepress.logs import job

terminal = sys.stderr
with job(snakemake.log[0], sources.FetchError):
    source = sources.load()[snakemake.wildcards.dataset][snakemake.wildcards.file]
    folders = sources.mirrors(snakemake.config.get("mirror"))
    print("from", sources.fetch(source, snakemake.output[0], folders, terminal=terminal))
