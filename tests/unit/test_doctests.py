"""Examples in docstrings and documentation give the stated output."""

import doctest
import importlib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
SOURCE = REPOSITORY / "src"


def with_examples(folder: Path, pattern: str) -> list[Path]:
    return sorted(path for path in folder.rglob(pattern) if ">>> " in path.read_text(encoding="utf-8"))


MODULES = [".".join(path.relative_to(SOURCE).with_suffix("").parts) for path in with_examples(SOURCE, "*.py")]
PAGES = [str(path.relative_to(REPOSITORY)) for path in with_examples(REPOSITORY / "docs", "*.md")]


@pytest.mark.parametrize("module", [name.removesuffix(".__init__") for name in MODULES])
def test_docstrings(module):
    result = doctest.testmod(importlib.import_module(module))
    assert result.attempted and not result.failed


@pytest.mark.parametrize("page", PAGES)
def test_pages(page):
    result = doctest.testfile(str(REPOSITORY / page), module_relative=False, encoding="utf-8")
    assert result.attempted and not result.failed
