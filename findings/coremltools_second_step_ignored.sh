#!/usr/bin/env bash
# coremltools 9.0: pruning, then a palette of 4 bits; and groups that do not divide the channels.
#
# Expected: each call compresses its input, or refuses. After pruning and a 4-bit palette a layer has at most 16 distinct
# values.
# Seen: the second call returns the pruned network unchanged, in float, with thousands of distinct values and no error.
# Only `joint_compression=True` applies it (16 values). A palette for groups of 5 channels of 32, or scales for blocks of
# 24 inputs of 32, also leave the layer in float32: the log says "Skipped this op", and the call succeeds.
# Why it matters: the shipped file is several times larger than intended. Check the operations of the result.
#
#     pruned, then 4 bits: ['constexpr_sparse_to_dense', 'conv'], more than 16 values: True
#     with joint_compression: ['constexpr_lut_to_sparse', 'constexpr_sparse_to_dense', 'conv'], more than 16 values: False
#     palette a group of 5 of 32 channels: ['conv'], more than 16 values: True
#     int4 with blocks of 24 of 32 inputs: ['conv'], more than 16 values: True
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


weight = np.random.default_rng(0).standard_normal((32, 32, 3, 3)).astype(np.float32)


def network():
    @Builder.program(input_specs=[Builder.TensorSpec(shape=(1, 32, 8, 8))], opset_version=ct.target.iOS18)
    def program(x):
        return Builder.conv(x=x, weight=weight, pad_type="same")

    float32 = ct.precision.FLOAT32
    return ct.convert(program, minimum_deployment_target=ct.target.iOS18, compute_precision=float32)


def asked(config):
    return cto.OptimizationConfig(global_config=config)


def found(model):
    kinds = [operation.op_type for operation in model._mil_program.functions["main"].operations]
    operations = cto.decompress_weights(model)._mil_program.functions["main"].operations
    values = [operation.outputs[0].val for operation in operations if operation.op_type == "const"]
    (dense,) = [value for value in values if np.shape(value) == weight.shape]
    return f"{[kind for kind in kinds if kind != 'const']}, more than 16 values: {len(np.unique(dense)) > 16}"


palette = cto.OpPalettizerConfig(mode="kmeans", nbits=4, weight_threshold=0)
pruning = cto.OpMagnitudePrunerConfig(target_sparsity=0.5, weight_threshold=0)
pruned = cto.prune_weights(network(), asked(pruning))
show(
    "pruned, then 4 bits",
    found(cto.palettize_weights(pruned, asked(palette))),
    "['constexpr_sparse_to_dense', 'conv'], more than 16 values: True",
)
show(
    "with joint_compression",
    found(cto.palettize_weights(pruned, asked(palette), joint_compression=True)),
    "['constexpr_lut_to_sparse', 'constexpr_sparse_to_dense', 'conv'], more than 16 values: False",
)
grouped = cto.OpPalettizerConfig(
    mode="kmeans", nbits=4, granularity="per_grouped_channel", group_size=5, weight_threshold=0
)
show(
    "palette a group of 5 of 32 channels",
    found(cto.palettize_weights(network(), asked(grouped))),
    "['conv'], more than 16 values: True",
)
blocks = cto.OpLinearQuantizerConfig(
    mode="linear_symmetric", dtype="int4", granularity="per_block", block_size=24, weight_threshold=0
)
show(
    "int4 with blocks of 24 of 32 inputs",
    found(cto.linear_quantize_weights(network(), asked(blocks))),
    "['conv'], more than 16 values: True",
)
PYTHON
