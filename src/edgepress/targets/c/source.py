"""The C files of a network: ``network.h``, ``network.c``, a self-test, a Makefile, a README, and the kernels used."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from importlib import resources

import numpy as np

from edgepress.targets.c.plan import Average, Convolution, Maximum, Step, Sum, Value, Window
from edgepress.targets.c.program import Layer, Program, Rescaling, kernel_shape, scratch_parts
from edgepress.targets.c.weights import Rows

_PAST_END = 3  # bytes after codes, which are read a word at a time
_WIDTH = 116
_SCALES = """
/* An output is this scale times what network_run gives. */
extern const float network_output_scale[NETWORK_OUTPUTS];
"""


def kernel_file(name: str) -> str:
    """A file of the kernels, or a template, by its name."""
    return (resources.files(__package__) / "kernels" / name).read_text(encoding="utf-8")


def sources(program: Program) -> dict[str, str]:
    """All but the self-test, by name."""
    files = {name: kernel_file(name) for name in kernel_names(program)}
    files |= {"network.h": header(program), "network.c": _network(program)}
    objects = " ".join(sorted(name.removesuffix(".c") + ".o" for name in files if name.endswith(".c")))
    files["Makefile"] = kernel_file("Makefile.in").replace("@OBJECTS@", objects)
    return files


def kernel_names(program: Program) -> list[str]:
    """The files that the network's kernels are in."""
    kinds = {layer.kernel for layer in program.layers.values()}
    names = ["ep_weights.h", "ep_integer.h", "ep_inner.h", "ep_weights.c", "ep_band.c"]
    if any(layer.rows is not None and layer.rows.inflates for layer in program.layers.values()):
        names.append("ep_huffman.c")
    if not program.integers:
        return [*names, "ep_float.h", "ep_float.c"]
    return [*names, "ep_integer.c", *[f"ep_{kind}.c" for kind in ("depthwise", "sparse") if kind in kinds]]


def header(program: Program) -> str:
    """``network.h``."""
    entry, end = program.plan.entry, program.plan.end
    kind = "int32_t" if program.integers else "float"
    facts = {"INPUTS": entry.count, "INPUT_HEIGHT": entry.height, "INPUT_WIDTH": entry.width}
    facts |= {"INPUT_CHANNELS": entry.channels, "OUTPUTS": end.count, "ARENA_BYTES": program.arena.size}
    lines = [f"#define NETWORK_{name} {value}" for name, value in facts.items()]
    scales = ""
    if program.integers:
        assert entry.grid is not None
        lines += [
            f"#define NETWORK_INPUT_SCALE {_float(entry.grid.step)}",
            f"#define NETWORK_INPUT_ZERO_POINT {entry.grid.zero_point}",
            f"#define NETWORK_INPUT_HIGHEST {entry.grid.highest}",
        ]
        scales = _SCALES
    text = kernel_file("network.h.in").replace("@FACTS@", "\n".join(lines)).replace("@SCALES@", scales)
    inputs = "uint8_t" if program.integers else "float"
    about = "codes: round(value / scale) + zero point, from 0 to NETWORK_INPUT_HIGHEST"
    about = about if program.integers else "float32"
    place = program.arena.values[entry.name]
    return _filled(text, {"TYPE": kind, "INPUT": inputs, "ABOUT": about, "PLACE": str(place)})


def _filled(text: str, facts: Mapping[str, str]) -> str:
    for name, value in facts.items():
        text = text.replace(f"@{name}@", value)
    return text


def _network(program: Program) -> str:
    own = "ep_integer.h" if program.integers else "ep_float.h"
    parts = [
        "/* A network as edgepress compressed it: weights in their codes, and the order of its layers. */",
        f'#include "network.h"\n#include "{own}"\n',
        f"uint64_t network_arena[NETWORK_ARENA_BYTES / 8 + {int(not program.arena.size)}];",
        "#define AT(type, offset) ((type *)(void *)((uint8_t *)network_arena + (offset)))\n",
    ]
    if program.scales is not None:
        scales = np.broadcast_to(program.scales, (program.plan.end.count,)).astype(np.float32)
        parts.append(array("float", "network_output_scale", scales, "const"))
    steps = []
    for number, step in enumerate(program.plan.steps):
        declared, call = _step(program, step, number)
        parts += declared
        steps.append(f"    {call}")
    kind = "int32_t" if program.integers else "float"
    parts.append(f"\nvoid network_run({kind} output[NETWORK_OUTPUTS])\n{{\n" + "\n".join(steps) + "\n}\n")
    return "\n".join(parts)


