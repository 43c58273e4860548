"""The command line: ``edgepress``, or ``python -m edgepress``.

Each module adds commands of one kind. Heavy packages (torch, pandas, pytest) are imported when a command runs, so that
help and lists are immediate.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

from edgepress.files import write_atomically
from edgepress.logs import one_line

_ABOUT = """\
What a network loses when it is stored in b bits, and what a device gains.

To run a benchmark, write a config file and run `snakemake`; see README.md. The commands
below look things up, compress a single file, read packed files, compare two runs, and
run the contract tests on your plugin."""

_EXAMPLES = """\
examples:
  edgepress list methods                              what is available
  edgepress describe nearest_uniform                  details of one
  edgepress compress model.safetensors --method nearest_uniform --bits 4
  edgepress inspect model.nearest_uniform_w4.safetensors
  edgepress unpack model.nearest_uniform_w4.safetensors
  edgepress export w4.safetensors --to c -o w4_c --network cnn --data digits.safetensors
  edgepress compare results/before results/after      changes beyond noise
  edgepress check my_method.py                        contract tests

`edgepress COMMAND --help` shows details."""


Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


class UserError(Exception):
    """An error that the user can fix. The message is one sentence."""


@contextlib.contextmanager
def plainly(*errors: type[Exception]) -> Iterator[None]:
    """Turn errors of these types, whose message suffices, into a UserError."""
    try:
        yield
    except errors as error:
        if isinstance(error, FileNotFoundError):
            raise UserError(f"{error.filename} does not exist") from None
        raise UserError(one_line(error)) from None


def write(path: str | Path, content: bytes | str) -> None:
    """``write_atomically``; raises UserError on failure."""
    try:
        write_atomically(path, content)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from None


def take_plugins(paths: Sequence[str]) -> None:
    """Register what these files declare."""
    if not paths:
        return
    from pydantic import ValidationError

    from edgepress import own, registry

    try:
        registry.set_own(own.entries(own.OwnConfig(plugins=list(paths))))
    except ValidationError as error:
        raise UserError(error.errors()[0]["msg"]) from None
    except ValueError as error:
        raise UserError(str(error)) from None


def parser() -> argparse.ArgumentParser:
    """The parser of all commands; ``run`` of its result executes the command."""
    from edgepress.cli import catalogue, comparison, contract, export, files

    top = argparse.ArgumentParser(
        "edgepress", description=_ABOUT, epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in (catalogue, files, export, comparison, contract):
        module.add_to(commands)
    return top


def add(commands: Commands, name: str, about: str, more: str = "") -> argparse.ArgumentParser:
    """Add a command with a one-line description and a help epilog with examples."""
    return commands.add_parser(
        name,
        help=about,
        description=f"{about[0].upper()}{about[1:]}.",
        epilog=more,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0, 1 if a check fails, 2 if it cannot run."""
    asked = parser().parse_args(arguments)
    try:
        code: int = asked.run(asked)
        sys.stdout.flush()
    except UserError as error:
        print(f"edgepress: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader, such as `head`, has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code
