"""Generate the pages and pictures in docs/generated before Sphinx reads.

Top-level documents, the executed tutorial, and the docstrings of every module become pages. Links between files of the
repository become links between pages.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pictures
from sphinx.application import Sphinx

DOCS = Path(__file__).parents[1]
REPOSITORY = DOCS.parent
GENERATED = DOCS / "generated"
# Documents outside of docs/ and their pages; README.md corresponds to the first page.
DOCUMENTS = {
    "README.md": "index.md",
    "ARCHITECTURE.md": "generated/architecture.md",
    "CHANGELOG.md": "generated/changelog.md",
    "CONTRIBUTING.md": "generated/contributing.md",
    "config/README.md": "generated/settings.md",
    "data/README.md": "generated/data.md",
    "notebooks/tutorial.ipynb": "generated/tutorial.md",
    "results/README.md": "generated/results.md",
}
_LINK = re.compile(r"\[([^\]]*)\]\((?!\w+:|#)([^)#]+)(#[^)]*)?\)")


def with_links_to_pages(text: str, folder: Path) -> str:
    """Markdown of a document in ``folder`` with links to pages, or with the file name if the target is not a page."""

    def replaced(match: re.Match[str]) -> str:
        words, target, place = match.group(1), match.group(2), match.group(3) or ""
        path = (folder / target).resolve()
        inside = str(path.relative_to(REPOSITORY)) if path.is_relative_to(REPOSITORY) else target
        if inside in DOCUMENTS and not (inside == "README.md" and place):
            return f"[{words}](/{DOCUMENTS[inside]}{place})"
        if path.is_relative_to(DOCS):
            return f"[{words}](/{path.relative_to(DOCS)}{place})"
        return f"`{inside}`" if words in (inside, Path(inside).name) else f"{words} (`{inside}`)"

    return _LINK.sub(replaced, text)


def _write_documents() -> None:
    for document, page in DOCUMENTS.items():
        if page.startswith("generated/") and document.endswith(".md"):
            source = REPOSITORY / document
            _write(DOCS / page, with_links_to_pages(source.read_text(encoding="utf-8"), source.parent))


def _write_modules() -> None:
    """Write one page per module or package of the library, and a page that lists them."""
    library = REPOSITORY / "src" / "edgepress"
    pages: dict[str, list[str]] = {}
    for path in sorted(library.rglob("*.py")):
        parts = [part for part in path.relative_to(library).with_suffix("").parts if part != "__init__"]
        if parts and not any(part.startswith("_") for part in parts):
            pages.setdefault(parts[0], []).append(".".join([library.name, *parts]))
    for page, modules in pages.items():
        sections = [_documented(name, "-" if place else "=") for place, name in enumerate(modules)]
        _write(GENERATED / "api" / f"{page}.rst", "\n".join(sections))
    toctree = "\n".join(f"   api/{page}" for page in pages)
    _write(GENERATED / "modules.rst", f"Every module\n============\n\n.. toctree::\n   :maxdepth: 1\n\n{toctree}\n")


def _documented(module: str, underline: str) -> str:
    """A section with the docstrings of a module, without imported names."""
    title = f"{module}\n{underline * len(module)}"
    return f"{title}\n\n.. automodule:: {module}\n   :members:\n   :ignore-module-all:\n"


def _write(path: Path, text: str) -> None:
    """Write a page if its content changed, since Sphinx rebuilds newer files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def _start_tutorial() -> subprocess.Popen:
    """Start to execute the tutorial as a page. It takes half a minute, so other pages are made meanwhile."""
    line = [sys.executable, "-m", "nbconvert", "--execute", "--to", "markdown", "--log-level", "ERROR"]
    line += ["--output-dir", str(GENERATED), str(REPOSITORY / "notebooks" / "tutorial.ipynb")]
    return subprocess.Popen(line, env=os.environ | {"JUPYTER_PREFER_ENV_PATH": "1"}, cwd=REPOSITORY / "notebooks")


def make_all(app: Sphinx) -> None:
    """Generate everything in docs/generated. Raises RuntimeError if a cell of the tutorial fails."""
    tutorial = _start_tutorial()
    try:
        _write_documents()
        _write_modules()
        pictures.draw_all(GENERATED / "pictures")
    finally:
        failed = tutorial.wait()
    if failed:
        raise RuntimeError("the tutorial failed; see its output above")


def _on_read(app: Sphinx, page: str, content: list[str]) -> None:
    if not page.startswith("generated/"):
        content[0] = with_links_to_pages(content[0], (DOCS / page).parent)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the generator, which runs before pages are read."""
    app.connect("builder-inited", make_all)
    app.connect("source-read", _on_read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
