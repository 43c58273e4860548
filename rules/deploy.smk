# Times on a real runtime, of the first seed: they do not depend on what was trained. They differ from run to run, so
# they are no part of metrics.csv. A job that times must run alone: it asks for all cores.
TIMED = [
    f"{RESULTS}/{TRAINED}/latency.csv".format(dataset=dataset, network=network, seed=cell.seeds[0])
    for (dataset, network), cell in SETTINGS.items()
    if cell.latency
]


rule measure_latency:
    input:
        data=PREPARED,
        model=MODEL,
        peers=lambda wildcards: [
            f"{RESULTS}/{TRAINED}/{job.name}/files" for job in PEER_JOBS[wildcards.dataset, wildcards.network]
        ],
    output:
        f"{RESULTS}/{TRAINED}/latency.csv",
    log:
        f"{LOGS}/{TRAINED}/latency.log",
    benchmark:
        f"{BENCHMARKS}/{TRAINED}/latency.tsv"
    conda:
        "../envs/peers.yaml" if PEERS else "../envs/deploy.yaml"
    threads: workflow.resource_settings.cores or CONFIG.threads
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        levels=lambda wildcards: SETTINGS[wildcards.dataset, wildcards.network].latency,
        runtime=provenance.version("onnxruntime"),  # once it is installed, rows that were skipped are made again
        peers=lambda wildcards: [job.name for job in PEER_JOBS[wildcards.dataset, wildcards.network]],
        own=lambda wildcards: registry.own(
            wildcards.network, *[job.name for job in PEER_JOBS[wildcards.dataset, wildcards.network]]
        ),
        code=lambda wildcards: provenance.code_digest(
            SCRIPT.format("measure_latency"),
            registry.networks()[wildcards.network].module,
            *[registry.peers()[job.name].module for job in PEER_JOBS[wildcards.dataset, wildcards.network]],
            "edgepress.methods.activations",
            "edgepress.methods.per_channel",
        ),
    message:
        "Timing {wildcards.network} of {wildcards.dataset}"
    script:
        "../scripts/measure_latency.py"


if TIMED:

    rule collect_latency:
        input:
            TIMED,
        output:
            report(
                f"{RESULTS}/latency.csv",
                caption="../notebooks/captions/latency.rst",
                category="Tables",
                labels={"table": "latency"},
            ),
        log:
            f"{LOGS}/collect_latency.log",
        benchmark:
            f"{BENCHMARKS}/collect_latency.tsv"
        localrule: True
        conda:
            ENVIRONMENT
        params:
            code=provenance.code_digest(SCRIPT.format("collect_metrics")),
        message:
            "Collecting the times of all networks"
        script:
            "../scripts/collect_metrics.py"
