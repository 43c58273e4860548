"""A synthetic run: files in the format of a real one, with values whose results are known."""

import itertools
import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

from edgepress import metrics
from edgepress.codebooks import symmetric
from edgepress.encodings import PerChannel
from edgepress.levels import Level
from edgepress.packing import Compressed
from edgepress.reporting import Notebook

SEEDS = (0, 1)
STEPS = {"round_activations": "activations_mse+nearest_symmetric_channel"}  # of chains
TIMED = (("w8a8", "default"), ("w32", ""), ("w8a8", "exact"))  # levels and modes, the faster the earlier
PLACES = {"digits": ("net", "small"), "amounts": ("net",)}
# Of each method its family, how much of the quality its levels lose, and the levels.
METHODS = {
    "nearest_uniform": ("nearest", 1.0, (Level(bits=8), Level(bits=4), Level(bits=2))),
    "nearest_normal": ("nearest", 2.0, (Level(bits=8), Level(bits=4), Level(bits=2))),
    "magnitude": ("pruning", 0.5, (Level(sparsity=0.5), Level(sparsity=0.9))),
    "random": ("pruning", 8.0, (Level(sparsity=0.5), Level(sparsity=0.9))),
    "lsq": ("qat", 0.2, (Level(bits=4), Level(bits=2))),
    "round_activations": ("activations_then_rounding_channel", 1.5, (Level(bits=8, act_bits=8),)),
}
NOTEBOOK = Notebook("size", "size.ipynb", "Size", "Quality against bytes.", 1, ("pareto",), ("smallest",))


def rows():
    """The rows of metrics.csv."""
    methods = {"fp32": ("fp32", 0.0, (Level(bits=32),)), **METHODS}
    for (dataset, networks), seed, split in itertools.product(PLACES.items(), SEEDS, ("val", "test")):
        for network, (method, (family, loss, levels)) in itertools.product(networks, methods.items()):
            for level in levels:
                kept = (level.bits or 32) / 32 * (1 - (level.sparsity or 0))
                lost = loss * (1 / kept) ** 0.5 / 2 + seed + (split == "test") * 0.3
                size = round((4000 if network == "net" else 1000) * (0.1 + 0.9 * kept))
                yield {
                    **{"dataset": dataset, "network": network, "seed": seed, "method": method, "family": family},
                    **{
                        "steps": STEPS.get(method, method),
                        "level": level,
                        "bits": level.bits,
                        "act_bits": level.act_bits,
                        "draw": 0,
                        "split": split,
                    },
                    **{"sparsity_target": level.sparsity, "sparsity": level.sparsity or 0, "status": "ok"},
                    **({"accuracy": 0.95 - lost / 100, "loss": 0.1 + lost / 10} if dataset == "digits" else {}),
                    **({"mse": np.exp(lost), "loss": np.exp(lost), "mae": lost + 1} if dataset == "amounts" else {}),
                    **{"bytes": size, "bits_per_weight": size / 125, "compression_ratio": 4000 / size},
                    **{"macs": 1000, "bops": 1000 * (level.bits or 32) * (level.act_bits or 32)},
                }


def packed(level: Level) -> bytes:
    """A file of one layer, whose weights are multiples of a step."""
    weights = torch.ones(2, 3)
    return Compressed({"weight": PerChannel.of(weights, [symmetric(row, level.bits) for row in weights])}).to_bytes()


def write(folder: Path) -> Path:
    """A run of two data sets; of the second, no cost but the size is known."""
    (folder / "figures").mkdir(parents=True)
    plt.imsave(folder / "figures/pareto.png", np.random.default_rng(0).random((300, 700, 3)))
    (folder / "metrics.csv").write_text(metrics.to_csv(rows()))
    ok = {"dataset": "digits", "status": "ok", "source": "measured", "reason": ""}
    timed = ok | dict.fromkeys(("peer", "instructions", "products", "accuracy", "r2", "max_code_difference"), "")
    networks = PLACES["digits"]
    times = [
        timed | {"network": network, "level": level, "mode": mode, "batch": batch, "median_ms": batch * (1 + place)}
        for network, (place, (level, mode)), batch in itertools.product(networks, enumerate(TIMED), (1, 128))
    ]
    (folder / "latency.csv").write_text(metrics.to_csv(times, times[0]))
    energies = [
        ok | {"network": network, "level": f"w{bits}a{acts}", "energy_uj": bits * acts / 100, "cycles": bits * acts}
        for network, (bits, acts) in itertools.product(networks, ((32, 32), (8, 8)))
    ]
    (folder / "hardware.csv").write_text(metrics.to_csv(energies, energies[0]))
    for dataset, place in PLACES.items():
        for network, seed, (method, (_, _, levels)) in itertools.product(place, SEEDS, METHODS.items()):
            cell = folder / f"{dataset}/{network}/seed{seed}/{method}"
            cell.mkdir(parents=True)
            for level in levels:
                (cell / f"{level}.safetensors").write_bytes(packed(level) if level.act_bits else b"")
                (cell / (f"metrics_{level}.csv" if method == "lsq" else "metrics.csv")).touch()
    manifest = {"run": "generated", "commit": "0", "config": {"run": "generated"}, "config_sha256": "0"}
    manifest |= {"seeds": SEEDS, "packages": {"edgepress": "1"}, "own": {}}
    machine = {"cpu": "none", "cores": 1, "system": "none", "python": "3"}
    (folder / "manifest.json").write_text(json.dumps(manifest | {"machine": machine}))
    return folder