def _step(program: Program, step: Step, number: int) -> tuple[list[str], str]:
    """Declarations of a step, and its call."""
    kind = "uint8_t" if program.integers else "float"
    places = [f"AT({kind}, {program.arena.values[value.name]})" for value in step.reads]
    to = "output" if step.writes == program.plan.end else f"AT({kind}, {program.arena.values[step.writes.name]})"
    prefix = "ep" if program.integers else "ep_float"
    if isinstance(step, Convolution):
        layer, name = program.layers[step.layer], _name(step.layer)
        added = places[1] if len(places) > 1 else "NULL"
        function = f"ep_conv_{layer.kernel}" if program.integers else f"ep_float_{layer.kernel}"
        scratch = f"AT(void, {program.arena.scratch[step.layer]})"
        return _layer(program, layer, name), f"{function}(&{name}, {places[0]}, {added}, {to}, {scratch});"
    name = f"step_{number}"
    declared = []
    if isinstance(step, Maximum | Average):
        declared.append(f"static const ep_window {name}_window = {_window(step.window, step.source, step.writes)};")
    if step.writes.name in program.rescalings:
        declared.append(
            f"static const ep_rescaling {name}_rescaling = {_rescaling(program.rescalings[step.writes.name])};"
        )
    ceiling = "" if program.integers else f"{_ceiling(step.ceiling)}, "
    if isinstance(step, Maximum):
        return declared, f"{prefix}_max_pool(&{name}_window, {places[0]}, {to});"
    if isinstance(step, Average):
        rescaling = f"&{name}_rescaling" if step.writes.name in program.rescalings else "NULL"
        zero = step.source.grid.zero_point if step.source.grid else 0
        how = f"{zero}, {rescaling}, " if program.integers else ceiling
        return declared, f"{prefix}_average(&{name}_window, {how}{places[0]}, {to});"
    assert isinstance(step, Sum)
    both = f"{places[0]}, {places[1] if len(places) > 1 else 'NULL'}"
    how = f"&{name}_rescaling, {both}, " if program.integers else f"{both}, {ceiling}"
    return declared, f"{prefix}_add({how}{to}, {step.writes.count});"


def _layer(program: Program, layer: Layer, name: str) -> list[str]:
    """The constants of a layer."""
    step, integers = layer.step, program.integers
    weights, table, _ = scratch_parts(layer, integers)
    band = program.scratch[step.layer].band(program.arena.rows[step.layer])
    declared = _weights(layer.rows, f"{name}_weights") if layer.rows is not None else []
    declared.append(array("int32_t" if integers else "float", f"{name}_bias", layer.bias))
    facts = {
        "window": _window(step.window, step.source, step.writes),
        "bias": f"{name}_bias", "out_channels": step.writes.channels, "groups": step.window.groups,
        "rows": program.arena.rows[step.layer], "row_at": band, "temp_at": band + weights + table,
    }  # fmt: skip
    if not integers:
        declared += _floats(layer, name)
        facts |= {"weights": f"&{name}_floats", "length": int(np.prod(kernel_shape(step))), "table_at": band + weights}
        inner = step.inner_ceiling if len(step.reads) > 1 else None
        facts |= {"inner_ceiling": _ceiling(inner), "ceiling": _ceiling(step.ceiling)}
        return [*declared, f"static const ep_float_conv {name} = {_struct(facts)};\n"]
    assert step.source.grid is not None
    facts |= {"weights": f"&{name}_weights", "in_zero": step.source.grid.zero_point}
    if layer.multipliers is not None and layer.shifts is not None:
        declared += [
            array("int32_t", f"{name}_multiplier", layer.multipliers),
            array("uint8_t", f"{name}_shift", layer.shifts),
        ]
        facts |= {"multiplier": f"{name}_multiplier", "shift": f"{name}_shift"}
        facts |= dict(zip(("zero", "low", "high"), program.codes_of(step), strict=True))
    if layer.summed is not None:
        declared.append(f"static const ep_rescaling {name}_sum = {_rescaling(layer.summed)};")
        facts["sum"] = f"&{name}_sum"
    return [*declared, f"static const ep_conv {name} = {_struct(facts)};\n"]


