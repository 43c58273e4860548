"""Simulate what an inference of one network costs on an accelerator at one precision."""

from edgepress.warm import hand_over

hand_over("edgepress.networks", "edgepress.costs.hardware")

from edgepress import metrics, networks, registry
from edgepress.costs import hardware
from edgepress.datasets import Prepared
from edgepress.files import write_atomically
from edgepress.levels import precision
from edgepress.logs import job

with job(snakemake.log[0]):
    registry.set_own(snakemake.params.own)
    data = Prepared.load(snakemake.input.data)
    network = networks.build(snakemake.wildcards.network, data)
    networks.bake(network)
    accelerator = hardware.Accelerator(snakemake.input.accelerator)
    row = hardware.row(network, data.input_shape, precision(snakemake.wildcards.level), accelerator)
    place = {"dataset": snakemake.wildcards.dataset, "network": snakemake.wildcards.network}
    write_atomically(snakemake.output[0], metrics.to_csv([{**place, **row}], hardware.columns(accelerator)))
