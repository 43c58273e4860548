"""Statements of the top-level documents hold."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from edgepress import datasets, networks

REPOSITORY = Path(__file__).parents[2]
DOCUMENTS = [
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "config/README.md",
    "results/README.md",
    "data/README.md",
    *[str(path.relative_to(REPOSITORY)) for path in sorted((REPOSITORY / "docs").rglob("*.md"))],
]
DOCUMENTS = [document for document in DOCUMENTS if "generated" not in document]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_within_the_repository_resolve(document):
    path = REPOSITORY / document
    for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), f"{document} links to {target}"


def test_the_examples_of_own_things_work(tmp_path, monkeypatch):
    from edgepress import config, provenance, registry

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    provenance.forget()
    text = (REPOSITORY / "docs/own.md").read_text(encoding="utf-8")
    for name, code in re.findall(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", text, re.S):
        Path(name).write_text(code, encoding="utf-8")
    for script in ("make_data.py", "train.py"):
        done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"4[234]\d of 450 right\n", done.stdout)
    for name in ("wine.yaml", "tiny.yaml"):
        run = config.parse(yaml.safe_load(Path(name).read_text(encoding="utf-8")), name)
        config.check_paths(run)
        assert datasets.prepare(*run.networks, split_seed=0).task == "classification"
    network = networks.construct(registry.networks()["tiny"])
    networks.load_all_from(network, "tiny.safetensors")
    registry.set_own({})
    provenance.forget()
    del sys.modules["nets"]


def test_the_method_in_own_md_works():
    import torch
    from torch import nn

    from edgepress.levels import Level
    from edgepress.packing import Compressed

    text = (REPOSITORY / "docs/own.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n# my_method.py\n(.*?)```", text, re.S)
    names: dict = {}
    exec(code, names)
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    method = names["Signs"]()
    assert method.skip(network, None, Level(bits=2)) == "signs are 1 bit"
    stored = method.compress(network, None, Level(bits=1), torch.Generator())
    state = Compressed.from_bytes(stored.to_bytes()).state_dict()
    scale = network[0].weight.abs().mean()
    assert torch.allclose(state["0.weight"], network[0].weight.sign() * scale)
    assert torch.equal(state["0.bias"], network[0].bias)
