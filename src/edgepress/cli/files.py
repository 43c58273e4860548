"""Single files: ``compress``, ``unpack`` and ``inspect``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepress import registry
from edgepress.cli import Commands, UserError, add, plainly, take_plugins, write
from edgepress.levels import Level

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

    from edgepress.datasets import Prepared
    from edgepress.encodings import Encoding
    from edgepress.methods import Method
    from edgepress.packing import Compressed

_SHOWN = 6  # names in a message
_COMPRESS_EXAMPLES = """\
Without --network, tensors of 2 and 4 dimensions called *.weight count as the weights of Linear
and Conv layers; the rest stays float32. The output layer, which pruning leaves dense, is the
Linear layer whose number of outputs no other one reads; --output-layer names another. The
error is that of the weights, |w - w'| / |w| in the Euclidean norm; only a run with data shows
its effect on the network's outputs.

examples:
  edgepress compress model.safetensors --method nearest_uniform --bits 4
  edgepress compress model.safetensors --method magnitude --sparsity 0.8
  edgepress compress model.safetensors --method magnitude nearest_uniform --sparsity 0.5 --bits 4
  edgepress compress tiny.safetensors --network nets:Tiny --args '{"width": 12}' \\
      --data data/prepared/pixels_split0.safetensors --method multipoint --bits 3

--data takes a file that a run has prepared; `snakemake --cores 1
data/prepared/digits_split0.safetensors` prepares a single data set."""

_UNPACK_EXAMPLES = """\
example:
  edgepress unpack model.nearest_uniform_w4.safetensors --output model_w4.safetensors"""

_INSPECT_EXAMPLES = """\
bits are those of one stored number; bytes include codes, codebook and mask.

