import subprocess
import sys

import pytest

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
