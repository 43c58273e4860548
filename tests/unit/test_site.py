"""The site: required parts of each page, and completeness. `make docs` builds it, with warnings as errors."""

import re
from pathlib import Path

import pytest

from edgepress import registry

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if "generated" not in path.parts)
METHODS = [path for path in PAGES if path.parent.name == "methods" and path.stem != "index"]


def test_every_file_of_methods_has_a_page_and_no_page_is_of_none():
    files = {entry.module.rpartition(".")[2] for entry in registry.built_in("methods").values()}
    assert {page.stem for page in METHODS} == files, (
        "a file of methods needs docs/methods/<file>.md: see CONTRIBUTING.md"
    )


@pytest.mark.parametrize("page", METHODS, ids=[page.stem for page in METHODS])
def test_a_page_of_methods_has_formula_picture_advice_and_source(page):
    text = page.read_text(encoding="utf-8")
    headings = re.findall(r"^## (.*)", text, re.M)
    assert headings == ["How it works", "When to use it", "Source"]
    assert "$$" in text and "generated/pictures/" in text and ":alt:" in text
    assert page.stem in (DOCS / "methods/index.md").read_text(encoding="utf-8").split()


def test_every_picture_is_shown_and_every_one_shown_is_drawn():
    code = "".join(path.read_text(encoding="utf-8") for path in (DOCS / "pictures").glob("*.py"))
    drawn = re.findall(r"^@picture\ndef (\w+)", code, re.M)
    shown = re.findall(r"generated/pictures/(\w+)\.svg", "".join(page.read_text(encoding="utf-8") for page in PAGES))
    assert sorted(shown) == sorted(drawn)


def test_what_is_advised_exists():
    names = re.findall(r"`([a-z0-9_]+)`", (DOCS / "methods/index.md").read_text(encoding="utf-8"))
    assert names and set(names) <= registry.methods().keys() | {"describe"}
