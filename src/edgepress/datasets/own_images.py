"""The user's own images: a folder, or a zip file, with a folder for each class."""

from __future__ import annotations

import contextlib
import io
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm

from edgepress.datasets import DataError, Prepared
from edgepress.datasets._images import Images, normalise
from edgepress.datasets._scaling import pixel_scaler

ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


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

    With ``size``, an image is scaled until it covers a square of that side, whose middle is kept. Raises DataError
    where a file is no image, or where they differ in size and ``size`` is not given.
    """
    with _opened(Path(file)) as (paths, read):
        parts = _by_class(file, paths)
        classes = sorted(parts["train"])
        bar = tqdm(
            total=sum(len(paths) for part in parts.values() for paths in part.values()),
            desc=name,
            unit="image",
            leave=False,
            file=sys.__stderr__,  # the terminal, where there is one; what a job prints goes to its log
            disable=None,
        )
        decoder = _Decoder(file, read, size, "L" if channels == 1 else "RGB", bar.update)
        with bar:
            images = {part: decoder.images(by_class, classes) for part, by_class in parts.items()}
    learn = pixel_scaler(scaling, mean, std)
    given = images.get("val", val or 0.1)
    return normalise(name, images["train"], images["test"], len(classes), split_seed, val=given, learn=learn)


@contextlib.contextmanager
def _opened(source: Path) -> Iterator[tuple[list[str], Callable[[str], bytes]]]:
    """The paths of all files in a folder or zip file, within it, and what reads one."""
    if source.is_dir():
        files = (path for path in source.rglob("*") if path.is_file())
        yield [path.relative_to(source).as_posix() for path in files], lambda path: (source / path).read_bytes()
        return
    try:
        archive = zipfile.ZipFile(source)
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{source} is neither a folder nor a zip file: {error}") from None
    with archive:
        yield archive.namelist(), archive.read


def _by_class(file: str, paths: Sequence[str]) -> dict[str, dict[str, list[str]]]:
    """Part → class → paths of its images, sorted. One folder around ``train`` and ``test`` may be there."""
    parts: dict[str, dict[str, list[str]]] = {"train": {}, "val": {}, "test": {}}
    for path in sorted(paths):
        *around, part, label, image = ["", *path.split("/")] if path.count("/") >= 2 else ["", "", "", ""]
        if len(around) <= 2 and part in parts and image.lower().endswith(ENDINGS) and not image.startswith("."):
            parts[part].setdefault(label, []).append(path)
    for part in ("train", "test"):
        if not parts[part]:
            raise DataError(f"{file} has no images {part}/<class>/*, of the kinds {' '.join(ENDINGS)}")
    for part in ("val", "test"):
        for label in parts[part].keys() - parts["train"].keys():
            raise DataError(f"{file} has {part}/{label}, but no train/{label}")
    return {part: by_class for part, by_class in parts.items() if by_class}


class _Decoder:
    """Reads images of one size and mode, ``L`` or ``RGB``; ``on_image`` is told of each."""

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

    def images(self, by_class: dict[str, list[str]], classes: Sequence[str]) -> Images:
        labels = [classes.index(label) for label, paths in by_class.items() for _ in paths]
        paths = [path for paths in by_class.values() for path in paths]
        first = self._pixels(paths[0])
        pixels = np.empty((len(paths), *first.shape), dtype=np.uint8)
        for row, path in enumerate(paths):
            pixels[row] = self._pixels(path)
            self.on_image()
        return Images(Path(self.file), pixels, np.array(labels))

    def _pixels(self, path: str) -> np.ndarray:
        """One image, uint8 of shape (channels, height, width)."""
        try:
            with Image.open(io.BytesIO(self.read(path))) as opened:
                image = ImageOps.exif_transpose(_in_8_bits(opened)).convert(self.mode)
        except (OSError, ValueError, SyntaxError, RuntimeError, NotImplementedError, Image.DecompressionBombError,
                zipfile.BadZipFile, zlib.error) as error:  # fmt: skip
            raise DataError(f"{self.file}: {path} cannot be read as an image: {error}") from None
        if self.size is not None:
            image = ImageOps.fit(image, (self.size, self.size))
        self.shape = self.shape or image.size
        if image.size != self.shape:
            raise DataError(f"{self.file}: {path} is {image.width}×{image.height} pixels, the first image "
                            f"{self.shape[0]}×{self.shape[1]}; give the side of all by `size`")  # fmt: skip
        values = np.asarray(image)
        return values[None] if self.mode == "L" else np.moveaxis(values, 2, 0)


def _in_8_bits(image: Image.Image) -> Image.Image:
    """The image; one of 16 bits by its upper 8, where PIL would make all beyond 255 white."""
    if image.mode in ("I", "F"):
        raise ValueError(f"its pixels are of mode {image.mode}; save them in 8 or 16 bits")
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image
