# A job a family: its methods, levels and draws together cost less than one more import of torch.
for family, methods in FAMILIES.items():

    rule:
        name:
            f"compress_{family}"
        input:
            data=PREPARED,
            model=MODEL,
        output:
            metrics=[f"{RESULTS}/{TRAINED}/{method}/metrics.csv" for method in methods],
            packed=[
                f"{RESULTS}/{TRAINED}/{method}/{level}.safetensors"
                for method in methods
                for level in CONFIG.levels(method)
            ],
        log:
            f"{LOGS}/{TRAINED}/{family}.log",
        benchmark:
            f"{BENCHMARKS}/{TRAINED}/{family}.tsv"
        conda:
            ENVIRONMENT
        threads: CONFIG.threads
        resources:
            mem_mb=2000,
            runtime=60,
        params:
            levels={method: CONFIG.levels(method) for method in methods},
            steps={method: CONFIG.steps(method) for method in methods},
            draws=CONFIG.draws,
            device=CONFIG.device,
            threads=CONFIG.threads,
            splits=SPLITS,
            code=provenance.code_digest(
                SCRIPT.format("compress_network"),
                *[registry.methods()[step].module for method in methods for step in CONFIG.steps(method)],
            ),
        message:
            f"Compressing {{wildcards.network}} of {{wildcards.dataset}}, seed {{wildcards.seed}}, by {family} methods"
        script:
            "../scripts/compress_network.py"