example:
  edgepress inspect results/starter/digits/cnn/seed0/nearest_uniform/w4.safetensors"""


def add_to(commands: Commands) -> None:
    """Add the commands of this module."""
    compress = add(commands, "compress", "compress the weights in a safetensors file", _COMPRESS_EXAMPLES)
    compress.add_argument("model", metavar="MODEL", help="safetensors file of a trained network")
    compress.add_argument(
        "--method", required=True, nargs="+", metavar="NAME", help="a method, or several to apply in sequence"
    )
    compress.add_argument("--bits", type=int, metavar="B", help="bits per weight, 1-16, for a method that quantizes")
    compress.add_argument("--act-bits", type=int, metavar="B", help="bits per activation, 1-16, likewise")
    compress.add_argument(
        "--sparsity", type=float, metavar="S", help="fraction to remove, 0 to below 1, for a method that prunes"
    )
    compress.add_argument("--seed", type=int, default=0, help="random seed of a stochastic method (default: 0)")
    compress.add_argument(
        "--plugin", action="append", default=[], metavar="FILE", help="a Python file with your methods"
    )
    compress.add_argument("--network", metavar="WHAT", help="your module:Class, or a name of `edgepress list`")
    compress.add_argument("--output-layer", metavar="NAME", help="the layer that computes the outputs, in a bare file")
    compress.add_argument("--args", default="{}", metavar="JSON", help="arguments of module:Class")
    compress.add_argument("--data", metavar="FILE", help="a file of data/prepared, for methods that use examples")
    compress.set_defaults(run=_compress)
    unpack = add(commands, "unpack", "convert a packed file to plain float32 safetensors", _UNPACK_EXAMPLES)
    unpack.set_defaults(run=_unpack)
    inspect = add(commands, "inspect", "show the contents of a packed file, tensor by tensor", _INSPECT_EXAMPLES)
    inspect.set_defaults(run=_inspect)
    for command in (unpack, inspect):
        command.add_argument("file", metavar="FILE", help="a packed file")
    for command in (compress, unpack):
        command.add_argument("--output", metavar="FILE", help="output file (default: next to the input)")
        command.add_argument("--force", action="store_true", help="overwrite an existing file")


def _compress(asked: argparse.Namespace) -> int:
    level = _level(asked)
    output = _output(asked, asked.model, f"{'_then_'.join(asked.method)}_{level}")
    print(f"{asked.model}: compressing by {', then '.join(asked.method)} …", file=sys.stderr, flush=True)
    from tqdm import tqdm

    from edgepress import methods, networks
    from edgepress.sweep import generator_for, left_out

    network, data = _network(asked)
    weights = networks.compressible(network)
    if not weights:
        raise UserError(f"{asked.model} holds no tensor of 2 or 4 dimensions called *.weight")
    if not asked.network and asked.sparsity:
        output_layer = networks.output_weight(network)
        print(f"{output_layer} is assumed to be the output layer, which pruning leaves dense", file=sys.stderr)
    if note := left_out(network):
        print(note, file=sys.stderr)
    before = networks.inference_state(network)
    chain = [methods.create(name) for name in asked.method]
    with plainly(ArithmeticError, ValueError, _NoData):
        for reason in filter(None, (step.skip(network, data, level) for step in chain)):
            hint = "" if asked.network else "; if the file alone is not enough, name the network by --network"
            raise UserError(f"{level} does not apply to this network: {reason}{hint}")
        with tqdm(total=len(chain) * len(weights), unit="layer", leave=False, disable=None) as bar:
            watched = [_watched(step, bar.update) for step in chain]
            stored = methods.compress(watched, network, data, level, generator_for(*asked.method, level, asked.seed))
    packed = stored.to_bytes(asked.method)
    write(output, packed)
    _print_tensors(stored, {name: before[name] for name in weights})
    whole = Path(asked.model).stat().st_size
    print(f"\n{output}: {len(packed):,} bytes, {whole / len(packed):.1f} times smaller than {whole:,}")
    return 0


def _watched(method: Method, on_tensor: Callable[[], object]) -> Method:
    """``method`` with a callback for each tensor that it processes."""
    from edgepress.methods import Method

    class Watched(Method):
        def apply(
            self, stored: Compressed, network: nn.Module, data: Prepared, level: Level, generator: Generator
        ) -> Compressed:
            stored.tensors = _Told(stored.tensors, on_tensor)
            return method.apply(stored, network, data, level, generator)

    return Watched()


class _Told(dict[str, "Encoding"]):
    """A dict of tensors with a callback on look-up."""

    def __init__(self, tensors: Mapping[str, Encoding], on_tensor: Callable[[], object]) -> None:
        super().__init__(tensors)
        self.on_tensor = on_tensor

    def __getitem__(self, name: str) -> Encoding:
        self.on_tensor()
        return super().__getitem__(name)


def _level(asked: argparse.Namespace) -> Level:
    """The level, after checking that it fits the methods."""
    take_plugins(asked.plugin)
    for name in asked.method:
        if name not in registry.methods():
            raise UserError(registry.unknown("method", name, registry.methods()))
        if registry.methods()[name].retrains:
            raise UserError(f"'{name}' fine-tunes the network, which needs a config and `snakemake`: see README.md")
    looking = [name for name in asked.method if registry.methods()[name].examples]
    if looking and not (asked.network and asked.data):
        raise UserError(f"{looking[0]} uses examples: name the network by --network, and a prepared data set by "
                        f"--data, as `edgepress compress --help` shows")  # fmt: skip
    given = {"bits": asked.bits, "act_bits": asked.act_bits, "sparsity": asked.sparsity}
    sweeps = set().union(*(registry.methods()[name].sweeps for name in asked.method))
    if not sweeps:
        raise UserError(f"{' and '.join(asked.method)} has no levels by itself; name a method before it")
    for option, value in given.items():
        flag = f"--{option.replace('_', '-')}"
        if (value is None) == (option in sweeps):
            raise UserError(f"{' and '.join(asked.method)} {'needs' if value is None else 'takes no'} {flag}")
        if value is not None and option != "sparsity" and not 1 <= value <= 16:
            raise UserError(f"{flag} is {value} but must be 1 to 16")
    if asked.sparsity is not None and not 0 <= asked.sparsity < 1:
        raise UserError(f"--sparsity is {asked.sparsity:g} but must be 0 to below 1")
    return Level(**given)


def _network(asked: argparse.Namespace) -> tuple[nn.Module, Prepared]:
    """The network with its weights, and data, which raises _NoData on use if none was given."""
    from edgepress import networks, tensor_files
    from edgepress.datasets import Prepared

    if asked.network and asked.output_layer:
        raise UserError("--output-layer is for files without --network; remove it")
    nothing = Prepared("", "", 0, _Nothing(), _Nothing())
    if not asked.network:
        data = _prepared(asked, "train", "val")
        with plainly(ValueError):
            return _bare(asked, tensor_files.load_foreign(asked.model)), data or nothing
    network, data = architecture(asked, "train", "val")
    with plainly(ValueError, TypeError):
        networks.load_all_from(network, asked.model)
    return network, data or nothing


def architecture(asked: argparse.Namespace, *splits: str) -> tuple[nn.Module, Prepared | None]:
    """The network that ``--network`` names, as its builder makes it, and the data that ``--data`` names."""
    from edgepress import networks

    data = _prepared(asked, *splits)
    if ":" in asked.network:
        module, _, attribute = asked.network.partition(":")
        entry = registry.NetworkEntry(asked.network, module, attribute, "", inputs=[], args=_arguments(asked.args))
    elif asked.network in registry.networks():
        entry = registry.networks()[asked.network]
    else:
        raise UserError(registry.unknown("network", asked.network, registry.networks()))
    with plainly(ValueError, TypeError, ImportError, AttributeError):
        try:
            return networks.construct(entry, data), data
        except ValueError as error:
            raise UserError(f"{error}; name them by --data") if data is None else error from None


def _prepared(asked: argparse.Namespace, *splits: str) -> Prepared | None:
    from edgepress.datasets import Prepared

    with plainly(ValueError, OSError, KeyError):
        return Prepared.load(asked.data, splits) if asked.data else None


def _bare(asked: argparse.Namespace, tensors: Mapping[str, Tensor]) -> nn.Module:
    """A stand-in for a network of which only ``tensors`` are known."""
    from edgepress.graph import weight_names
    from edgepress.networks._bare import output_layers, stand_in

    candidates = output_layers(tensors)
    if asked.output_layer:
        network = stand_in(tensors, output := f"{asked.output_layer.removesuffix('.weight')}.weight")
        if output not in weight_names(network):
            raise UserError(f"{asked.model} has no Linear or Conv layer {asked.output_layer!r}; "
                            f"--output-layer may be {', '.join(candidates)}")  # fmt: skip
        return network
    if asked.sparsity and len(candidates) > 1:
        shown = ", ".join(candidates[:_SHOWN]) + (" …" if len(candidates) > _SHOWN else "")
        raise UserError(f"{asked.model} does not show which layer is the output layer, which pruning leaves "
                        f"dense: name it by --output-layer ({shown})")  # fmt: skip
    return stand_in(tensors)


def _arguments(text: str) -> dict[str, Any]:
    try:
        arguments = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"--args is not JSON: {error}") from None
    if not isinstance(arguments, dict):
        raise UserError("--args must be a JSON object, such as '{\"width\": 12}'")
    return arguments


class _NoData(Exception):
    """A method uses examples, but there are none."""


class _Nothing(dict[str, Any]):
    """Missing splits."""

    def __missing__(self, split: str) -> Any:
        raise _NoData("the method uses examples; name them by --data, and the network by --network")

    def values(self) -> Any:
        return self["train"]


def _unpack(asked: argparse.Namespace) -> int:
    from safetensors.torch import save
    from torch import contiguous_format

    stored, output = packed(asked.file), _output(asked, asked.file, "float32")
    state = stored.state_dict()
    write(output, save({name: tensor.clone(memory_format=contiguous_format) for name, tensor in state.items()}))
    print(f"{output}: {len(state)} tensors, {output.stat().st_size:,} bytes")
    return 0


def _inspect(asked: argparse.Namespace) -> int:
    stored = packed(asked.file)
    size = Path(asked.file).stat().st_size
    _print_tensors(stored, {})
    numbers = sum(_count(encoding) for encoding in {id(e): e for e in stored.tensors.values()}.values())
    print(f"\n{asked.file}: {size:,} bytes with its header, {8 * size / numbers:.2f} bits each of {numbers:,} numbers")
    if stored.steps:
        print(f"made by {' and then '.join(stored.steps)}: {stored.spec}")
    return 0


def packed(path: str) -> Compressed:
    """A packed file. Raises UserError where it is none."""
    from edgepress.packing import Compressed, PackedFileError

    with plainly(PackedFileError, OSError):
        return Compressed.load(path)


def _print_tensors(stored: Compressed, before: dict[str, Tensor]) -> None:
    """Print a table of the tensors, with the error of those whose values ``before`` are given."""
    from tabulate import tabulate

    rows = []
    first = {id(encoding): name for name, encoding in reversed(stored.tensors.items())}
    for name, encoding in stored.tensors.items():
        if first[id(encoding)] != name:
            rows.append({"tensor": name, "shape": "", "stored as": f"see {first[id(encoding)]}"})
            continue
        parts: list[bytes] = []
        layout, after = encoding.write(parts), encoding.decode()
        row = {
            "tensor": name,
            "shape": "×".join(map(str, encoding.shape)),
            "stored as": " ".join(_words(layout)),
            "bits": f"{encoding.bits:g}",
            "zeros": f"{1 - int(after.count_nonzero()) / max(1, after.numel()):.1%}",
            "bytes": f"{sum(map(len, parts)):,}",
        }
        if before:
            same = name in before and before[name].shape == after.shape  # it may have fewer channels
            row["error"] = f"{_error(before[name], after):.2%}" if same else ""
        rows.append(row)
    align = {"bits": "right", "zeros": "right", "bytes": "right", "error": "right"}
    print(tabulate(rows, headers="keys", disable_numparse=True, colalign=[align.get(key, "left") for key in rows[0]]))


def _error(before: Tensor, after: Tensor) -> float:
    norm = float(before.norm())
    return float((before - after).norm()) / norm if norm else 0.0


def _words(layout: Any) -> list[str]:
    """The words in a layout: encoding, mask, kind of codebook."""
    if isinstance(layout, str):
        return [layout]
    return [word for part in layout for word in _words(part)] if isinstance(layout, list) else []


def _count(encoding: Encoding) -> int:
    from math import prod

    return prod(encoding.shape)


def _output(asked: argparse.Namespace, source: str, label: str) -> Path:
    """The output path. Raises UserError if it exists, or if ``source`` is not a file."""
    if not Path(source).is_file():
        raise UserError(f"{source} does not exist or is not a file; name a safetensors file")
    path = Path(asked.output) if asked.output else Path(source).with_suffix(f".{label}.safetensors")
    if path.exists() and not asked.force:
        raise UserError(f"{path} exists already; name another by --output, or use --force")
    return path
