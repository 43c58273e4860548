# A job compresses a trained network by the methods of a family at all their levels; methods that fine-tune have one job
# per level. Its only output is a table. Each level has two files (edgepress.level_files), and the job makes the missing
# ones. Snakemake does not track these files, because planning would take several times as long.
CHEAP, RETRAINING = (
    list({job.name: 0 for jobs in JOBS.values() for job in jobs if job.retrains == trains}) for trains in (False, True)
)


# A single level, requested by the name of its file.
rule compress_level:
    input:
        data=PREPARED,
        model=MODEL,
    output:
        packed=f"{RESULTS}/{TRAINED}/{{method}}/{{level}}.safetensors",
        rows=f"{RESULTS}/{TRAINED}/{{method}}/{{level}}.json",
    log:
        f"{LOGS}/{TRAINED}/{{method}}_{{level}}.log",
    benchmark:
        f"{BENCHMARKS}/{TRAINED}/{{method}}_{{level}}.tsv"
    wildcard_constraints:
        method=one_of(method for jobs in JOBS.values() for job in jobs for method in job.levels),
        level=one_of(
            level for jobs in JOBS.values() for job in jobs for levels in job.levels.values() for level in levels
        ),
    conda:
        ENVIRONMENT
    threads: CONFIG.threads
    resources:
        **GPU,
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=240,
    params:
        folder=lambda wildcards: f"{RESULTS}/{TRAINED}".format(**wildcards),
        checkpoints=lambda wildcards: f"{CHECKPOINTS}/{TRAINED}/{job_of(wildcards).name}".format(**wildcards),
        own=lambda wildcards: own_of(wildcards, job_of(wildcards).levels),
        levels=lambda wildcards: job_of(wildcards).levels,
        methods=lambda wildcards: {
            method: settings_of(wildcards.dataset, wildcards.network, method) for method in job_of(wildcards).levels
        },
        shared=lambda wildcards: shared_settings(wildcards, job_of(wildcards).retrains),
    message:
        "Compressing {wildcards.network} of {wildcards.dataset}, seed {wildcards.seed}, by {wildcards.method} at {wildcards.level}"
    script:
        "../scripts/compress_network.py"


use rule compress_level as compress with:
    output:
        metrics=f"{RESULTS}/{TRAINED}/{{job}}/metrics.csv",
    log:
        f"{LOGS}/{TRAINED}/{{job}}.log",
    benchmark:
        f"{BENCHMARKS}/{TRAINED}/{{job}}.tsv"
    wildcard_constraints:
        job=one_of(CHEAP),
    group:
        "cells"
    resources:
        **GPU,
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=60,
    message:
        "Compressing {wildcards.network} of {wildcards.dataset}, seed {wildcards.seed}, by {wildcards.job} methods"


use rule compress_level as retrain with:
    output:
        metrics=f"{RESULTS}/{TRAINED}/{{job}}/metrics.csv",
        energy=f"{RESULTS}/{TRAINED}/{{job}}/energy.csv" if CONFIG.energy else [],
    log:
        f"{LOGS}/{TRAINED}/{{job}}.log",
    benchmark:
        f"{BENCHMARKS}/{TRAINED}/{{job}}.tsv"
    wildcard_constraints:
        job=one_of(RETRAINING),
    message:
        "Training {wildcards.network} of {wildcards.dataset}, seed {wildcards.seed}, again by {wildcards.job} methods"
