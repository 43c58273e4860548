# What not every run has, by its name.
OPTIONAL = {
    **({"hardware": f"{RESULTS}/hardware.csv"} if SIMULATIONS else {}),
    **({"latency": f"{RESULTS}/latency.csv"} if TIMED else {}),
    **({"devices": f"{RESULTS}/devices.csv"} if DEPLOYED else {}),
    **({"energy": f"{RESULTS}/energy.csv"} if CONFIG.energy else {}),
    **({"recipes": f"{RESULTS}/recipes.csv"} if FOLLOWED else {}),
}
TABLES = list({cell.metrics: 0 for cell in CELLS})  # of each job
COLLECTED = [
    f"{RESULTS}/metrics.csv",
    f"{RESULTS}/timings.csv",
    *OPTIONAL.values(),
]
# The tables are targets, too: Snakemake does not make what is missing for a file that is there.
TARGETS = [*TABLES, *COLLECTED]
REPORT = f"{RESULTS}/report/index.html"


# Inputs that are as many as the cells are functions: every job of a cluster reads these files, and would check each.
rule collect_metrics:
    input:
        lambda wildcards: TABLES,
    output:
        report(
            f"{RESULTS}/metrics.csv",
            caption="../notebooks/captions/metrics.rst",
            category="Tables",
            labels={"table": "all metrics"},
        ),
    log:
        f"{LOGS}/collect_metrics.log",
    benchmark:
        f"{BENCHMARKS}/collect_metrics.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    params:
        code=provenance.code_digest(SCRIPT.format("collect_metrics")),
    message:
        "Collecting the metrics of all cells"
    script:
        "../scripts/collect_metrics.py"


rule collect_timings:
    input:
        f"{RESULTS}/metrics.csv",
    output:
        f"{RESULTS}/timings.csv",
    log:
        f"{LOGS}/collect_timings.log",
    benchmark:
        f"{BENCHMARKS}/collect_timings.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    params:
        code=provenance.code_digest(SCRIPT.format("collect_timings")),
        jobs=lambda wildcards: [
            {
                **training,
                "job": job,
                "benchmark": f"{BENCHMARKS}/{TRAINED}/{job}.tsv".format(**training),
                "log": f"{LOGS}/{TRAINED}/{job}.log".format(**training),
            }
            for training in TRAININGS
            for job in [
                "train",
                *[job.name for job in JOBS[training["dataset"], training["network"]]],
                *[job.name for job in PEER_JOBS[training["dataset"], training["network"]]],
            ]
        ],
    message:
        "Collecting what the jobs took"
    script:
        "../scripts/collect_timings.py"


if CONFIG.energy:

    rule collect_energy:
        input:
            lambda wildcards: [
                f"{RESULTS}/{TRAINED}/{table}".format(**training)
                for training in TRAININGS
                for table in [
                    "fp32/energy.csv",
                    *[
                        f"{job.name}/energy.csv"
                        for job in JOBS[training["dataset"], training["network"]]
                        if job.retrains
                    ],
                ]
            ],
        output:
            f"{RESULTS}/energy.csv",
        log:
            f"{LOGS}/collect_energy.log",
        benchmark:
            f"{BENCHMARKS}/collect_energy.tsv"
        localrule: True
        conda:
            ENVIRONMENT
        params:
            code=provenance.code_digest(SCRIPT.format("collect_metrics")),
        message:
            "Collecting the energy of all trainings"
        script:
            "../scripts/collect_metrics.py"
