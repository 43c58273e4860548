#!/usr/bin/env bash
# safetensors 0.8.0, its numpy side: bfloat16 and 8-bit floats of ml_dtypes.
#
# Expected: `safetensors.numpy.load` reads everything that `safetensors.numpy.save` writes.
# Seen: arrays of ml_dtypes.bfloat16 and float8_e4m3fn are saved, in a valid file (torch reads it), and `load` of the
# same module raises KeyError ('BF16', 'F8_E4M3'). int4 and float4_e2m1fn are refused when they are saved.
# Why it matters: a script without torch can write weights in these types but not read them. Store
# the bits as uint16 or uint8 with the type in the metadata, and read each file back in the test that writes it.
#
#     float32: saved as F32, loaded as float32
#     bfloat16: saved as BF16, loading raises KeyError
#     float8_e4m3fn: saved as F8_E4M3, loading raises KeyError
#     int4: saving raises SafetensorError
#     float4_e2m1fn: saving raises SafetensorError
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet safetensors==0.8.0 ml_dtypes==0.6.0 numpy==2.4.6

venv/bin/python - <<'PYTHON'
import json
import sys

import ml_dtypes
import numpy as np
from safetensors.numpy import load, save


def show(what, seen, recorded):
    print(f"{what}: {seen}")
    if seen != recorded:
        sys.exit(f"not as recorded: {recorded}")


def there_and_back(dtype):
    try:
        file = save({"weight": np.array([-1, 0, 1], np.float32).astype(dtype)})
    except Exception as error:
        return f"saving raises {type(error).__name__}"
    header = json.loads(file[8 : 8 + int.from_bytes(file[:8], "little")])
    saved = f"saved as {header['weight']['dtype']}"
    try:
        return f"{saved}, loaded as {load(file)['weight'].dtype}"
    except Exception as error:
        return f"{saved}, loading raises {type(error).__name__}"


for dtype, recorded in {
    np.float32: "saved as F32, loaded as float32",
    ml_dtypes.bfloat16: "saved as BF16, loading raises KeyError",
    ml_dtypes.float8_e4m3fn: "saved as F8_E4M3, loading raises KeyError",
    ml_dtypes.int4: "saving raises SafetensorError",
    ml_dtypes.float4_e2m1fn: "saving raises SafetensorError",
}.items():
    show(dtype.__name__, there_and_back(dtype), recorded)
PYTHON
