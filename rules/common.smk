# What the rules share: the checked config, names of files, and constraints on wildcards.
# Nothing here imports torch or pandas: a dry run takes seconds.
import functools
import json
import os
import re
import shutil
import subprocess
import sys

from edgepress import config as run_config
from edgepress import config_text, logs, metrics, provenance, registry, reporting, runs, sources, warm
from edgepress.recipes import RECIPES
from snakemake.utils import update_config

if not workflow.config_settings.configfiles:

    # Snakemake would merge the starter config into the one named on the command line.
    configfile: "config/config.yaml"


# Snakemake would import pandas to compare parameters, which takes half a second; ours are plain data.
sys.modules.setdefault("pandas", None)
provenance.remember(".snakemake/edgepress_hashes.json")

CONFIG_FILES = [str(path) for path in workflow.config_settings.configfiles] or ["config/config.yaml"]
COMMAND_LINE = config_text.typed(workflow.config_settings.config)
update_config(config, COMMAND_LINE)
try:
    for path in CONFIG_FILES:
        config_text.check_keys(path)
    source = " + ".join([*CONFIG_FILES, *["--config"] * bool(COMMAND_LINE)])
    CONFIG = run_config.parse(config, source)
    run_config.check_paths(CONFIG, source)
except config_text.ConfigError as error:
    sys.exit(f"Error: {error}")  # the sentence alone: an error that is raised brings a traceback along
if workflow.is_main_process:
    for name in CONFIG.idle_overrides:
        logger.warning(f"'overrides' has {name!r}, which this run has not; it changes nothing")

RESULTS = f"results/{CONFIG.run}"
LOGS = f"logs/{CONFIG.run}"
CHECKPOINTS = f"checkpoints/{CONFIG.run}"  # of trainings that are not done: no output, so Snakemake leaves them
BENCHMARKS = f"{RESULTS}/benchmarks"
MANIFEST = f"{RESULTS}/manifest.json"
ENVIRONMENT = "../envs/environment.yaml"
GPU = {"gpu": 1} if CONFIG.device == "cuda" else {}  # what jobs that compute on the device ask a cluster for
SCRIPT = f"{workflow.basedir}/scripts/{{}}.py"  # where the code that a job runs begins

RAW_FOLDER = "data/raw"
RAW = f"{RAW_FOLDER}/{{dataset}}/{{file}}"
PREPARED = f"data/prepared/{{dataset}}_split{CONFIG.split_seed}.safetensors"
TRAINED = "{dataset}/{network}/seed{seed}"
MODEL = f"{RESULTS}/{TRAINED}/fp32/model.safetensors"

# The files that the data sets of this run are made of; those that are embedded have none.
SOURCES = {dataset: files for dataset, files in sources.load().items() if dataset in CONFIG.datasets}

# What is done to each network, and the jobs that compress it.
SETTINGS = {} if CONFIG.replication else CONFIG.cells()
JOBS = {place: cell.jobs() for place, cell in SETTINGS.items()}
PEER_JOBS = {place: cell.peer_jobs() for place, cell in SETTINGS.items()}
TRAININGS = [
    {"dataset": dataset, "network": network, "seed": seed}
    for (dataset, network), cell in SETTINGS.items()
    for seed in cell.seeds
]
WAY_TO_DATA = {
    dataset: [
        *[
            metrics.Step(RAW.format(dataset=dataset, file=file), f"logs/fetch/{dataset}/{file}.log", f"fetching {file}")
            for file in SOURCES.get(dataset, ())
        ],
        metrics.Step(PREPARED.format(dataset=dataset), f"logs/prepare/{dataset}.log", "preparing its data set"),
    ]
    for dataset in CONFIG.datasets
}
CELLS = [
    cell
    for training in TRAININGS
    for cell in metrics.cells(
        training,
        JOBS[training["dataset"], training["network"]] + PEER_JOBS[training["dataset"], training["network"]],
        results=f"{RESULTS}/{TRAINED}".format(**training),
        log_folder=f"{LOGS}/{TRAINED}".format(**training),
        data=WAY_TO_DATA[training["dataset"]],
    )
]


