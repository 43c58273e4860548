"""What the documents at the top level say holds."""

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
DOCUMENTS = [
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "config/README.md",
    "results/README.md",
    "data/README.md",
    "docs/cluster.md",
    "docs/scaling.md",
    "docs/security.md",
]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_within_the_repository_resolve(document):
    path = REPOSITORY / document
    for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), f"{document} links to {target}"


def test_the_method_in_the_readme_works():
    import torch
    from torch import nn

    from edgepress.levels import Level
    from edgepress.packing import Compressed

    (code,) = (c for c in re.findall(r"```python\n(.*?)```", README, re.S) if "class Signs" in c)
    names: dict = {}
    exec(re.sub(r"^  ", "", code, flags=re.M), names)
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    method = names["Signs"]()
    assert method.skip(network, None, Level(bits=2)) == "signs are 1 bit"
    stored = method.compress(network, None, Level(bits=1), torch.Generator())
    state = Compressed.from_bytes(stored.to_bytes()).state_dict()
    scale = network[0].weight.abs().mean()
    assert torch.allclose(state["0.weight"], network[0].weight.sign() * scale)
    assert torch.equal(state["0.bias"], network[0].bias)


README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
