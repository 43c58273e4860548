"""CIFAR-100 (Krizhevsky 2009): 60,000 colour images of 32×32, 100 classes, from its archive of plain bytes."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Collection
from pathlib import Path, PurePosixPath

import numpy as np

from edgepress.datasets import DataError, Prepared
from edgepress.datasets._images import Images, normalise

DATASETS = {
    "cifar100": {
        "object": "prepare",
        "about": "60,000 colour images, 32×32, 100 classes",
        "task": "classification",
        "input": "image",
    },
}

ARCHIVE = "cifar-100-binary.tar.gz"
MEMBERS = {"train": "cifar-100-binary/train.bin", "test": "cifar-100-binary/test.bin"}
SHAPE = (3, 32, 32)
RECORD = 2 + 3 * 32 * 32  # coarse label, fine label, pixels
LARGEST = 50_000 * RECORD


def prepare(raw: Path, split_seed: int) -> Prepared:
    """Images of shape (3, 32, 32), each channel normalised over all training pixels; the targets are the fine labels.

    The official 10,000 test images are test; 5,000 of the other 50,000, drawn by ``split_seed``, are val.
    """
    contents = read_members(raw / ARCHIVE, MEMBERS.values(), LARGEST)
    images = {part: _images(raw / ARCHIVE / member, contents[member]) for part, member in MEMBERS.items()}
    return normalise("cifar100", images["train"], images["test"], 100, split_seed)


def _images(file: Path, content: bytes) -> Images:
    if len(content) % RECORD:
        raise DataError(f"{file} has {len(content):,} bytes, not a multiple of {RECORD:,}, the bytes of an image")
    records = np.frombuffer(content, dtype=np.uint8).reshape(-1, RECORD)
    return Images(file, records[:, 2:].reshape(-1, *SHAPE), records[:, 1])


def read_members(archive: Path, names: Collection[str], largest: int) -> dict[str, bytes]:
    """Read the files called ``names`` out of a gzipped tar archive, by name; nothing is unpacked to disk.

    Raises DataError where one is missing, the archive is damaged, or it holds what an honest one does not: links,
    devices, names that lead out of it, a file of more than ``largest`` bytes.
    """
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(archive, "r|gz") as members:
            for member in members:
                path = PurePosixPath(member.name)
                if path.is_absolute() or ".." in path.parts:
                    raise DataError(f"{archive}: {member.name!r} leads out of the archive")
                if not (member.isreg() or member.isdir()):
                    raise DataError(f"{archive}: {member.name!r} is neither a file nor a folder")
                if member.size > largest:
                    raise DataError(f"{archive}: {member.name!r} has {member.size:,} bytes; {largest:,} is the most")
                if member.isreg() and member.name in names:
                    found[member.name] = members.extractfile(member).read()
    except FileNotFoundError:
        raise DataError(f"{archive} is not there; `snakemake fetch` gets it") from None
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise DataError(f"{archive} is cut short or damaged ({error})") from None
    for name in names:
        if name not in found:
            raise DataError(f"{archive} has no {name}")
    return found
