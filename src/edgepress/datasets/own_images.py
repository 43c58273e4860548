"""The user's own images: a folder or zip file with one folder per class."""

from __future__ import annotations

import contextlib
import io
import sys
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from tqdm import tqdm

from edgepress.datasets import DataError, Prepared, counted, note, some
from edgepress.datasets._classes import check_splits, divide_by_class, say_numbers
from edgepress.datasets._images import Images, normalise
from edgepress.datasets._scaling import pixel_scaler
from edgepress.files import walk

# Accepted names of split folders, in any case.
SPLIT_FOLDERS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
# Clutter of systems and tools. Names that begin with a dot are hidden, too.
HIDDEN = {"__MACOSX", "__pycache__", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found"}
# Formats that Pillow only recognizes, or needs another program to decode.
NOT_DECODED = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}


def prepare(
    raw: Path,
    split_seed: int,
    *,
    name: str,
    file: str,
    size: int | None = None,
    channels: int = 3,
    val: float | None = None,
    scaling: str = "standard",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Prepared:
    """Images of shape (channels, height, width); classes are the sorted names of the folders in ``train``.

    With ``size``, images are scaled to cover a square of that side and center-cropped. Raises DataError if a file is
    not an image, if sizes differ and ``size`` is not given, or if train lacks a class.
    """
    with _opened(Path(file)) as (paths, read):
        found = _Found.among(file, paths)
        classes = found.classes()
        found.say()
        bar = tqdm(
            total=sum(len(paths) for part in found.images.values() for paths in part.values()),
            desc=name,
            unit="image",
            leave=False,
            file=sys.__stderr__,  # the terminal, if any; a job's output goes to its log
            disable=None,
        )
        decoder = _Decoder(file, read, size, "L" if channels == 1 else "RGB", bar.update)
        with bar:
            images = {part: decoder.images(by_class, classes) for part, by_class in found.images.items()}
    if decoder.animated:
        images_with = counted(len(decoder.animated), "image has", "images have")
        note(f"{file}: {images_with} several frames; the first is read: {some(decoder.animated)}")
    check_splits(file, {part: some_images.labels for part, some_images in images.items()}, classes)
    say_numbers(file, classes)
    labels = images["train"].labels
    given = images.get("val") or divide_by_class(file, labels, classes, split_seed, val or 0.1, test=0)["val"]
    learn = pixel_scaler(scaling, mean, std)
    return normalise(name, images["train"], images["test"], len(classes), split_seed, val=given, learn=learn)


@contextlib.contextmanager
def _opened(source: Path) -> Iterator[tuple[list[str], Callable[[str], bytes]]]:
    """The paths in a folder or zip file (folders end with a slash), and a function that reads a file."""
    if source.is_dir():
        yield (
            [path.relative_to(source).as_posix() + "/" * path.is_dir() for path in walk(source)],
            (lambda path: (source / path).read_bytes()),
        )
        return
    try:
        archive = zipfile.ZipFile(source)
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{source} is neither a folder nor a zip file: {error}") from None
    with archive:
        members = {name.replace("\\", "/"): name for name in archive.namelist()}  # some Windows tools write backslashes
        yield list(members), lambda path: archive.read(members[path])


@cache
def _formats() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The formats to read, and their file extensions."""
    Image.init()
    formats = tuple(name for name in Image.OPEN if name not in NOT_DECODED)
    endings = Image.registered_extensions()
    return formats, tuple(sorted(ending for ending, name in endings.items() if name in formats))


@dataclass
class _Found:
    """The files of a data set: its images, and skipped files."""

    file: str
    images: dict[str, dict[str, list[str]]] = field(default_factory=dict)  # split → class → paths
    folders: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))  # split → names of its folders
    deeper: list[str] = field(default_factory=list)  # images in subfolders of a class
    no_images: list[str] = field(default_factory=list)
    no_class: list[str] = field(default_factory=list)  # images outside class folders
    hidden: list[str] = field(default_factory=list)

    @classmethod
    def among(cls, file: str, paths: Iterable[str]) -> _Found:
        """Classify the ``paths`` of ``_opened``. Raises DataError if the splits are ambiguous."""
        found, seen = cls(file), []
        for path in sorted(paths):
            parts = path.rstrip("/").split("/")
            if any(part.startswith(".") or part in HIDDEN for part in parts):
                found.hidden += [path] * (not path.endswith("/"))
            else:
                seen.append((path, parts))
        root = _root(file, [parts if path.endswith("/") else parts[:-1] for path, parts in seen])
        for path, parts in seen:
            found._add(path, parts[len(root) :] if parts[: len(root)] == root else [])
        return found

    def _add(self, path: str, parts: list[str]) -> None:
        split = SPLIT_FOLDERS.get(parts[0].lower()) if parts else None
        if split and (len(parts) > 2 or (len(parts) == 2 and path.endswith("/"))):
            self.folders[split].add(parts[1])
        if path.endswith("/"):
            return
        if not path.lower().endswith(_formats()[1]):
            self.no_images.append(path)
        elif not split or len(parts) < 3:
            self.no_class.append(path)
        else:
            self.images.setdefault(split, {}).setdefault(parts[1], []).append(path)
            self.deeper += [path] * (len(parts) > 3)

    def classes(self) -> list[str]:
        """The sorted names of the classes. Raises DataError if train or test has no images, if a class of train has
        none, or if val or test has a class that train lacks.
        """
        for split in ("train", "test"):
            if not self.images.get(split):
                raise DataError(f"{self.file} has no images {split}/<class>/* with an extension such as .png or .jpg")
        there = {split: by_class.keys() | self.folders[split] for split, by_class in self.images.items()}
        for split, labels in there.items():
            unknown = sorted(label for label in labels - there["train"] if label in self.images[split])
            if unknown:
                raise DataError(f"{self.file} has {split}/{unknown[0]}, but no train/{unknown[0]}; add "
                                f"images of that class to train, or remove the folder")  # fmt: skip
        empty = sorted(there["train"] - self.images["train"].keys())
        if empty:
            raise DataError(f"{self.file} has no images in {some(f'train/{label}' for label in empty)}; add images, "
                            f"or remove {'that folder' if len(empty) == 1 else 'these folders'}")  # fmt: skip
        return sorted(self.images["train"])

    def say(self) -> None:
        """Note skipped files, and images read from unexpected places."""
        for paths, one, many in (
            (self.no_images, "file that is not an image", "files that are not images"),
            (self.no_class, "image outside <split>/<class> folders", "images outside <split>/<class> folders"),
            (self.hidden, "hidden file", "hidden files"),
        ):
            if paths:
                told = " (by extension)" if paths is self.no_images else ""
                note(f"{self.file}: skipped {counted(len(paths), one, many)}: {some(paths)}{told}")
        if self.deeper:
            images = counted(len(self.deeper), "image is", "images are")
            note(f"{self.file}: {images} in subfolders of a class, and belong to it: {some(self.deeper)}")


def _root(file: str, folders: Iterable[Sequence[str]]) -> list[str]:
    """The folder of train and test, as parts of its path.

    Raises DataError if there are several, or if a split has folders of two names.
    """
    inside: dict[tuple[str, ...], dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for parts in folders:
        for depth, part in enumerate(parts):
            if part.lower() in SPLIT_FOLDERS:
                inside[tuple(parts[:depth])][SPLIT_FOLDERS[part.lower()]].add(part)
    whole = [root for root, splits in inside.items() if {"train", "test"} <= splits.keys()] or list(inside)
    outermost = [root for root in whole if len(root) == min(map(len, whole))]
    if len(outermost) > 1:
        raise DataError(f"{file} holds {len(outermost):,} data sets: {some('/'.join(root) for root in outermost)}; "
                        f"name the folder of one")  # fmt: skip
    root = outermost[0] if outermost else ()
    for split, names in inside[root].items():
        if len(names) > 1:
            raise DataError(
                f"{file} has {' and '.join(sorted(names))}, which are both {split}; merge them into one folder"
            )
    return list(root)


class _Decoder:
    """Reads images of one size and mode, ``L`` or ``RGB``; calls ``on_image`` for each."""

    def __init__(
        self,
        file: str,
        read: Callable[[str], bytes],
        size: int | None,
        mode: str,
        on_image: Callable[[], object],
    ) -> None:
        self.file = file
        self.read = read
        self.size = size
        self.shape: tuple[int, int] | None = None
        self.mode = mode
        self.on_image = on_image
        self.animated: list[str] = []

    def images(self, by_class: dict[str, list[str]], classes: Sequence[str]) -> Images:
        labels = [classes.index(label) for label, paths in by_class.items() for _ in paths]
        paths = [path for paths in by_class.values() for path in paths]
        pixels: np.ndarray | None = None
        for row, path in enumerate(paths):
            image = self._pixels(path)
            if pixels is None:
                pixels = np.empty((len(paths), *image.shape), dtype=np.uint8)
            pixels[row] = image
            self.on_image()
        assert pixels is not None  # splits without images are not found
        return Images(Path(self.file), pixels, np.array(labels))

    def _pixels(self, path: str) -> np.ndarray:
        """One image, uint8 of shape (channels, height, width)."""
        try:
            with Image.open(io.BytesIO(self.read(path)), formats=_formats()[0]) as opened:
                if getattr(opened, "is_animated", False) and opened.format != "MPO":  # MPO is a photo with previews
                    self.animated.append(path)
                image = ImageOps.exif_transpose(_in_8_bits(opened)).convert(self.mode)
        except UnidentifiedImageError:
            raise DataError(f"{self.file}: {path} cannot be read as an image: unknown format") from None
        except (OSError, ValueError, SyntaxError, RuntimeError, NotImplementedError, Image.DecompressionBombError,
                zipfile.BadZipFile, zlib.error) as error:  # fmt: skip
            raise DataError(f"{self.file}: {path} cannot be read as an image: {error}") from None
        if self.size is not None:
            image = ImageOps.fit(image, (self.size, self.size))
        self.shape = self.shape or image.size
        if image.size != self.shape:
            raise DataError(f"{self.file}: {path} is {image.width}×{image.height} pixels, the first image "
                            f"{self.shape[0]}×{self.shape[1]}; set `size` to the side of all images")  # fmt: skip
        values = np.asarray(image)
        return values[None] if self.mode == "L" else np.moveaxis(values, 2, 0)


def _in_8_bits(image: Image.Image) -> Image.Image:
    """The image in 8 bits. 16-bit images keep their upper 8 bits; PIL would clip at 255."""
    if image.mode in ("I", "F"):
        raise ValueError(f"its pixels are of mode {image.mode}; save them in 8 or 16 bits")
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image
