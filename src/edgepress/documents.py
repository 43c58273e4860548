"""The files of a checkout that follow from the code: the starter config, its schema, and tables for those who read.

``python -m edgepress.documents`` writes config/config.yaml, config/schema.json and the tables in config/README.md,
results/README.md, results/reference/README.md, docs/own.md, docs/npu.md and docs/methods anew.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from edgepress import registry
from edgepress.cells import CellConfig
from edgepress.config import RunConfig
from edgepress.files import write_atomically
from edgepress.metrics import COLUMNS
from edgepress.own import DATA_KINDS, OwnConfig
from edgepress.recipes import RECIPES
from edgepress.reporting import npus
from edgepress.reporting.reference import tables as tables_of_reference
from edgepress.targets import latency
from edgepress.training import progress

# What the starter run asks for beside the defaults: methods that look at data, where they say most in the seconds that
# they take.
STARTER = {
    "overrides": {
        "digits/dnn_simple": {
            "chains": {
                "gptq_weights": {"steps": ["gptq"]},
                "gptq_activations": {"steps": ["activations_mse", "gptq"], "bits": [8, 4]},
                "obs_pruned": {"steps": ["obs_global"]},
            }
        },
        "digits/cnn": {
            "chains": {
                "gptq_weights": {"steps": ["gptq"], "bits": [8, 4, 3, 2]},
                "gptq_activations": {"steps": ["activations_mse", "gptq"], "bits": [8, 4]},
                "mixed_weights": {"steps": ["mixed"], "bits": [5, 4]},
            }
        },
        "mv_synthetic": {"training": {"max_epochs": 20}},  # it has ten times the rows of the others
    }
}


def _settings() -> dict[str, FieldInfo]:
    """The settings in the order in which one reads them: what is run, how, and what is an exception."""
    inherited = {**OwnConfig.model_fields, **CellConfig.model_fields}
    run = {name: field for name, field in RunConfig.model_fields.items() if name not in inherited}
    last = {name: run.pop(name) for name in ("overrides", "replication")}
    return {**run, **inherited, **last}


def _starter_yaml() -> str:
    lines = [
        "# The starter run: every data set embedded, no network needed, a few minutes on a laptop.",
        "# What each setting means and may be: config/README.md. Written by `python -m edgepress.documents`.",
    ]
    for name, field in _settings().items():
        lines += ["", f"# {field.description}"]
        value = json.loads(json.dumps(field.default, default=lambda model: model.model_dump()))
        if name in STARTER:
            block = yaml.safe_dump(STARTER[name], default_flow_style=None, sort_keys=False, width=1000)
            lines += [f"{name}:", textwrap.indent(block, "  ").rstrip()]
        elif isinstance(value, dict) and value:
            lines.append(f"{name}:")
            lines += [f"  {key}: {_flow(item)}" for key, item in value.items()]
        elif isinstance(value, list) and value and isinstance(value[0], str):
            lines += [f"{name}:", *(f"  - {item}" for item in value)]
        else:
            lines.append(f"{name}: {_flow(value)}")
    return "\n".join(lines) + "\n"


def _flow(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("\n").removesuffix("\n...")


def _table() -> str:
    def rows(fields: Mapping[str, FieldInfo], defaults: BaseModel, prefix: str = "") -> Iterator[str]:
        for name, field in fields.items():
            default = getattr(defaults, name)
            if isinstance(default, BaseModel):
                yield from rows(type(default).model_fields, default, f"{name}.")
            else:
                yield f"| `{prefix}{name}` | {_flow_short(default)} | {field.description} |"

    return "\n".join(["| setting | default | meaning |", "|---|---|---|", *rows(_settings(), RunConfig())])


def _recipes_table() -> str:
    rows = (
        f"| `{name}` | {', '.join(f'`{setting}: {_flow(value)}`' for setting, value in settings.items())} |"
        for name, settings in RECIPES.items()
    )
    return "\n".join(["| recipe | settings of `training` |", "|---|---|", *rows])


def _flow_short(value: Any) -> str:
    text = _flow(value)
    return f"`{text}`" if len(text) <= 60 else "see config.yaml"


def _own_table() -> str:
    """The options of the user's own data: those of each kind, then those of all, once."""
    rows, seen = [], set()
    for kind, model in DATA_KINDS.items():
        for name, field in sorted(model.model_fields.items(), key=lambda item: item[0] not in (kind, "target", "task")):
            shared = all(name in other.model_fields for other in DATA_KINDS.values())
            if name not in seen or not shared:
                default = "" if field.is_required() else _flow_short(field.default)
                rows.append(f"| {'all' if shared else kind} | `{name}` | {default} | {field.description} |")
                seen.add(name)
    rows.sort(key=lambda row: row.startswith("| all"))
    return "\n".join(["| data | option | default | meaning |", "|---|---|---|---|", *rows])


def _columns_table(columns: Mapping[str, str]) -> str:
    rows = (f"| `{name}` | {meaning} |" for name, meaning in columns.items())
    return "\n".join(["| column | meaning |", "|---|---|", *rows])


def _method_pages(root: Path) -> dict[Path, str]:
    """The page of each file of methods, docs/methods/<file>.md. Raises FileNotFoundError where it has none."""
    modules: dict[str, list[registry.MethodEntry]] = {}
    for entry in registry.built_in("methods").values():
        modules.setdefault(entry.module.rpartition(".")[2], []).append(entry)
    pages = {root / "docs" / "methods" / f"{module}.md": entries for module, entries in modules.items()}
    return {page: _between_marks(page, {"methods": _methods_table(entries)}) for page, entries in pages.items()}


def _methods_table(entries: list[registry.MethodEntry]) -> str:
    rows = (f"| `{entry.name}` | {entry.about} |" for entry in entries)
    return "\n".join(["| method | what it does |", "|---|---|", *rows])


def _between_marks(path: Path, tables: Mapping[str, str]) -> str:
    """The text of a document with what stands between the marks ``name: begin`` and ``name: end`` of each table
    replaced.
    """
    text = path.read_text(encoding="utf-8")
    for name, table in tables.items():
        begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
        before, rest = text.split(begin)
        text = f"{before}{begin}{table}\n{end}{rest.split(end)[1]}"
    return text


def documents(root: Path) -> dict[Path, str]:
    """The files of the checkout at ``root`` that follow from the code, and what they should hold."""
    schema = RunConfig.model_json_schema() | {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    reference = root / "results" / "reference"
    settings, columns, own = root / "config" / "README.md", root / "results" / "README.md", root / "docs" / "own.md"
    return {
        root / "config" / "config.yaml": _starter_yaml(),
        root / "config" / "schema.json": json.dumps(schema, indent=2) + "\n",
        settings: _between_marks(settings, {"settings": _table(), "recipes": _recipes_table()}),
        columns: _between_marks(
            columns,
            {
                "columns": _columns_table(COLUMNS),
                "latency": _columns_table(latency.COLUMNS),
                "recipes": _columns_table(progress.COLUMNS),
            },
        ),
        root / "docs" / "npu.md": _between_marks(root / "docs" / "npu.md", npus.tables(reference)),
        own: _between_marks(own, {"own": _own_table()}),
        reference / "README.md": _between_marks(reference / "README.md", tables_of_reference(reference)),
        **_method_pages(root),
    }


if __name__ == "__main__":
    for document, text in documents(Path()).items():
        write_atomically(document, text)
