# Ways to train, side by side. Seconds differ from run to run, so they are no part of metrics.csv; a job that is timed
# must run alone: it asks for all cores.
FOLLOWED = [
    f"{RESULTS}/{TRAINED}/recipes/{recipe}.csv".format(**training)
    for training in TRAININGS
    for recipe in SETTINGS[training["dataset"], training["network"]].recipes
]


rule follow_recipe:
    input:
        data=PREPARED,
        weights=lambda wildcards: SETTINGS[wildcards.dataset, wildcards.network].weights_of(wildcards.seed) or [],
    output:
        f"{RESULTS}/{TRAINED}/recipes/{{recipe}}.csv",
    log:
        f"{LOGS}/{TRAINED}/recipes/{{recipe}}.log",
    benchmark:
        f"{BENCHMARKS}/{TRAINED}/recipes/{{recipe}}.tsv"
    wildcard_constraints:
        recipe=one_of(RECIPES),
    conda:
        ENVIRONMENT
    threads: workflow.resource_settings.cores or CONFIG.threads
    resources:
        **GPU,
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=240,
    params:
        training=lambda wildcards: SETTINGS[wildcards.dataset, wildcards.network].trained_by(wildcards.recipe),
        weights=lambda wildcards: SETTINGS[wildcards.dataset, wildcards.network].weights_of(wildcards.seed),
        frozen=lambda wildcards: SETTINGS[wildcards.dataset, wildcards.network].frozen,
        energy=bool(CONFIG.energy),  # a training whose energy is asked for later is another one
        device=CONFIG.device,
        threads=CONFIG.threads,
        own=lambda wildcards: registry.own(wildcards.network),
        code=lambda wildcards: provenance.code_digest(
            SCRIPT.format("follow_recipe"), registry.networks()[wildcards.network].module
        ),
    message:
        "Training {wildcards.network} on {wildcards.dataset}, seed {wildcards.seed}, by the recipe {wildcards.recipe}"
    script:
        "../scripts/follow_recipe.py"


if FOLLOWED:

    rule collect_recipes:
        input:
            lambda wildcards: FOLLOWED,
        output:
            report(
                f"{RESULTS}/recipes.csv",
                caption="../notebooks/captions/recipes.rst",
                category="Tables",
                labels={"table": "recipes"},
            ),
        log:
            f"{LOGS}/collect_recipes.log",
        benchmark:
            f"{BENCHMARKS}/collect_recipes.tsv"
        localrule: True
        conda:
            ENVIRONMENT
        params:
            code=provenance.code_digest(SCRIPT.format("collect_metrics")),
        message:
            "Collecting what trainings by each recipe cost"
        script:
            "../scripts/collect_metrics.py"
