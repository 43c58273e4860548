"""Where results come from: the code that a job runs, and the record of a run. Imports nothing heavy."""

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
_TEMPLATES = {".j2", ".css", ".js"}  # what pages are made from
_RECORDED = ("edgepress", "snakemake", "torch", "numpy", "pandas", "scipy", "scikit-learn", "seaborn", "safetensors",
             "papermill", "pydantic", "zigzag-dse", "codecarbon", "onnxruntime",
             "nncf", "openvino", "brevitas", "torchao", "torch-pruning")  # fmt: skip


@cache
def code_digest(*roots: str) -> str:
    """A hash of the code of ``roots``, modules or paths of scripts, and of every edgepress module that they import,
    directly or not, with the templates beside them. Modules of the user's count like edgepress's; packages that are
    installed do not, their versions tell them apart.

    Jobs carry it as a parameter, so that an edit to the library reruns those that use what was edited, and only
    them. Comments, docstrings and layout do not count. What a job imports by name at run time — its network, its
    method — must be among ``roots``.
    """
    digests = sorted(_code(path).digest for path in _closure(roots))  # in an order that no folder's name decides
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
    """What counts of a source file: a hash of its code, and the modules that it imports."""

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
    """The names of the packages that a file lies in, the outermost first."""
    folders = itertools.takewhile(lambda folder: (folder / "__init__.py").is_file(), path.parents)
    return [folder.name for folder in folders][::-1]


@cache
def files_of(module: str) -> list[Path]:
    """The files that importing a module runs, its own and those of the packages it lies in, where its code counts."""
    parts = module.split(".")
    home = _home(parts[0])
    if home is None:
        return []
    candidates = [home.joinpath(*parts).with_suffix(".py")]
    candidates += [home.joinpath(*parts[:depth], "__init__.py") for depth in range(1, len(parts) + 1)]
    return [path for path in candidates if path.is_file()]


@cache
def _home(package: str) -> Path | None:
    """The folder that a package lies in: edgepress's, or one of the user's; None for what is installed."""
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
    """What was computed of files, kept from process to process for as long as their size and time of change stay."""

    def __init__(self) -> None:
        self._known: dict[str, list[Any]] = {}
        self._changed = False

    def of(self, path: Path, what: str, compute: Callable[[Path], Any]) -> Any:
        """``compute(path)``, or what it gave before; ``what`` names it."""
        state = path.stat()
        stamp, key = [state.st_mtime_ns, state.st_size], f"{what} {path.absolute()}"
        if self._known.get(key, [None])[0] != stamp:
            self._known[key] = [stamp, compute(path)]
            self._changed = True
        return self._known[key][1]

    def load(self, path: Path) -> None:
        """Take up what an earlier process knew; a file that cannot be read counts for nothing."""
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            kept = json.loads(path.read_text(encoding="utf-8"))
            if kept["python"] == sys.version:  # which decides how code is parsed
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
    """Keep hashes of code and data in the file ``path``, so that the next process reads only what changed."""
    _REMEMBERED.load(Path(path))
    atexit.register(_REMEMBERED.save, Path(path).absolute())


def forget() -> None:
    """Look at every file and module again, as a new process would."""
    for known in (code_digest, _code, files_of, _home, find, content_digest):
        known.cache_clear()


def start(
    path: str | Path,
    config: dict[str, Any],
    checkout: str | Path,
    own: Mapping[str, Mapping[str, Mapping[str, Any]]] | None = None,
    files: Iterable[str] = (),
) -> None:
    """Write the manifest of a run that begins; an earlier one that did not end keeps its place in ``starts``.

    ``own`` are the user's own entries (``registry.own``), ``files`` the user's files that the run is made from.
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
    """Note in the manifest when the run ended, and how: ``complete`` or ``failed``."""
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
    """The commit of the checkout, with ``+changes`` where files differ from it."""

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
    """What kind of CPU this is."""
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
