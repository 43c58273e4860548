from pathlib import Path

from snakemake.utils import min_version

min_version("9.0")


include: "rules/common.smk"
include: "rules/fetch.smk"
include: "rules/prepare.smk"


if CONFIG.replication:

    include: "rules/replicate.smk"

else:

    include: "rules/train.smk"
    include: "rules/compress.smk"
    include: "rules/hardware.smk"
    include: "rules/collect.smk"


include: "rules/report.smk"


rule all:
    default_target: True
    input:
        TARGETS,
        REPORT_FILES,
        REPORT,


onstart:
    provenance.start(MANIFEST, CONFIG.model_dump(), workflow.basedir)


onsuccess:
    missing = [path for path in [*TARGETS, REPORT] if not Path(path).exists()]
    provenance.end(MANIFEST, "partial" if missing else "complete")
    if not missing:
        print(f"\nThe report is {REPORT}")


onerror:
    provenance.end(MANIFEST, "failed")
    failed = metrics.collect_what_is_there(f"{RESULTS}/metrics.csv", CELLS) if CELLS else 0
    if failed:
        print(f"\n{failed} of {len(CELLS)} cells have no result; {RESULTS}/metrics.csv says which and why.")
    print("\nWhat is finished is kept: run the same command again to do the rest.")
