"""Small files of user data, and the prepared data sets."""

import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from edgepress import config, datasets
from edgepress.datasets import Prepared

TASKS = {"csv": {"target": "price", "task": "regression"}, "images": {}, "npz": {"task": "classification"}}


def prepared(kind: str, file: str, **options) -> Prepared:
    """What the user gets who writes this data set into a config."""
    config.parse({"own_data": {"mine": {kind: file, **TASKS[kind], **options}}, "networks": {"mine": ["dnn_simple"]}})
    return datasets.prepare("mine", split_seed=0)


def houses(path: Path, rows: int = 50, **changed: list[str]) -> str:
    numbers = np.random.default_rng(0).normal(10, 3, (rows, 2)).round(3)
    columns = {
        "id": [f"h{row}" for row in range(rows)],
        "area": [str(value) for value in numbers[:, 0]],
        "town": [["Ulm", "Bonn", "Köln"][row % 3] for row in range(rows)],
        "price": [str(value) for value in numbers[:, 1]],
    } | changed
    lines = [",".join(columns), *map(",".join, zip(*columns.values(), strict=True))]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path.name


def image(shade: int, size: tuple[int, int] = (8, 8), form: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, (shade, 0, 255 - shade)).save(out, form)
    return out.getvalue()


def pictures(each: int = 10) -> dict[str, bytes]:
    return {
        f"{part}/{label}/{number}.png": image(shade + number)
        for part in ("train", "test")
        for label, shade in (("cat", 40), ("ant", 200))
        for number in range(each)
    }


def write_folder(path: Path, files: dict[str, bytes]) -> str:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path.name


def write_zip(path: Path, files: dict[str, bytes]) -> str:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path.name


def arrays(path: Path, **changed: np.ndarray) -> str:
    numbers = np.random.default_rng(0)
    given = {"x": numbers.normal(5, 2, (40, 3)), "y": np.arange(40) % 4} | changed
    np.savez(path, **{name: array for name, array in given.items() if array is not None})
    return path.name
