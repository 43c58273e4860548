rule prepare_dataset:
    output:
        PREPARED,
    log:
        "logs/prepare/{dataset}.log",
    benchmark:
        f"{BENCHMARKS}/{{dataset}}/prepare.tsv"
    conda:
        ENVIRONMENT
    params:
        split_seed=CONFIG.split_seed,
        code=lambda wildcards: provenance.code_digest(
            "edgepress.datasets", registry.datasets()[wildcards.dataset].module
        ),
    message:
        "Preparing {wildcards.dataset}"
    script:
        "../scripts/prepare_dataset.py"
