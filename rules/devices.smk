# Microcontrollers: the packed files of the levels that the config names, of each network's first seed.
DEPLOYED = [
    f"{RESULTS}/{TRAINED}/devices.csv".format(dataset=dataset, network=network, seed=cell.seeds[0])
    for (dataset, network), cell in SETTINGS.items()
    if cell.deployed
]


rule measure_devices:
    input:
        # What a level is compressed to lies beside its table.
        lambda wildcards: [
            cell.metrics
            for cell in CELLS
            if (cell.dataset, cell.network, f"{cell.seed}") == (wildcards.dataset, wildcards.network, wildcards.seed)
        ],
        data=PREPARED,
        model=MODEL,
    output:
        f"{RESULTS}/{TRAINED}/devices.csv",
    log:
        f"{LOGS}/{TRAINED}/devices.log",
    benchmark:
        f"{BENCHMARKS}/{TRAINED}/devices.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        levels=lambda wildcards: SETTINGS[wildcards.dataset, wildcards.network].deployed,
        # What was skipped for want of compiler or emulator is made again once that is installed.
        tools=[shutil.which(name) is not None for name in ("arm-none-eabi-gcc", "qemu-system-arm", "gcc")],
        own=lambda wildcards: registry.own(wildcards.network),
        code=lambda wildcards: provenance.code_digest(
            SCRIPT.format("measure_devices"), registry.networks()[wildcards.network].module
        ),
    message:
        "Running {wildcards.network} of {wildcards.dataset} on emulated microcontrollers"
    script:
        "../scripts/measure_devices.py"


if DEPLOYED:

    rule collect_devices:
        input:
            DEPLOYED,
        output:
            report(
                f"{RESULTS}/devices.csv",
                caption="../notebooks/captions/devices.rst",
                category="Tables",
                labels={"table": "devices"},
            ),
        log:
            f"{LOGS}/collect_devices.log",
        benchmark:
            f"{BENCHMARKS}/collect_devices.tsv"
        localrule: True
        conda:
            ENVIRONMENT
        params:
            code=provenance.code_digest(SCRIPT.format("collect_metrics")),
        message:
            "Collecting what networks take on microcontrollers"
        script:
            "../scripts/collect_metrics.py"
