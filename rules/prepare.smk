rule prepare_dataset:
    output:
        PREPARED,
    log:
        "logs/prepare/{dataset}.log",
    benchmark:
        f"{BENCHMARKS}/{{dataset}}/prepare.tsv"
    params:
        split_seed=CONFIG.split_seed,
        code=lambda wildcards: provenance.code_digest(
            "edgepress.datasets", registry.datasets()[wildcards.dataset].module
        ),
    message:
        "Preparing {wildcards.dataset}"
    conda:
        ENVIRONMENT
    script:
        "../scripts/prepare_dataset.py"
