rule train_network:
    input:
        data=PREPARED,
    output:
        model=MODEL,
        history=f"{RESULTS}/{TRAINED}/fp32/history.csv",
        metrics=f"{RESULTS}/{TRAINED}/fp32/metrics.csv",
    log:
        f"{LOGS}/{TRAINED}/train.log",
    benchmark:
        f"{BENCHMARKS}/{TRAINED}/train.tsv"
    conda:
        ENVIRONMENT
    threads: CONFIG.threads
    resources:
        mem_mb=2000,
        runtime=240,
    params:
        training=lambda wildcards: CONFIG.training_for.get(wildcards.dataset, CONFIG.training).model_dump(),
        device=CONFIG.device,
        threads=CONFIG.threads,
        splits=SPLITS,
        code=lambda wildcards: provenance.code_digest(
            SCRIPT.format("train_network"), registry.networks()[wildcards.network].module
        ),
    message:
        "Training {wildcards.network} on {wildcards.dataset}, seed {wildcards.seed}"
    script:
        "../scripts/train_network.py"
