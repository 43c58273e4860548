COLLECTED = [f"{RESULTS}/metrics.csv", f"{RESULTS}/tensors.csv"]
TARGETS = COLLECTED
OPTIONAL = {}
REPORT = f"{RESULTS}/report/replication.html"


# The study's networks of a data set; that of its demo notebook is one of telescope.
def study_weights(wildcards):
    demo = ["demo_model"] if wildcards.dataset == "telescope" else []
    names = [f"{wildcards.dataset}_simple", f"{wildcards.dataset}_complex", *demo]
    return [f"{CONFIG.replication.weights}/{name}.safetensors" for name in names]


# A job a data set: the study's random stream runs through all its networks and methods, in order.
rule replicate_study:
    input:
        raw=lambda wildcards: [RAW.format(dataset=wildcards.dataset, file=file) for file in SOURCES[wildcards.dataset]],
        weights=study_weights,
    output:
        metrics=f"{RESULTS}/{{dataset}}/metrics.csv",
        tensors=f"{RESULTS}/{{dataset}}/tensors.csv",
        sound=f"{RESULTS}/{{dataset}}/default.csv",
    log:
        f"{LOGS}/{{dataset}}.log",
    benchmark:
        f"{BENCHMARKS}/{{dataset}}.tsv"
    conda:
        ENVIRONMENT
    threads: CONFIG.threads
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        draws=CONFIG.replication.draws,
        threads=CONFIG.threads,
        code=provenance.code_digest(SCRIPT.format("replicate_study"), registry.networks()["dnn_simple"].module),
    message:
        "Replicating the study on {wildcards.dataset}"
    script:
        "../scripts/replicate_study.py"


rule collect_replication:
    input:
        metrics=[f"{RESULTS}/{dataset}/metrics.csv" for dataset in CONFIG.datasets],
        tensors=[f"{RESULTS}/{dataset}/tensors.csv" for dataset in CONFIG.datasets],
        sound=[f"{RESULTS}/{dataset}/default.csv" for dataset in CONFIG.datasets],
    output:
        metrics=report(
            f"{RESULTS}/metrics.csv",
            caption="../notebooks/captions/metrics.rst",
            category="Tables",
            labels={"table": "all metrics"},
        ),
        tensors=f"{RESULTS}/tensors.csv",
        sound=f"{RESULTS}/default.csv",
    log:
        f"{LOGS}/collect_replication.log",
    benchmark:
        f"{BENCHMARKS}/collect_replication.tsv"
    conda:
        ENVIRONMENT
    params:
        code=provenance.code_digest(SCRIPT.format("collect_replication")),
    message:
        "Collecting what was replicated"
    script:
        "../scripts/collect_replication.py"
