#!/usr/bin/env bash
# coremltools 9.0: a k-means palette with more entries than the layer has distinct weights.
#
# Expected: with 256 entries for the three distinct values of a ternary layer, k-means has an error of 0.
# Seen: with per-channel palettes some weights are off by 3.7 times the largest weight of the layer, without a warning.
# With 2 and 4 bits the error is 6e-8, so more bits are worse. `mode="uniform"` has no entry for 0: at 2 bits each zero
# becomes a third of the largest weight. `mode="unique"` is exact.
# (k-means needs scikit-learn; coremltools warns that it does not know this version.)
# Why it matters: pruned layers and layers already on a grid have few distinct weights. Use "unique" for an existing
# codebook, and compare the decompressed weights.
#
#     kmeans, 4 bits, a palette a channel: largest error 0.0000
#     kmeans, 8 bits, a palette a channel: largest error 0.2322
#     kmeans, 8 bits, a palette a channel: error exceeds the largest weight: True
#     uniform, 2 bits: a weight of 0 becomes 0.0208 (largest weight 0.0625)
#     unique: largest error 0.0000
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet coremltools==9.0 scikit-learn==1.9.1 numpy==2.4.6

venv/bin/python - <<'PYTHON'
import logging
import sys
import warnings

warnings.simplefilter("ignore")
logging.disable()
import coremltools as ct
import coremltools.optimize.coreml as cto
import numpy as np
from coremltools.converters.mil import Builder


def show(what, seen, recorded):
    print(f"{what}: {seen}")
    if seen != recorded:
        sys.exit(f"not as recorded: {recorded}")


ternary = np.random.default_rng(0).choice([-1, 0, 1], size=(32, 32, 3, 3)).astype(np.float32) * 0.0625


def network():
    @Builder.program(input_specs=[Builder.TensorSpec(shape=(1, 32, 8, 8))], opset_version=ct.target.iOS18)
    def program(x):
        return Builder.conv(x=x, weight=ternary, pad_type="same")

    float32 = ct.precision.FLOAT32
    return ct.convert(program, minimum_deployment_target=ct.target.iOS18, compute_precision=float32)


def decompressed(mode, bits):
    config = cto.OpPalettizerConfig(
        mode=mode, nbits=bits, granularity="per_grouped_channel", group_size=1, weight_threshold=0
    )
    palettized = cto.palettize_weights(network(), cto.OptimizationConfig(global_config=config))
    operations = cto.decompress_weights(palettized)._mil_program.functions["main"].operations
    values = [operation.outputs[0].val for operation in operations if operation.op_type == "const"]
    (weight,) = [value for value in values if np.shape(value) == ternary.shape]
    return weight


def error(mode, bits):
    return float(abs(decompressed(mode, bits) - ternary).max())


show("kmeans, 4 bits, a palette a channel", f"largest error {error('kmeans', 4):.4f}", "largest error 0.0000")
many = error("kmeans", 8)
print(f"kmeans, 8 bits, a palette a channel: largest error {many:.4f}")
show(
    "kmeans, 8 bits, a palette a channel",
    f"error exceeds the largest weight: {many > 0.0625}",
    "error exceeds the largest weight: True",
)
zero = decompressed("uniform", 2)[ternary == 0].max()
show(
    "uniform, 2 bits",
    f"a weight of 0 becomes {zero:.4f} (largest weight 0.0625)",
    "a weight of 0 becomes 0.0208 (largest weight 0.0625)",
)
show("unique", f"largest error {error('unique', None):.4f}", "largest error 0.0000")
PYTHON
