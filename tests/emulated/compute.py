"""Run the ONNX files of a folder in each mode, on the CPU that this process sees, and write down what it computed.

Beside <name>.onnx lies <name>.safetensors with its ``inputs``. What comes is cpu.json, and <name>.<mode>.safetensors
with the codes at each activation, in order, and the ``outputs``. Times under emulation mean nothing, so none is taken.
"""

import json
import sys
from pathlib import Path

from safetensors.torch import load_file, save_file

from edgepress.targets import onnx_runtime as runtime


def main(folder: Path) -> None:
    layers = {}
    for path in sorted(folder.glob("*.onnx")):
        inputs, model = load_file(path.with_suffix(".safetensors"))["inputs"], path.read_bytes()
        for mode in runtime.MODES:
            codes, outputs = runtime.codes(model, mode, inputs)
            found = {str(place): values for place, values in enumerate(codes)} | {"outputs": outputs}
            save_file(found, folder / f"{path.stem}.{mode}.safetensors")
            layers[f"{path.stem} {mode}"] = runtime.layers(model, mode)
    (folder / "cpu.json").write_text(json.dumps({"instructions": runtime.instruction_set(), "layers": layers}))


main(Path(sys.argv[1]))
