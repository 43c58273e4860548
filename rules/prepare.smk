rule prepare_dataset:
    input:
        raw=lambda wildcards: [
            RAW.format(dataset=wildcards.dataset, file=file) for file in SOURCES.get(wildcards.dataset, ())
        ],
        own=lambda wildcards: [ancient(file) for file in registry.datasets()[wildcards.dataset].files],
    output:
        PREPARED,
    log:
        "logs/prepare/{dataset}.log",
    benchmark:
        f"{BENCHMARKS}/{{dataset}}/prepare.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        split_seed=CONFIG.split_seed,
        raw=RAW_FOLDER,
        sha256=lambda wildcards: [source.sha256 for source in SOURCES.get(wildcards.dataset, {}).values()],
        own=lambda wildcards: registry.own(wildcards.dataset),
        content=lambda wildcards: list(map(provenance.content_digest, registry.datasets()[wildcards.dataset].files)),
        code=lambda wildcards: provenance.code_digest(
            SCRIPT.format("prepare_dataset"), registry.datasets()[wildcards.dataset].module
        ),
    message:
        "Preparing {wildcards.dataset}"
    script:
        "../scripts/prepare_dataset.py"
