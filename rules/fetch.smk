# One job per file. Its hash pins the content, so the locations of the file are not a parameter.
rule fetch:
    input:
        [RAW.format(dataset=dataset, file=file) for dataset, files in SOURCES.items() for file in files],


rule fetch_file:
    output:
        update(RAW),  # left in place, so that a file that is there is not fetched again
    log:
        "logs/fetch/{dataset}/{file}.log",
    benchmark:
        f"{BENCHMARKS}/{{dataset}}/fetch/{{file}}.tsv"
    wildcard_constraints:
        dataset=one_of(SOURCES),
        file=one_of(file for files in SOURCES.values() for file in files),
    localrule: True
    conda:
        ENVIRONMENT
    message:
        "Fetching {wildcards.file} of {wildcards.dataset}"
    script:
        "../scripts/fetch_file.py"
