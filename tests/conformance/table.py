"""The conformance table: results of each method on committed networks.

``python -m tests.conformance.table`` measures it anew and writes ``reference.yaml``. What cannot be measured here, a
network whose data are in no mirror or a peer that is not installed, keeps its rows.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import yaml

from edgepress import datasets, networks, peers, registry, sources, tensor_files
from edgepress.datasets import Prepared
from edgepress.sweep import Bench, Trained, generator_for
from edgepress.training import Training

HERE = Path(__file__).parent
REFERENCE = HERE / "reference.yaml"
STUDY = HERE.parents[1] / "results" / "reference" / "study" / "fashion_mnist"
NETWORKS = {
    "digits/cnn": HERE / "digits_cnn.safetensors",
    "breast_cancer/dnn_complex": HERE / "breast_cancer_dnn_complex.safetensors",
    "fashion_mnist/resnet8": STUDY / "resnet8_seed0.safetensors",
    "fashion_mnist/ds_cnn": STUDY / "ds_cnn_seed0.safetensors",
}
AGAIN = "run `python -m tests.conformance.table`"
PEERS_ON = ("digits/cnn", "fashion_mnist/ds_cnn")
EXAMPLES = 1000  # of test, at most; drawn by seed
RETRAINING = Training(lr=0.002, batch_size=128, max_epochs=2, patience=None)
LEVELS = {"bits": ["w4", "w2"], "act_bits": ["a4"], "sparsity": ["s50"], "bits+act_bits": ["w4a4"],
          "bits+sparsity": ["w4s50"]}  # fmt: skip
CHAINS = {
    "gptq_activations": ["activations_mse", "gptq"],
    "gptq_equalized": ["activations_equalized", "gptq"],
    "gptq_adds": ["activations_mse_adds", "gptq"],
    "round_adds": ["activations_mse_adds", "nearest_symmetric_channel"],
}
# Of the networks whose data are fetched, one or two methods of a kind; the others have all.
SOME = ["nearest_uniform", "nearest_symmetric_channel", "stochastic_uniform", "gptq", "gptq_compact", "mixed",
        "multipoint_fixed", "magnitude_global", "obs_global", "channels_l1"]  # fmt: skip

Row = dict[str, Any]
Table = dict[str, dict[str, dict[str, Row]]]


def is_fetched(network: str) -> bool:
    """Whether the data of a network are files that are fetched."""
    return network.split("/")[0] in sources.load()


def why_not_here(network: str) -> str | None:
    """Why the data of a network cannot be had without asking the internet, or None."""
    dataset = network.split("/")[0]
    for file, source in sources.load().get(dataset, {}).items():
        places = [folder / place for folder in sources.mirrors() for place in (source.mirror, f"{dataset}/{file}")]
        if not any(place.exists() for place in places):
            return f"{source.mirror} is in no mirror; name a folder that has it by {sources.MIRROR_VARIABLE}"
    return None


def cells(network: str) -> dict[str, list[str]]:
    """The levels of each method, chain and peer for a network, in the order of the table."""
    entries = registry.built_in("methods")
    names = SOME if is_fetched(network) else [name for name, entry in entries.items() if entry.sweep]
    methods = {name: LEVELS[entries[name].sweep][: 1 if is_fetched(network) else None] for name in names}
    others = {name: list(entry.levels) for name, entry in registry.built_in("peers").items()}
    chains = {name: ["w4a4"] for name in CHAINS}
    return {"fp32": ["w32"], **methods, **chains, **(others if network in PEERS_ON else {})}


@functools.lru_cache(maxsize=1)
def prepared(dataset: str) -> Prepared:
    """A data set with ``EXAMPLES`` examples of test at most."""
    with tempfile.TemporaryDirectory() as raw:
        for file, source in sources.load().get(dataset, {}).items():
            sources.fetch(source, Path(raw, dataset, file), sources.mirrors())
        data = datasets.prepare(dataset, 0, raw)
    drawn = torch.randperm(len(data.inputs["test"]), generator=generator_for(dataset, "conformance"))[:EXAMPLES]
    inputs, targets = ({**part, "test": part["test"][drawn]} for part in (data.inputs, data.targets))
    return Prepared(data.name, data.task, data.outputs, inputs, targets)


@functools.cache
def bench(network: str) -> Bench:
    """What measures a committed network."""
    dataset, name = network.split("/")
    built = networks.build(name, prepared(dataset))
    networks.load_inference_state(built, tensor_files.load(NETWORKS[network])[0])
    return Bench(Trained(name, 0, built, prepared(dataset)), ["test"], torch.device("cpu"), RETRAINING)


def measure(network: str, name: str, levels: list[str]) -> dict[str, Row]:
    """What a method, chain or peer makes of a network, by level, in the order of ``levels``."""
    if name == "fp32":
        measured = [bench(network).baseline()]
    elif name in registry.built_in("peers"):
        with tempfile.TemporaryDirectory() as folder:
            measured = list(peers.sweep(bench(network), name, Path(folder)))
    else:
        measured = [result.rows for result in bench(network).sweep(name, levels, 1, CHAINS.get(name))]
    return {rows[0]["level"]: _row(rows[0]) for rows in measured}


def _row(measured: Row) -> Row:
    if measured["status"] != "ok":
        return {"status": measured["status"]}
    return {"accuracy": round(measured["accuracy"], 4), "bytes": measured["bytes"]}


def load() -> Table:
    """The committed table: network → method → level → row."""
    return yaml.safe_load(REFERENCE.read_text(encoding="utf-8")) if REFERENCE.exists() else {}


def text(table: Table) -> str:
    """The table as text, one line per row."""
    lines = ["# What each method makes of committed networks: accuracy on 1,000 examples of test at most, and bytes.",
             "# Written by `python -m tests.conformance.table`; test_conformance.py says what may differ."]  # fmt: skip
    for network, methods in table.items():
        lines.append(f"{network}:")
        for method, levels in methods.items():
            lines.append(f"  {method}:")
            for level, row in levels.items():
                lines.append(f"    {level}: {{{', '.join(f'{key}: {value}' for key, value in row.items())}}}")
    return "\n".join(lines) + "\n"


def measured_anew(known: Table) -> Iterator[tuple[str, dict[str, dict[str, Row]]]]:
    """The whole table; ``known`` gives the rows that cannot be measured here."""
    for network in NETWORKS:
        methods: dict[str, dict[str, Row]] = {}
        for name, levels in cells(network).items():
            peer = registry.built_in("peers").get(name)
            if why_not_here(network) or (peer and peer.missing):
                methods |= {name: rows} if (rows := known.get(network, {}).get(name)) else {}
            else:
                methods[name] = measure(network, name, levels)
        yield network, methods


if __name__ == "__main__":
    torch.set_num_threads(1)
    REFERENCE.write_text(text(dict(measured_anew(load()))), encoding="utf-8")
