"""Whole networks on an emulated Cortex-M4: exact, and within what they may take."""

import numpy as np
import pytest
import torch

from edgepress import methods, networks
from edgepress.datasets import SPLITS, Prepared
from edgepress.folding import fold_batch_norm
from edgepress.levels import Level
from edgepress.targets.c import device, exported, made
from edgepress.targets.c.reference import Reference, raw_inputs

from ..unit.eight_bit import with_statistics

pytestmark = pytest.mark.skipif(bool(device.missing()), reason=f"{device.missing()} missing: {device.INSTALL}")
BOARD = device.BOARDS["mps2-an386"]
CODE = 8000  # bytes of flash beside the packed file


@pytest.fixture(scope="module")
def resnet8():
    generator = torch.Generator().manual_seed(5)
    inputs = {split: torch.randn(64, 3, 32, 32, generator=generator) for split in SPLITS}
    data = Prepared("images", "classification", 10, inputs, {split: torch.arange(64) % 10 for split in SPLITS})
    network = with_statistics(networks.build("resnet8", data), data.inputs["train"], seed=6)
    return fold_batch_norm(network), data


def measured(given, chain, level, kernel="dsp", rows=2):
    network, data = given
    steps = [methods.create(step) for step in chain]
    stored = methods.compress(steps, network, data, level, torch.Generator().manual_seed(1))
    inputs = data.inputs["test"]
    prepared, program = made(network, stored, data.input_shape)
    files = exported(prepared, program, inputs)
    run = device.run(files, raw_inputs(program, inputs[:rows]), BOARD, kernel)
    assert np.array_equal(run.outputs, Reference(prepared, program).raw(inputs[:rows]))
    flash = device.flash(files, BOARD, kernel)
    assert flash.whole <= len(stored.to_bytes()) + CODE
    return run.instructions, program.arena.size + run.stack + program.plan.end.size


INTEGERS = ("nearest_symmetric_channel", "activations_mse")


def test_resnet8_at_each_width(resnet8):
    instructions, ram = measured(resnet8, INTEGERS, Level(bits=8, act_bits=8))
    assert instructions <= 25e6 and ram <= 40_000
    again, _ = measured(resnet8, INTEGERS, Level(bits=8, act_bits=8))
    assert again == instructions
    portable, _ = measured(resnet8, INTEGERS, Level(bits=8, act_bits=8), "portable")
    assert instructions < portable
    grid = 0
    for bits in (4, 3, 2):
        few, ram = measured(resnet8, INTEGERS, Level(bits=bits, act_bits=8))
        assert few <= 1.02 * instructions and ram <= 40_000
        grid = few if bits == 4 else grid
    table, _ = measured(resnet8, ("nearest_lloyd_max", "activations_mse"), Level(bits=4, act_bits=8))
    assert table <= 1.01 * grid


def test_zeros_are_skipped(resnet8):
    dense, _ = measured(resnet8, INTEGERS, Level(bits=4, act_bits=8))
    pruned, _ = measured(resnet8, ("magnitude", *INTEGERS), Level(bits=4, act_bits=8, sparsity=0.8))
    assert pruned < 0.8 * dense
