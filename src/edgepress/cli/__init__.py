"""The command line: ``edgepress``, or ``python -m edgepress``.

Each module here adds commands of one kind. What they need beyond names — torch, pandas, pytest — they import when they
run, so that help and lists come at once.
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

A whole benchmark is a config file and `snakemake`; see README.md. The commands below
look things up, compress a single file, read packed files, compare two runs, and hold a
plugin of your own to the contract."""

_EXAMPLES = """\
examples:
  edgepress list methods                              what there is
  edgepress describe nearest_uniform                  one of them
  edgepress compress model.safetensors --method nearest_uniform --bits 4
  edgepress inspect model.nearest_uniform_w4.safetensors
  edgepress unpack model.nearest_uniform_w4.safetensors
  edgepress export w4.safetensors --to c -o w4_c --network cnn --data digits.safetensors
  edgepress compare results/before results/after      what changed beyond noise
  edgepress check my_method.py                        the contract tests

`edgepress COMMAND --help` tells more of each."""


Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


class UserError(Exception):
    """Something that the user can mend; the message is one sentence."""


@contextlib.contextmanager
def plainly(*errors: type[Exception]) -> Iterator[None]:
    """Turn errors of these types, whose message says it all, into a UserError."""
    try:
        yield
    except errors as error:
        if isinstance(error, FileNotFoundError):
            raise UserError(f"{error.filename} is not there") from None
        raise UserError(one_line(error)) from None


def write(path: str | Path, content: bytes | str) -> None:
    """``write_atomically``, a UserError where that cannot be."""
    try:
        write_atomically(path, content)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from None


def take_plugins(paths: Sequence[str]) -> None:
    """Make what these files declare known to the registry."""
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
    """The parser of all commands; what runs a command is its ``run``."""
    from edgepress.cli import catalogue, comparison, contract, export, files

    top = argparse.ArgumentParser(
        "edgepress", description=_ABOUT, epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in (catalogue, files, export, comparison, contract):
        module.add_to(commands)
    return top


def add(commands: Commands, name: str, about: str, more: str = "") -> argparse.ArgumentParser:
    """Add a command: one line about it, and what its help says in the end, examples above all."""
    return commands.add_parser(
        name,
        help=about,
        description=f"{about[0].upper()}{about[1:]}.",
        epilog=more,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0, 1 where what it looks for is not so, 2 where it cannot be run."""
    asked = parser().parse_args(arguments)
    try:
        code: int = asked.run(asked)
        sys.stdout.flush()
    except UserError as error:
        print(f"edgepress: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader, `head` say, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code
