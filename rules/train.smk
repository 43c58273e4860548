rule train_network:
    input:
        data=PREPARED,
        weights=lambda wildcards: SETTINGS[wildcards.dataset, wildcards.network].weights_of(wildcards.seed) or [],
    output:
        model=MODEL,
        history=f"{RESULTS}/{TRAINED}/fp32/history.csv",
        metrics=f"{RESULTS}/{TRAINED}/fp32/metrics.csv",
        energy=f"{RESULTS}/{TRAINED}/fp32/energy.csv" if CONFIG.energy else [],
    log:
        f"{LOGS}/{TRAINED}/train.log",
    benchmark:
        f"{BENCHMARKS}/{TRAINED}/train.tsv"
    conda:
        ENVIRONMENT
    threads: CONFIG.threads
    resources:
        **GPU,
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=240,
    params:
        training=lambda wildcards: SETTINGS[wildcards.dataset, wildcards.network].model_dump()["training"],
        weights=lambda wildcards: SETTINGS[wildcards.dataset, wildcards.network].weights_of(wildcards.seed),
        frozen=lambda wildcards: SETTINGS[wildcards.dataset, wildcards.network].frozen,
        checkpoints=f"{CHECKPOINTS}/{TRAINED}/train",
        device=CONFIG.device,
        threads=CONFIG.threads,
        fold_bn=lambda wildcards: SETTINGS[wildcards.dataset, wildcards.network].fold_bn,
        own=lambda wildcards: registry.own(wildcards.network),
        code=lambda wildcards: provenance.code_digest(
            SCRIPT.format("train_network"), registry.networks()[wildcards.network].module
        ),
    message:
        "Training {wildcards.network} on {wildcards.dataset}, seed {wildcards.seed}"
    script:
        "../scripts/train_network.py"
