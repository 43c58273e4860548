"""Provenance of results: hashes of the source that a job uses, and the manifest of a run. Imports nothing heavy."""

from __future__ import annotations

import ast
import atexit
import contextlib
import hashlib
import itertools
import json
import os
import platform
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

from edgepress.files import walk, write_atomically

_SOURCE = Path(__file__).parent.parent
_TEMPLATES = {".j2", ".css", ".js"}  # sources of HTML pages
_RECORDED = ("edgepress", "snakemake", "torch", "numpy", "pandas", "scipy", "scikit-learn", "seaborn", "safetensors",
             "papermill", "pydantic", "zigzag-dse", "codecarbon", "onnxruntime",
             "nncf", "openvino", "brevitas", "torchao", "torch-pruning")  # fmt: skip


@cache
def code_digest(*roots: str) -> str:
    """A hash of the source of ``roots`` (modules or paths of scripts), of every edgepress module that they import,
    directly or indirectly, and of templates in the same folders. The user's modules are included; installed packages
    are identified by their versions instead.

    Jobs have it as a parameter, so that an edit to the library reruns exactly the jobs that use it. Comments,
    docstrings and formatting are ignored. Modules that a job imports by name at run time (its network, its method) must
    be among ``roots``.
    """
    digests = sorted(_code(path).digest for path in _closure(roots))  # independent of folder names
    return hashlib.sha256("".join(digests).encode("ascii")).hexdigest()[:16]


def _closure(roots: Iterable[str]) -> set[Path]:
    found: set[Path] = set()
    waiting = [path for root in roots for path in ([Path(root)] if root.endswith(".py") else files_of(root))]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += [file for module in _code(path).imports for file in files_of(module)]
    folders = {path.parent for path in found}
    templates = {file for folder in folders for file in folder.iterdir() if file.suffix in _TEMPLATES}
    return found | templates


@dataclass(frozen=True)
class _Code:
    """A hash of a source file, and the modules that it imports."""

    digest: str
    imports: tuple[str, ...] = ()


@cache
def _code(path: Path) -> _Code:
    digest, imports = remembered(path, "code", _read_code)
    return _Code(digest, tuple(imports))


def _read_code(path: Path) -> tuple[str, list[str]]:
    if path.suffix != ".py":
        content, imports = path.read_bytes(), []
    else:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
                del node.body[0]
        content, imports = ast.dump(tree).encode("utf-8"), list(dict.fromkeys(_imports(tree, path)))
    return hashlib.sha256(path.name.encode("utf-8") + b"\0" + content).hexdigest(), imports


