import ast
import graphlib
import subprocess
import sys
from collections import defaultdict

import pytest

from edgepress import registry

LIGHT = ["registry", "config", "config_text", "metrics", "provenance", "levels", "files", "logs", "reporting"]


@pytest.mark.parametrize("module", LIGHT)
def test_what_the_dag_imports_is_light(module):
    heavy = "{'torch', 'pandas', 'numpy', 'scipy', 'sklearn', 'seaborn', 'matplotlib'}"
    code = f"import sys, edgepress.{module}; print(sorted({heavy} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_names_and_levels_are_known_without_torch():
    code = (
        "import sys; from edgepress import config, provenance, registry; asked = config.parse({});"
        "[asked.levels(name) for name in asked.methods]; asked.cells(); asked.jobs(); registry.datasets();"
        "provenance.code_digest('edgepress.sweep'); print('torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


def imports_between_packages(root):
    """Who imports whom: a package of ``root``, or a module at its top, → those that it imports, anywhere in its files,
    also within functions and for types alone.
    """
    edges = defaultdict(set)
    for path in root.rglob("*.py"):
        inside = path.relative_to(root)
        importer = inside.with_suffix("").parts[0]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                lies_in = [root.name, *inside.parts[:-1]]
                package = lies_in[: len(lies_in) + 1 - node.level] if node.level else []
                module = ".".join([*package, *filter(None, [node.module])])
                names = [f"{module}.{alias.name}" for alias in node.names]
            for top, *parts in (name.split(".") for name in names):
                if top == root.name and parts and importer not in ("__init__", parts[0]):
                    edges[importer].add(parts[0])
    return edges


def circle(edges):
    """Packages that import each other in a circle, the first again at the end; empty where there is no circle."""
    try:
        graphlib.TopologicalSorter(edges).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return []


def test_no_packages_import_each_other_in_a_circle():
    edges = imports_between_packages(registry.PACKAGE)
    assert {"costs", "peers", "sweep", "targets", "training"} <= edges.keys()
    assert circle(edges) == []


@pytest.mark.parametrize(
    "line",
    ["from house.b import x", "from .. import b", "from ..b.c import d", "import house.b.c", "from house import b"],
)
def test_a_circle_is_found_however_it_is_imported(tmp_path, line):
    for name, text in {"a": f"def later():\n    {line}\n", "b": "from ..c import x", "c": "import house.a\n"}.items():
        (tmp_path / "house" / name).mkdir(parents=True)
        (tmp_path / "house" / name / "__init__.py").write_text(text)
    assert set(circle(imports_between_packages(tmp_path / "house"))) == {"a", "b", "c"}
