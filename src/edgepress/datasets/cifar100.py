"""CIFAR-100 (Krizhevsky 2009): 60,000 colour images of 32×32, 100 classes, from its binary archive."""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Collection
from pathlib import Path, PurePosixPath

import numpy as np

from edgepress.datasets import AGAIN, DataError, Prepared
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
_BESIDE = 1 << 20  # bytes for headers and padding of an archive


def prepare(raw: Path, split_seed: int) -> Prepared:
    """Images of shape (3, 32, 32), standardized per channel over the training pixels; targets are the fine labels.

    The official 10,000 test images are test; 5,000 of the other 50,000, drawn by ``split_seed``, are val.
    """
    contents = read_members(raw / ARCHIVE, MEMBERS.values(), LARGEST)
    images = {part: _images(raw / ARCHIVE / member, contents[member]) for part, member in MEMBERS.items()}
    return normalise("cifar100", images["train"], images["test"], 100, split_seed)


def _images(file: Path, content: bytes) -> Images:
    if len(content) % RECORD:
        raise DataError(
            f"{file} has {len(content):,} bytes, not a multiple of {RECORD:,}, the size of an image; {AGAIN}"
        )
    records = np.frombuffer(content, dtype=np.uint8).reshape(-1, RECORD)
    return Images(file, records[:, 2:].reshape(-1, *SHAPE), records[:, 1])


def read_members(archive: Path, names: Collection[str], largest: int) -> dict[str, bytes]:
    """Read the files called ``names`` from a gzipped tar archive without unpacking to disk.

    Raises DataError if one is missing, the archive is damaged, or it is suspicious: it has links, devices, paths that
    lead outside, duplicate names, a file of more than ``largest`` bytes, or much besides the files.
    """
    found: dict[str, bytes] = {}
    try:
        with gzip.open(archive) as unpacked:
            stream = _Limited(unpacked, (len(names) + 1) * largest + _BESIDE)
            with tarfile.open(fileobj=stream, mode="r|") as members:  # type: ignore[call-overload] # it only reads
                for member in members:
                    _check_honest(member, largest)
                    if member.isreg() and member.name in names:
                        if member.name in found:
                            raise _Dishonest(f"{member.name!r} occurs twice")
                        found[member.name] = members.extractfile(member).read()
            while stream.read(_BESIDE):
                pass  # to the end, to verify gzip's checksum
    except _Dishonest as error:
        raise DataError(f"{archive}: {error}; {AGAIN}") from None
    except FileNotFoundError:
        raise DataError(f"{archive} does not exist; `snakemake fetch` downloads it") from None
    except (tarfile.TarError, EOFError, OSError, ValueError, zlib.error) as error:
        raise DataError(f"{archive} is truncated or damaged ({error}); {AGAIN}") from None
    for name in names:
        if name not in found:
            raise DataError(f"{archive} has no {name}; {AGAIN}")
    return found


class _Dishonest(Exception):
    """An archive is suspicious. The message continues after the name of the archive."""


def _check_honest(member: tarfile.TarInfo, largest: int) -> None:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts:
        raise _Dishonest(f"{member.name!r} leads out of the archive")
    if not (member.isreg() or member.isdir()):
        raise _Dishonest(f"{member.name!r} is neither a file nor a folder")
    if member.size > largest:
        raise _Dishonest(f"{member.name!r} has {member.size:,} bytes; at most {largest:,} are allowed")


class _Limited:
    """A stream that raises after ``limit`` bytes, whatever its header says."""

    def __init__(self, stream: io.BufferedIOBase, limit: int) -> None:
        self._stream, self._limit, self._left = stream, limit, limit

    def read(self, size: int) -> bytes:
        data: bytes = self._stream.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise _Dishonest(f"it unpacks to more than {self._limit:,} bytes")
        return data