def _imports(tree: ast.Module, path: Path) -> Iterable[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = _package(path)[: 1 - node.level or None] if node.level else []
            module = ".".join([*package, *([node.module] if node.module else [])])
            if module:
                yield module
                yield from (f"{module}.{alias.name}" for alias in node.names)


def _package(path: Path) -> list[str]:
    """The names of the packages that contain a file, outermost first."""
    folders = itertools.takewhile(lambda folder: (folder / "__init__.py").is_file(), path.parents)
    return [folder.name for folder in folders][::-1]


@cache
def files_of(module: str) -> list[Path]:
    """The files executed by importing a module: its own and those of its packages; none for installed packages."""
    parts = module.split(".")
    home = _home(parts[0])
    if home is None:
        return []
    candidates = [home.joinpath(*parts).with_suffix(".py")]
    candidates += [home.joinpath(*parts[:depth], "__init__.py") for depth in range(1, len(parts) + 1)]
    return [path for path in candidates if path.is_file()]


@cache
def _home(package: str) -> Path | None:
    """The folder that contains a package of edgepress or of the user; None for installed packages."""
    if package == "edgepress":
        return _SOURCE
    specification = find(package)
    places = [*(specification.submodule_search_locations or ()), specification.origin] if specification else []
    home = Path(places[0]).parent if places and places[0] else Path(sysconfig.get_path("stdlib"))
    installed = {"site-packages", "dist-packages"} & set(home.parts)
    return None if installed or home.is_relative_to(sysconfig.get_path("stdlib")) else home


@cache
def find(package: str) -> ModuleSpec | None:
    """Where a package or module at the top level is, among what is installed and in the working directory; unlike
    an import, this runs nothing.
    """
    if package in sys.builtin_module_names or package == "__main__":
        return None
    return PathFinder.find_spec(package, [*sys.path, str(Path.cwd())])


@cache
def content_digest(path: str | Path) -> str:
    """The SHA-256 of what a file holds; of a folder, of the names and contents of all files in it."""
    path = Path(path)
    if not path.is_dir():
        return str(remembered(path, "content", _sha256))
    files = sorted(file for file in walk(path) if file.is_file())
    lines = [f"{file.relative_to(path)} {content_digest(file)}\n" for file in files]
    return hashlib.sha256("".join(lines).encode("utf-8")).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Remembered:
    """A persistent cache of values computed from files, valid while their size and modification time are unchanged."""

    def __init__(self) -> None:
        self._known: dict[str, list[Any]] = {}
        self._changed = False

    def of(self, path: Path, what: str, compute: Callable[[Path], Any]) -> Any:
        """``compute(path)``, cached; ``what`` is the name of the value."""
        state = path.stat()
        stamp, key = [state.st_mtime_ns, state.st_size], f"{what} {path.absolute()}"
        if self._known.get(key, [None])[0] != stamp:
            self._known[key] = [stamp, compute(path)]
            self._changed = True
        return self._known[key][1]

    def load(self, path: Path) -> None:
        """Load the cache of an earlier process; an unreadable file is ignored."""
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            kept = json.loads(path.read_text(encoding="utf-8"))
            if kept["python"] == sys.version:  # parsing depends on the version
                self._known = kept["files"] | self._known

    def save(self, path: Path) -> None:
        if self._changed:
            with contextlib.suppress(OSError):
                write_atomically(path, json.dumps({"python": sys.version, "files": self._known}))


_REMEMBERED = _Remembered()


def remembered(path: Path, what: str, compute: Callable[[Path], Any]) -> Any:
    """``compute(path)``, or what it gave for that file before (``remember``); JSON must be able to hold it."""
    return _REMEMBERED.of(path, what, compute)


def remember(path: str | Path) -> None:
    """Cache hashes of source and data in the file ``path``, so that the next process reads only what changed."""
    _REMEMBERED.load(Path(path))
    atexit.register(_REMEMBERED.save, Path(path).absolute())


def forget() -> None:
    """Clear the caches in memory, as in a new process."""
    for known in (code_digest, _code, files_of, _home, find, content_digest):
        known.cache_clear()


def start(
    path: str | Path,
    config: dict[str, Any],
    checkout: str | Path,
    own: Mapping[str, Mapping[str, Mapping[str, Any]]] | None = None,
    files: Iterable[str] = (),
) -> None:
    """Write the manifest at the start of a run; ``starts`` keeps earlier starts that did not finish.

    ``own`` are the user's own entries (``registry.own``), ``files`` the user's input files.
    """
    modules = sorted({entry["module"] for entries in (own or {}).values() for entry in entries.values()})
    path = Path(path)
    earlier = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    unfinished = earlier.get("starts", []) if earlier.get("end") is None else []
    manifest = {
        "run": config["run"],
        "commit": _commit(checkout),
        "config": config,
        "config_sha256": hashlib.sha256(json.dumps(config, sort_keys=True).encode("utf-8")).hexdigest(),
        "seeds": config["seeds"],
        "packages": {name: version(name) for name in _RECORDED},
        "machine": _machine(),
        "own": own or {},
        "own_code": {module: code_digest(module) for module in modules},
        "own_files_sha256": {file: content_digest(file) for file in sorted(set(files)) if Path(file).exists()},
        "starts": [*unfinished, _now()],
        "end": None,
        "ended": None,
    }
    write_atomically(path, json.dumps(manifest, indent=2) + "\n")


def end(path: str | Path, outcome: str) -> None:
    """Record in the manifest when the run ended, and its outcome: ``complete`` or ``failed``."""
    manifest = json.loads(Path(path).read_text(encoding="utf-8"))
    manifest |= {"end": _now() if outcome == "complete" else None, "ended": outcome}
    write_atomically(path, json.dumps(manifest, indent=2) + "\n")


def ended(path: str | Path) -> str | None:
    """How the run of this manifest ended; None where it did not, or has none."""
    try:
        return str(json.loads(Path(path).read_text(encoding="utf-8"))["ended"])
    except (OSError, ValueError, KeyError):
        return None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _commit(checkout: str | Path) -> str:
    """The commit of the checkout, with ``+changes`` if files differ from it."""

    def git(*words: str) -> str:
        command = ["git", "-C", str(checkout), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def version(package: str) -> str:
    """The version of an installed package, or ``not installed``."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def cpu_model() -> str:
    """The model name of the CPU."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if "model name" in line]
    return names[0] if names else platform.processor() or platform.machine()


def _machine() -> dict[str, Any]:
    return {
        "system": platform.platform(),
        "python": platform.python_version(),
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
    }
