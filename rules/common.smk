# What every rule shares: the checked config, names of files, and constraints on wildcards.
# Nothing here imports torch or pandas: a dry run takes seconds.
from edgepress import config as run_config
from edgepress import metrics, provenance, registry, reporting, sources

if not workflow.config_settings.configfiles:

    # Snakemake would merge the starter config into the one named on the command line.
    configfile: "config/config.yaml"


CONFIG_FILES = [str(path) for path in workflow.config_settings.configfiles] or ["config/config.yaml"]
try:
    for path in CONFIG_FILES:
        run_config.check_keys(path)
    CONFIG = run_config.parse(config, " + ".join(CONFIG_FILES))
except run_config.ConfigError as error:
    raise WorkflowError(str(error)) from None

RESULTS = f"results/{CONFIG.run}"
LOGS = f"logs/{CONFIG.run}"
BENCHMARKS = f"{RESULTS}/benchmarks"
MANIFEST = f"{RESULTS}/manifest.json"
ENVIRONMENT = "../envs/environment.yaml"
SCRIPT = f"{workflow.basedir}/scripts/{{}}.py"  # where the code that a job runs begins

RAW_FOLDER = "data/raw"
RAW = f"{RAW_FOLDER}/{{dataset}}/{{file}}"
PREPARED = f"data/prepared/{{dataset}}_split{CONFIG.split_seed}.safetensors"
TRAINED = "{dataset}/{network}/seed{seed}"
MODEL = f"{RESULTS}/{TRAINED}/fp32/model.safetensors"

# The files that the data sets of this run are made of; those that are embedded have none.
SOURCES = {
    dataset: files
    for dataset, files in sources.load(f"{workflow.basedir}/data/sources.yaml").items()
    if dataset in CONFIG.datasets
}

SPLITS = ["val", "test"]
FAMILIES = CONFIG.families()
TRAININGS = [
    {"dataset": dataset, "network": network, "seed": seed}
    for dataset, networks in CONFIG.networks.items()
    for network in networks
    for seed in CONFIG.seeds
    if not CONFIG.replication
]
CELLS = [
    metrics.Cell(
        **training,
        method=method,
        metrics=f"{RESULTS}/{TRAINED}/{method}/metrics.csv".format(**training),
        log=f"{LOGS}/{TRAINED}/{job}.log".format(**training),
        training=f"{RESULTS}/{TRAINED}/fp32/metrics.csv".format(**training),
    )
    for training in TRAININGS
    for job, methods in {"train": ["fp32"], **FAMILIES}.items()
    for method in methods
]


wildcard_constraints:
    dataset="|".join(CONFIG.datasets),
    network="|".join({network: 0 for networks in CONFIG.networks.values() for network in networks}),
    seed="|".join(map(str, CONFIG.seeds)),
