"""``export``: a packed file as what a target loads."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from edgepress import registry
from edgepress.cli import Commands, UserError, add, plainly, take_plugins
from edgepress.cli.files import architecture, packed
from edgepress.logs import one_line

if TYPE_CHECKING:
    from torch import Tensor, nn

    from edgepress.packing import Compressed
    from edgepress.targets import Files

_EXAMPLES = """\
A packed file has the weights; --network says what computes with them, and --data, or
--input-shape, what an input looks like. With --data, the self-test of C has rows of its test split.

examples:
  edgepress export results/starter/digits/cnn/seed0/nearest_uniform/w4.safetensors --to c -o w4_c \\
      --network cnn --data data/prepared/digits_split0.safetensors
  edgepress export tiny.safetensors --to c -o tiny_c --network nets:Tiny --input-shape 1,8,8 --board nrf52840"""
_ROWS = 8


def add_to(commands: Commands) -> None:
    """Add the command of this module."""
    export = add(commands, "export", "write a packed file as what a device or runtime loads", _EXAMPLES)
    export.add_argument("file", metavar="FILE", help="a packed file")
    export.add_argument("--to", required=True, metavar="TARGET", help="c, onnx, or another name of `list targets`")
    export.add_argument("-o", "--output", required=True, metavar="DIR", help="a new folder for the files")
    export.add_argument("--network", required=True, metavar="WHAT", help="module:Class, or a name of `list networks`")
    export.add_argument("--args", default="{}", metavar="JSON", help="arguments of module:Class")
    export.add_argument("--data", metavar="FILE", help="a file of data/prepared")
    export.add_argument("--input-shape", metavar="N,N,N", help="the shape of one input, where there is no --data")
    export.add_argument("--board", metavar="NAME", help="refuse what does not fit this microcontroller (with --to c)")
    export.add_argument("--plugin", action="append", default=[], metavar="FILE", help="a Python file of your own")
    export.add_argument("--force", action="store_true", help="replace the folder")
    export.set_defaults(run=_export)


def _export(asked: argparse.Namespace) -> int:
    from edgepress import targets
    from edgepress.targets import NotServedError

    take_plugins(asked.plugin)
    if asked.to not in registry.targets():
        raise UserError(registry.unknown("target", asked.to, registry.targets()))
    output = Path(asked.output)
    if output.exists() and not asked.force:
        raise UserError(f"{output} is there already; name another by -o, or say --force")
    stored, (network, inputs) = packed(asked.file), _network(asked)
    network, stored = _as_shipped(asked, network, stored, inputs)
    with plainly(ModuleNotFoundError):
        target = targets.create(asked.to)
    try:
        files = target.export(network, stored, inputs)
        if asked.board:
            _check_fits(asked, files)
    except NotServedError as error:
        raise UserError(f"{asked.file} cannot be exported to {asked.to}: {error}") from None
    _write(output, files)
    size = target.size(files)
    print(f"{output}: {len(files)} files, {size.tensors:,} bytes of weights and tables")
    if asked.to == "c":
        from edgepress.targets.c.host import facts

        print(
            f"RAM: an arena of {int(facts(files)['ARENA_BYTES']):,} bytes; `make -C {output} test` runs the self-test"
        )
    return 0


def _network(asked: argparse.Namespace) -> tuple[nn.Module, Tensor]:
    """The architecture, and a few inputs of the shape that it takes."""
    import torch

    network, data = architecture(asked, "train", "val", "test")
    if data is not None:
        return network, data.inputs["test"][:_ROWS]
    if not asked.input_shape:
        raise UserError("say what an input looks like: --data FILE, or --input-shape 1,8,8")
    try:
        shape = tuple(int(side) for side in asked.input_shape.split(","))
    except ValueError:
        shape = (0,)
    if min(shape) < 1:
        raise UserError(f"--input-shape is {asked.input_shape!r} but must be whole numbers from 1 on, such as 1,8,8")
    return network, torch.randn(_ROWS, *shape, generator=torch.Generator().manual_seed(0))


def _as_shipped(
    asked: argparse.Namespace, network: nn.Module, stored: Compressed, inputs: Tensor
) -> tuple[nn.Module, Compressed]:
    """The network with BatchNorms folded, and what is stored of it. Raises UserError where the file is another's."""
    import torch

    from edgepress.folding import fold_batch_norm, fold_stored
    from edgepress.networks import inference_state
    from edgepress.widths import with_state

    shape = tuple(inputs.shape[1:])
    another = f"{asked.file} is of another network than {asked.network}"
    try:
        with torch.no_grad():
            network.eval()(inputs[:1])
        folded = fold_batch_norm(network, shape)
        theirs, whole, shipped = set(stored.tensors), set(inference_state(network)), set(inference_state(folded))
        if theirs not in (whole, shipped):
            odd = sorted(theirs ^ shipped)[0]
            raise UserError(f"{another}: it {'has' if odd in theirs else 'lacks'} '{odd}'")
        if theirs != shipped:
            stored = fold_stored(stored, network, shape)
        with torch.no_grad():
            with_state(folded, stored.state_dict())(inputs[:1])
    except (RuntimeError, ValueError) as error:
        raise UserError(f"{another}, or the inputs do not fit it: {one_line(error)[:200]}") from None
    return folded, stored


def _check_fits(asked: argparse.Namespace, files: Files) -> None:
    from edgepress.targets import c
    from edgepress.targets.c.host import facts
    from edgepress.targets.c.parts import PARTS, check_fits

    if asked.to != "c":
        raise UserError("--board is for --to c")
    if asked.board not in PARTS:
        raise UserError(registry.unknown("board", asked.board, PARTS))
    check_fits(PARTS[asked.board], int(facts(files)["ARENA_BYTES"]), c.CSource().size(files).whole)


def _write(output: Path, files: Files) -> None:
    """All files, or none: they are written beside ``output``, which then takes their place."""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as folder:
            made = Path(folder) / "made"
            for name, data in files.items():
                (made / name).parent.mkdir(parents=True, exist_ok=True)
                (made / name).write_bytes(data)
            if output.exists():
                output.rename(Path(folder) / "before")
            made.rename(output)
    except OSError as error:
        raise UserError(f"{output} cannot be written: {error.strerror}") from None
