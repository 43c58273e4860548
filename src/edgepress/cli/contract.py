"""Contract tests for a plugin: ``check``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from edgepress import registry
from edgepress.cli import Commands, UserError, add, take_plugins

TESTS = Path(__file__).parents[3] / "tests" / "contract"

_EXAMPLES = """\
The file declares METHODS, NETWORKS or DATASETS, see docs/own.md. They must pass every test that
edgepress runs on its own: that a method rebuilds the network bit for bit from its packed file,
keeps to its bits, uses only its random generator, does not modify the network, and so on. Exit
code 0: all pass.

examples:
  edgepress check my_method.py
  edgepress check my_method.py --verbose       name each test
  edgepress check my_method.py --test keeps_to_its_level"""


def add_to(commands: Commands) -> None:
    """Add the commands of this module."""
    check = add(commands, "check", "run the contract tests on your plugin", _EXAMPLES)
    check.add_argument("file", metavar="FILE", help="a Python file")
    check.add_argument("--test", metavar="WORDS", default="", help="only tests whose names contain these words")
    check.add_argument("--verbose", action="store_true", help="name each test")
    check.set_defaults(run=_check)


class _Selection:
    """A pytest plugin that selects tests by name."""

    def __init__(self, names: set[str]) -> None:
        self.names = names

    def pytest_collection_modifyitems(self, config: Any, items: list[Any]) -> None:
        others = [item for item in items if self.names.isdisjoint(_parameters(item))]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in others]


def _parameters(item: Any) -> set[Any]:
    values = item.callspec.params.values() if hasattr(item, "callspec") else ()
    return {part for value in values for part in (value if isinstance(value, tuple) else (value,))}


def _check(asked: argparse.Namespace) -> int:
    take_plugins([asked.file])
    entries = registry.own()
    try:
        import pytest
    except ImportError:
        raise UserError("the contract tests need pytest; `make test` installs it, or `pip install pytest`") from None
    if not TESTS.is_dir():
        raise UserError(f"the contract tests are not in {TESTS}; install edgepress from a checkout: pip install -e .")
    names = {name for named in entries.values() for name in named}
    print(f"{asked.file} declares {', '.join(sorted(names))}")
    files = [str(TESTS / f"test_{kind}.py") for kind, named in entries.items() if named]
    options = ["-p", "no:cacheprovider", f"--rootdir={TESTS.parents[1]}", "-k", asked.test]
    options += ["-vv"] if asked.verbose else []
    sys.dont_write_bytecode = True  # the checkout may belong to another user
    return int(pytest.main([*files, *options], plugins=[_Selection(names)]))