def _weights(rows: Rows, name: str) -> list[str]:
    declared, facts = [], dict[str, object]()

    def add(kind: str, part: str, values: np.ndarray | bytes) -> None:
        own = f"{name.removesuffix('_weights')}_{part}"
        if isinstance(values, bytes):
            values = np.frombuffer(values + bytes(_PAST_END), np.uint8)
        declared.append(array(kind, own, values))
        facts[{"point_factors": "factors"}.get(part, part)] = own

    if rows.bits:
        add("uint8_t", "codes", rows.codes)
        facts["unpack"] = "ep_huffman" if rows.inflates else f"ep_fixed_{rows.bits}"
    if rows.mask is not None:
        add("uint8_t", "mask", rows.mask.data)
        facts |= {"positions": f"ep_{rows.mask.kind}", "mask_width": rows.mask.width}
        if rows.mask.kind == "gaps":
            facts |= {"kept": int(rows.mask.kept.sum()), "first": rows.mask.first}
    if rows.table is not None:
        add("int8_t", "table", rows.table.reshape(-1))
        facts["table_step"] = rows.table.shape[1] if len(rows.table) > 1 else 0
    if rows.lowests is not None:
        add("int8_t", "lowests", rows.lowests)
    if rows.points is not None:
        add("uint8_t", "points", rows.points)
    if rows.factors is not None:
        add("int32_t", "point_factors", rows.factors)
    facts |= {"length": rows.length, "lowest": rows.lowest, "inflates": int(rows.inflates)}
    return [*declared, f"static const ep_weights {name} = {_struct(facts)};"]


def _floats(layer: Layer, name: str) -> list[str]:
    levels = layer.levels
    assert levels is not None
    facts: dict[str, object] = {"kind": f"EP_{levels.kind.upper()}", "numbers": f"{name}_numbers"}
    declared = [array("float", f"{name}_{'raw' if levels.kind == 'raw' else 'numbers'}", levels.numbers.reshape(-1))]
    if levels.kind == "raw":
        facts["numbers"] = f"{name}_raw"
    if layer.rows is not None:
        facts |= {"codes": f"&{name}_weights", "bits": layer.rows.bits}
        facts["step"] = levels.numbers.shape[1] if len(levels.numbers) > 1 else 0
    if levels.factors is not None:
        declared.append(array("float", f"{name}_factors", levels.factors))
        facts["factors"] = f"{name}_factors"
    return [*declared, f"static const ep_floats {name}_floats = {_struct(facts)};"]


def _window(window: Window, read: Value, written: Value) -> str:
    sides = {"height": read.height, "width": read.width, "channels": read.channels}
    sides |= {"out_height": written.height, "out_width": written.width}
    for name in ("kernel", "stride", "dilation"):
        sides[f"{name}_height"], sides[f"{name}_width"] = getattr(window, name)
    return _struct(sides | {"top": window.before[0], "left": window.before[1]})


def _rescaling(own: Rescaling) -> str:
    facts = {"multiplier": own.multipliers[0], "other": (*own.multipliers, 0)[1]}
    facts |= {"one_zero": own.zeros[0], "other_zero": (*own.zeros, 0)[1]}
    facts |= {"left": max(0, 32 - own.shift), "right": max(0, own.shift - 32)}
    return _struct(facts | {"zero": own.grid.zero_point, "low": own.bounds[0], "high": own.bounds[1]})


def _struct(facts: Mapping[str, object]) -> str:
    return "{" + ", ".join(f".{name} = {value}" for name, value in facts.items()) + "}"


def _name(layer: str) -> str:
    return "layer" + re.sub(r"\W", "_", f"_{layer}" if layer else "")


def _ceiling(ceiling: float | None) -> str:
    return "-1.0f" if ceiling is None else _float(min(ceiling, 3.4e38))


def _float(value: float) -> str:
    """A float32 constant, exactly."""
    number = float(np.float32(value))
    return f"{number:.9g}f" if "." in f"{number:.9g}" or "e" in f"{number:.9g}" else f"{number:.9g}.0f"


def array(kind: str, name: str, values: np.ndarray, scope: str = "static const") -> str:
    """A constant array; of one 0 where it would be empty, which C does not have."""
    numbers = values.reshape(-1).tolist() or [0]
    texts: Iterable[str] = map(_float, numbers) if values.dtype.kind == "f" else map(_whole, numbers)
    lines, line = [], "   "
    for text in texts:
        if len(line) + len(text) + 2 > _WIDTH:
            lines.append(line)
            line = "   "
        line += f" {text},"
    return f"{scope} {kind} {name}[{len(numbers)}] = {{\n" + "\n".join([*lines, line]) + "\n};"


def _whole(number: int) -> str:
    return str(number) if number > -(1 << 31) else "(-2147483647 - 1)"