# The metrics of a run that failed lack cells: they are no result, and the next run makes them again.
if workflow.is_main_process and not workflow.dryrun and provenance.ended(MANIFEST) == "failed":
    if any(not Path(cell.metrics).exists() for cell in CELLS):
        Path(f"{RESULTS}/metrics.csv").unlink(missing_ok=True)


def one_of(names):
    """The expression of a wildcard that is one of ``names``; of none, it matches nothing."""
    return "|".join(dict.fromkeys(map(re.escape, names))) or "(?!)"


def job_of(wildcards):
    """What a job that compresses is to do; a level that is asked for by its file is a job of its own."""
    place = wildcards.dataset, wildcards.network
    if "job" in wildcards.keys():
        found = [job for job in JOBS[place] if job.name == wildcards.job]
    else:
        found = [job.alone(wildcards.method, wildcards.level) for job in JOBS[place]]
    if not any(found):
        raise WorkflowError(f"{'/'.join(wildcards)}: the config asks for no such method or level of this network")
    return next(filter(None, found))


@functools.cache
def settings_of(dataset, network, method):
    """What decides the results of one method, beside what all methods share."""
    cell = SETTINGS[dataset, network]
    entries = [registry.methods()[step] for step in cell.steps(method)]
    return {
        "steps": cell.steps(method),
        "draws": cell.draws if any(entry.stochastic for entry in entries) else 1,
        "own": registry.own(network, *cell.steps(method)),
        "code": provenance.code_digest(SCRIPT.format("compress_network"), *[entry.module for entry in entries]),
    }


def own_of(wildcards, methods):
    """What is the user's own of the network of a job and of its methods."""
    cell = SETTINGS[wildcards.dataset, wildcards.network]
    return registry.own(wildcards.network, *[step for method in methods for step in cell.steps(method)])


def shared_settings(wildcards, retrains):
    """What decides the results of all methods of a job."""
    cell = SETTINGS[wildcards.dataset, wildcards.network]
    return {
        "device": CONFIG.device,
        "threads": CONFIG.threads,
        "fold_bn": cell.fold_bn,
        "splits": cell.splits,
        "retraining": cell.retraining.model_dump() if retrains else None,
    }


WARM = []  # the server that jobs on this machine are forks of, once the run has begun


def end_warm():
    """End the server, so that what it took counts as taken by this process."""
    while WARM:
        WARM.pop().end()


def report_is_asked():
    """Whether the report is among what this call of Snakemake is to make."""
    targets = set(workflow.dag_settings.targets)
    return not targets or not targets.isdisjoint({"all", "report_index", REPORT})


def report_what_is_there():
    """Render the report of a run that failed in part, in a process of its own, and say whether there is one."""
    shown = json.dumps({name: dict(datasets) for name, datasets in SHOWN.items()})
    words = ["-m", "edgepress.reporting.partial", RESULTS, f"{workflow.basedir}/notebooks", shown]
    Path(REPORT).unlink(missing_ok=True)
    with Path(f"{LOGS}/report_partial.log").open("w") as log:
        subprocess.run([sys.executable, *words], stdout=log, stderr=log, check=False)
    return Path(REPORT).exists()


# The user's files that the run is made from: data, and weights to begin with.
OWN_FILES = [
    *[file for dataset in CONFIG.datasets for file in registry.datasets()[dataset].files],
    *[file for (_, _), cell in SETTINGS.items() for seed in cell.seeds if (file := cell.weights_of(seed))],
]


# What locks a folder in which no run lives is left from one that was killed.
if workflow.is_main_process and runs.begin(".snakemake/edgepress"):
    for lock in Path(".snakemake/locks").glob("*.lock"):
        lock.unlink()


os.environ.update({**runs.KEEP_MEMORY, **os.environ})


wildcard_constraints:
    dataset=one_of(CONFIG.datasets),
    network=one_of(network for networks in CONFIG.networks.values() for network in networks),
    seed=one_of(str(training["seed"]) for training in TRAININGS),
