"""Data never executes: the guarantees of docs/security.md, checked on the source."""

import ast
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
SOURCES = sorted([*(REPOSITORY / "src").rglob("*.py"), *(REPOSITORY / "scripts").glob("*.py")])
RULES = [REPOSITORY / "Snakefile", *sorted((REPOSITORY / "rules").glob("*.smk"))]

MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
CALLS = {"eval", "exec", "compile", "__import__", "torch.load", "torch.hub.load", "yaml.load", "yaml.unsafe_load"}
CALLS |= {"yaml.full_load", "read_pickle", "pd.read_pickle", "os.system"}


def unsafe(source: str) -> list[str]:
    """What a piece of Python uses that can run code from data, or a shell."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            named = [getattr(node, "module", None) or "", *[alias.name for alias in node.names]]
            found += [name for name in named if name.split(".")[0] in MODULES]
            found += [name for name in named if f"{named[0]}.{name}" in CALLS]
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            found += [name] * (name in CALLS)
            options = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            found += [f"{name}: {option}" for option in ("allow_pickle", "shell") if options.get(option) == "True"]
            found += [name] * name.endswith((".extractall", ".unpack_archive"))
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_no_source_runs_code_from_data(path):
    assert unsafe(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.name)
def test_no_rule_does(path):
    text = path.read_text(encoding="utf-8")
    assert [word for word in ("pickle", "import torch", "eval(", "exec(", "shell:", "os.system") if word in text] == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import torch; torch.load('x')",
        "from torch import load",
        "import joblib.externals",
        "from pickle import loads",
        "eval('1')",
        "def f():\n    exec(text)",
        "yaml.load(text, Loader=yaml.Loader)",
        "np.load(path, allow_pickle=True)",
        "subprocess.run(line, shell=True)",
        "tar.extractall(folder)",
    ],
)
def test_what_is_looked_for_is_found(source):
    assert unsafe(source)


@pytest.mark.parametrize(
    "source", ["network.eval()", "yaml.safe_load(text)", "ast.literal_eval(text)", "re.compile('a')"]
)
def test_what_is_harmless_is_not(source):
    assert unsafe(source) == []
