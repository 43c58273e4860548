# One job per network and precision: the costs follow from shapes alone, not from seeds or methods.
SIMULATIONS = [
    f"{RESULTS}/{dataset}/{network}/hardware/{level}.csv"
    for (dataset, network), cell in SETTINGS.items()
    for level in cell.simulated
]


rule simulate_hardware:
    input:
        data=PREPARED,
        accelerator=f"{workflow.basedir}/hardware/edge_array.yaml",
    output:
        f"{RESULTS}/{{dataset}}/{{network}}/hardware/{{level}}.csv",
    log:
        f"{LOGS}/{{dataset}}/{{network}}/hardware/{{level}}.log",
    benchmark:
        f"{BENCHMARKS}/{{dataset}}/{{network}}/hardware/{{level}}.tsv"
    wildcard_constraints:
        level=r"w\d+a\d+",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        # What was skipped for want of the simulator is made again once that is installed.
        simulator=provenance.version("zigzag-dse"),
        own=lambda wildcards: registry.own(wildcards.network),
        code=lambda wildcards: provenance.code_digest(
            SCRIPT.format("simulate_hardware"), registry.networks()[wildcards.network].module
        ),
    message:
        "Simulating {wildcards.network} of {wildcards.dataset} at {wildcards.level}"
    script:
        "../scripts/simulate_hardware.py"


if SIMULATIONS:

    rule collect_hardware:
        input:
            SIMULATIONS,
        output:
            report(
                f"{RESULTS}/hardware.csv",
                caption="../notebooks/captions/hardware.rst",
                category="Tables",
                labels={"table": "hardware"},
            ),
        log:
            f"{LOGS}/collect_hardware.log",
        benchmark:
            f"{BENCHMARKS}/collect_hardware.tsv"
        localrule: True
        conda:
            ENVIRONMENT
        params:
            code=provenance.code_digest(SCRIPT.format("collect_metrics")),
        message:
            "Collecting what inferences cost on the accelerator"
        script:
            "../scripts/collect_metrics.py"
