"""Train one network with one seed, and measure it in full precision."""

from edgepress.warm import hand_over

hand_over("edgepress.sweep", "edgepress.training.consumption", "tqdm")

import torch
from tqdm import tqdm

from edgepress import metrics, networks, registry, training
from edgepress.checkpoints import Checkpoints
from edgepress.datasets import SPLITS, Prepared
from edgepress.files import FileError, write_atomically
from edgepress.logs import job
from edgepress.outputs import NetworkError
from edgepress.sweep import Bench, Trained
from edgepress.training.consumption import metered

name, seed = snakemake.wildcards.network, int(snakemake.wildcards.seed)
settings = snakemake.params.training and training.Training(**snakemake.params.training)
identity = {**dict(snakemake.wildcards.items()), "method": "fp32", "level": "w32"}
title = f"{snakemake.wildcards.dataset} {name} seed {seed}"

with (
    tqdm(total=settings and settings.max_epochs, desc=title, unit="epoch", leave=False, disable=None) as bar,
    job(snakemake.log[0], FileError, NetworkError),
    metered(snakemake.output.energy, snakemake.config.get("energy"), identity),
):

    def show(row: dict) -> None:
        """Print the epoch to the log and move the bar on the terminal."""
        print(row)
        bar.update()

    torch.set_num_threads(snakemake.params.threads)
    registry.set_own(snakemake.params.own)
    device = training.choose_device(snakemake.params.device)
    data = Prepared.load(snakemake.input.data)
    checkpoints = Checkpoints(snakemake.params.checkpoints, snakemake.params.code)
    weights, history = snakemake.params.weights, []
    if settings is None:
        network = networks.build(name, data, seed)
        networks.load_all_from(network, weights)
        print(f"nothing is trained, the network is that of {weights}")
    else:
        network, loaded = training.begun(name, data, seed, weights, snakemake.params.frozen)
        history = training.train(network.to(device), data.to(device), settings, seed, show, checkpoints, loaded)
    networks.bake(network.cpu())
    model = networks.to_bytes(network)
    trained = Trained(name, seed, network, data)
    bench = Bench(trained, SPLITS, device, fold_bn=snakemake.params.fold_bn)
    rows = bench.baseline()
    print(rows[0]["note"])

    write_atomically(snakemake.output.model, model)
    write_atomically(snakemake.output.history, metrics.to_csv(history, training.HISTORY))
    write_atomically(snakemake.output.metrics, metrics.to_csv(rows))
    checkpoints.remove()
