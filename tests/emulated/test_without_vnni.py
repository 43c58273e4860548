"""8-bit files on an x86-64 CPU without VNNI, which QEMU emulates: AVX2, and no AVX-512.

There ONNX Runtime's default mode saturates; its exact mode must give what integer arithmetic does. This process writes
the files and compares; the emulated one does no more than run them, since emulated code is some 20 times slower.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from edgepress.targets import onnx as export
from edgepress.targets import onnx_runtime as runtime
from edgepress.targets.integer import IntegerNetwork
from tests.unit.eight_bit import NAMES, compressed

CPU = "max"  # all that QEMU emulates; its version 7.2 knows no AVX-512, and these turn off what later ones may know
OFF = ("avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512vnni", "avx-vnni")
MINUTES = 15

pytestmark = pytest.mark.skipif(
    not shutil.which("qemu-x86_64"), reason="qemu-x86_64 is not installed: tests/emulated/qemu.sh install"
)


@pytest.fixture(scope="module")
def computed(tmp_path_factory):
    """The folder in which the emulated CPU left what it computed."""
    folder = tmp_path_factory.mktemp("emulated")
    for name in NAMES:
        network, stored, inputs = compressed(name)
        model = export.to_onnx(export.in_integers(network, stored), tuple(inputs.shape[1:]))
        (folder / f"{name}.onnx").write_bytes(model)
        save_file({"inputs": inputs}, folder / f"{name}.safetensors")
    command = ["qemu-x86_64", "-cpu", ",".join([CPU, *(f"{flag}=off" for flag in OFF)]), sys.executable]
    script = Path(__file__).with_name("compute.py")
    subprocess.run([*command, str(script), str(folder)], check=True, timeout=60 * MINUTES)
    return folder


@pytest.fixture(params=NAMES)
def network(request, computed):
    """A network's name, and for each mode how far codes and outputs are from integers, on what the file had before."""
    given, stored, inputs = compressed(request.param)
    integers, apart = IntegerNetwork(given, stored), {}
    for mode in runtime.MODES:
        found = load_file(computed / f"{request.param}.{mode}.safetensors")
        outputs = found.pop("outputs")
        theirs = {point: found[str(place)] for place, point in enumerate(stored.activations)}
        ours, expected = integers.codes(inputs, theirs), integers(inputs, theirs)
        difference = float((expected - outputs).abs().max() / (expected.max() - expected.min()))
        steps = max(int((ours[point] - theirs[point]).abs().max()) for point in ours)
        agree = float((integers(inputs).argmax(1) == outputs.argmax(1)).double().mean())
        apart[mode] = {"steps": steps, "outputs": difference, "same class": agree}
    return request.param, apart


def test_the_cpu_is_one_that_saturates(computed):
    assert json.loads((computed / "cpu.json").read_text())["instructions"] == "avx2"


def test_the_exact_mode_gives_what_integers_do(network):
    name, apart = network
    print(name, apart)
    exact = apart[runtime.EXACT]
    assert exact["steps"] <= 1 and exact["outputs"] <= 1e-5 and exact["same class"] == 1


def test_the_default_mode_saturates(network):
    """If it no longer does, what the docs say of it is to be changed."""
    assert network[1][runtime.DEFAULT]["steps"] > 10


def test_all_layers_are_computed_in_integers_in_both_modes(computed):
    layers = json.loads((computed / "cpu.json").read_text())["layers"]
    assert {place.split()[0] for place in layers} == set(NAMES)
    assert all(floating == 0 for _, floating in layers.values())
