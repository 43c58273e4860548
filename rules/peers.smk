# One job per peer, so that what a library does to its process or memory does not affect another.
PEERS = list({job.name: 0 for jobs in PEER_JOBS.values() for job in jobs})


rule compress_by_peer:
    input:
        data=PREPARED,
        model=MODEL,
    output:
        metrics=f"{RESULTS}/{TRAINED}/{{peer}}/metrics.csv",
        files=directory(f"{RESULTS}/{TRAINED}/{{peer}}/files"),
    log:
        f"{LOGS}/{TRAINED}/{{peer}}.log",
    benchmark:
        f"{BENCHMARKS}/{TRAINED}/{{peer}}.tsv"
    wildcard_constraints:
        peer=one_of(PEERS),
    conda:
        "../envs/peers.yaml"
    threads: CONFIG.threads
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=60,
    params:
        threads=CONFIG.threads,
        fold_bn=lambda wildcards: SETTINGS[wildcards.dataset, wildcards.network].fold_bn,
        splits=lambda wildcards: SETTINGS[wildcards.dataset, wildcards.network].splits,
        own=lambda wildcards: registry.own(wildcards.network, wildcards.peer),
        # Once a package is installed, or another version of it, rows that were skipped are made again.
        versions=lambda wildcards: {
            package: provenance.version(package) for package in registry.peers()[wildcards.peer].packages
        },
        code=lambda wildcards: provenance.code_digest(
            SCRIPT.format("compress_by_peer"),
            registry.networks()[wildcards.network].module,
            registry.peers()[wildcards.peer].module,
        ),
    message:
        "Compressing {wildcards.network} of {wildcards.dataset}, seed {wildcards.seed}, by {wildcards.peer}"
    script:
        "../scripts/compress_by_peer.py"
