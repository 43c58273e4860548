import time
from pathlib import Path

from snakemake.utils import min_version

min_version("9.0")
STARTED = time.time()


include: "rules/common.smk"
include: "rules/fetch.smk"
include: "rules/prepare.smk"


if CONFIG.replication:

    include: "rules/replicate.smk"

else:

    include: "rules/train.smk"
    include: "rules/recipes.smk"
    include: "rules/compress.smk"
    include: "rules/peers.smk"
    include: "rules/hardware.smk"
    include: "rules/deploy.smk"
    include: "rules/devices.smk"
    include: "rules/collect.smk"


include: "rules/report.smk"


rule all:
    default_target: True
    input:
        lambda wildcards: [*TARGETS, *REPORT_FILES, REPORT],


onstart:
    try:
        provenance.start(MANIFEST, CONFIG.model_dump(), workflow.basedir, registry.own(), OWN_FILES)
    except OSError as error:
        raise WorkflowError(f"{RESULTS} cannot be written to: {error}; mend that, and run again") from None
    if workflow.local_exec:
        WARM.append(warm.Server(CONFIG.threads))


onsuccess:
    end_warm()
    missing = [path for path in [*TARGETS, REPORT] if not Path(path).exists()]
    provenance.end(MANIFEST, "partial" if missing else "complete")
    failed = metrics.failed_levels(f"{RESULTS}/metrics.csv")
    if failed:
        print(f"\n{len(failed)} levels failed, the others are fine:", *failed[:10], sep="\n  ")
    if not missing:
        print(f"\nThe report is {REPORT}")


onerror:
    end_warm()
    failures = metrics.failures(CELLS)
    if failures:
        print(f"\n{len(failures)} of {len(CELLS)} cells have no result:", *failures[:10], sep="\n  ")
    ends = logs.failures("logs", since=STARTED)
    if ends:
        print(f"\nThe logs of what failed, and how they end:\n{ends}")
    try:
        provenance.end(MANIFEST, "failed")
        if failures:
            metrics.collect_what_is_there(f"{RESULTS}/metrics.csv", CELLS)
            print(f"{RESULTS}/metrics.csv says of each which and why.")
        if failures and ends and workflow.execution_settings.keep_going and report_is_asked():
            print(f"The report of the others is {REPORT}" if report_what_is_there() else "There is no report.")
    except OSError as error:
        print(f"\n{RESULTS} cannot be written to: {error}")
    print("\nWhat is finished is kept: run the same command again to do the rest.")
