# A job a family: its methods, levels and draws together cost less than one more import of torch. A job a level, too,
# where they train the network again. Networks with the same jobs share rules.
PLACES = {}
for place, jobs in JOBS.items():
    for job in jobs:
        steps = {method: SETTINGS[place].steps(method) for method in job.levels}
        PLACES.setdefault((job.name, repr((job, steps))), (job, steps, []))[2].append(place)


for number, (job, steps, places) in enumerate(PLACES.values()):

    rule:
        name:
            f"compress_{job.name}" + (f"_{number}" if places[0] != next(iter(JOBS)) else "")
        input:
            data=PREPARED,
            model=MODEL,
        output:
            metrics=[f"{RESULTS}/{TRAINED}/{table}" for table in job.tables.values()],
            packed=[f"{RESULTS}/{TRAINED}/{file}" for file in job.packed],
            energy=[f"{RESULTS}/{TRAINED}/{table}" for table in job.energy] if CONFIG.energy else [],
        log:
            f"{LOGS}/{TRAINED}/{job.name}.log",
        benchmark:
            f"{BENCHMARKS}/{TRAINED}/{job.name}.tsv"
        wildcard_constraints:
            dataset="|".join(f"{dataset}(?=/{network}/)" for dataset, network in places),
        group:
            None if job.level else "cells"
        conda:
            ENVIRONMENT
        threads: CONFIG.threads
        resources:
            **GPU,
            mem_mb=lambda wildcards, attempt: 2000 * attempt,
            runtime=240 if job.level else 60,
        params:
            levels=job.levels,
            steps=steps,
            draws=lambda wildcards, steps=steps: (
                SETTINGS[wildcards.dataset, wildcards.network].draws
                if any(registry.methods()[step].stochastic for chain in steps.values() for step in chain)
                else 1
            ),
            retraining=lambda wildcards, level=job.level: (
                SETTINGS[wildcards.dataset, wildcards.network].retraining.model_dump() if level else None
            ),
            checkpoints=f"{CHECKPOINTS}/{TRAINED}/{job.name}",
            device=CONFIG.device,
            threads=CONFIG.threads,
            fold_bn=lambda wildcards: SETTINGS[wildcards.dataset, wildcards.network].fold_bn,
            splits=lambda wildcards: SETTINGS[wildcards.dataset, wildcards.network].splits,
            own=lambda wildcards, steps=steps: registry.own(wildcards.network, *sum(steps.values(), [])),
            code=provenance.code_digest(
                SCRIPT.format("compress_network"),
                *[registry.methods()[step].module for chain in steps.values() for step in chain],
            ),
        message:
            f"Compressing {{wildcards.network}} of {{wildcards.dataset}}, seed {{wildcards.seed}}, by {job.name} methods"
        script:
            "../scripts/compress_network.py"
