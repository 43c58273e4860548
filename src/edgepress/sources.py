"""Downloads the files of data sets to data/raw and verifies them. Imports nothing heavy.

data/sources.yaml gives the hash and locations of each file. It is searched on this machine first: in its place, in
mirror folders, in a system package. Only then is it downloaded from its URLs, through pooch.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import tempfile
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import yaml

CATALOGUE = Path(__file__).parent / "datasets" / "sources.yaml"  # links to the one in data/, for the wheel
MIRROR_VARIABLE = "EDGEPRESS_MIRROR"

_CHUNK = 1 << 20


class FetchError(RuntimeError):
    """A file could not be obtained or is invalid. The message says what to do."""


class _Unfit(Exception):
    """The file at one location is invalid. The message continues after the name of the location."""


@dataclass(frozen=True)
class Source:
    """One file of a data set: ``bytes`` and ``sha256`` of its uncompressed content, and its locations."""

    dataset: str
    file: str
    bytes: int
    sha256: str
    mirror: str
    system: str | None = None
    urls: Iterable[str] = ()


def load(path: str | Path = CATALOGUE) -> dict[str, dict[str, Source]]:
    """Read sources.yaml: data set → file → Source. Data sets without files are not in it."""
    catalogue = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    return {
        dataset: {file: Source(dataset=dataset, file=file, **about) for file, about in files.items()}
        for dataset, files in catalogue.items()
    }


def mirrors(setting: str | None = None) -> list[Path]:
    """The mirror folders: that of the config, then that of the environment variable."""
    return [Path(folder).expanduser() for folder in (setting, os.environ.get(MIRROR_VARIABLE)) if folder]


def check(path: str | Path, sha256: str) -> None:
    """Raise FetchError if the file at ``path`` does not have this hash."""
    try:
        with Path(path).open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise FetchError(f"{path} does not exist; `snakemake fetch` downloads it") from None
    if found != sha256:
        raise FetchError(
            f"{path} has sha256 {found} but must have {sha256}; remove it, and `snakemake fetch` downloads it"
        )


def fetch(
    source: Source,
    target: str | Path,
    folders: Iterable[Path] = (),
    *,
    retries: int = 2,
    terminal: TextIO | None = None,
) -> str:
    """Put the file at ``target``, atomically, and return where it came from.

    ``folders`` are mirrors. A failed connection is retried up to ``retries`` times; download progress is shown on
    ``terminal`` if it is one. Raises FetchError, one sentence, if no location has the file.
    """
    target = Path(target)
    tried = []
    if target.exists():
        try:
            check(target, source.sha256)
            return "already present"
        except FetchError as error:
            tried.append(str(error).split(";")[0])
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as temporary:
        part, download = Path(temporary, "part"), Path(temporary, "download")
        for place, obtain in _places(source, folders, download, retries, terminal):
            try:
                _unpack(obtain(), source, part)
            except (_Unfit, OSError, EOFError, zlib.error) as error:
                tried.append(f"{place} {_reason(error)}")
            else:
                part.replace(target)
                return "; ".join([*tried, place])
    raise FetchError(
        f"{source.file} of {source.dataset} ({source.bytes:,} bytes, sha256 {source.sha256}) could not be obtained: "
        f"{'; '.join(tried)}. Put it into a folder as {source.mirror}, name the folder by `mirror:` in the config or "
        f"by {MIRROR_VARIABLE}, and run again"
    )


def _places(
    source: Source, folders: Iterable[Path], download: Path, retries: int, terminal: TextIO | None
) -> Iterator[tuple[str, Callable[[], Path]]]:
    """The locations of the file in order, each with a function that provides it as a local path."""
    for folder in folders:
        own, as_raw = folder / source.mirror, folder / source.dataset / source.file
        path = as_raw if as_raw.exists() and not own.exists() else own
        yield str(path), partial(Path, path)
    if source.system:
        yield source.system, partial(Path, source.system)
    for url in source.urls:
        yield url, partial(_download, url, download, source.bytes, retries, terminal)


def _unpack(origin: Path, source: Source, part: Path) -> None:
    """Copy the content of ``origin`` to ``part``. Raise _Unfit as soon as it turns out to be another file."""
    digest, count = hashlib.sha256(), 0
    with origin.open("rb") as raw, part.open("wb") as out:
        stream = gzip.GzipFile(fileobj=raw) if _is_packed(raw, source.file) else raw
        while chunk := stream.read(_CHUNK):
            count += len(chunk)
            if count > source.bytes:
                raise _Unfit(f"holds more than {source.bytes:,} bytes")
            digest.update(chunk)
            out.write(chunk)
    if count != source.bytes or digest.hexdigest() != source.sha256:
        raise _Unfit(f"holds {count:,} bytes with sha256 {digest.hexdigest()}")


def _is_packed(raw: BinaryIO, file: str) -> bool:
    start = raw.read(2)
    raw.seek(0)
    return start == b"\x1f\x8b" and not file.endswith(".gz")


def _download(url: str, path: Path, content_bytes: int, retries: int, terminal: TextIO | None) -> Path:
    """Download ``url`` to ``path``, with a limit on the size."""
    import requests
    from tqdm import TqdmWarning, tqdm

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TqdmWarning)  # in notebooks pooch warns about its own bar, which is not used
        import pooch

    def download(url: str, output: str, _: Any) -> None:
        bar = tqdm(
            total=content_bytes,
            desc=url.rsplit("/", 1)[-1],
            unit="B",
            unit_scale=True,
            leave=False,
            file=terminal,
            disable=terminal is None or None,  # None disables it unless it is a terminal
        )
        with bar, Path(output).open("wb") as file:
            limited = _Limited(file, content_bytes + content_bytes // 100 + _CHUNK)
            try:
                pooch.HTTPDownloader(progressbar=bar)(url, limited, None)
            except requests.HTTPError as error:
                if error.response is not None and error.response.status_code < 500:  # retrying would not help
                    raise _Unfit(f"answers {error.response.status_code} {error.response.reason}") from None
                raise

    pooch.get_logger().setLevel("ERROR")  # it logs hashes of files whose hash is unknown
    try:
        store = pooch.create(
            path.parent, base_url="", registry={path.name: None}, urls={path.name: url}, retry_if_failed=retries
        )
        path.unlink(missing_ok=True)
        return Path(store.fetch(path.name, downloader=download))
    except requests.ConnectionError:
        raise _Unfit("cannot be reached") from None
    except (requests.RequestException, ValueError) as error:
        raise _Unfit(f"failed: {error}") from None


class _Limited:
    """A writable file that accepts at most ``limit`` bytes."""

    def __init__(self, file: BinaryIO, limit: int):
        self._file, self._left = file, limit
        self.flush = file.flush

    def write(self, data: bytes) -> int:
        self._left -= len(data)
        if self._left < 0:
            raise _Unfit("sends more bytes than the file has")
        return self._file.write(data)


def _reason(error: Exception) -> str:
    if isinstance(error, _Unfit):
        return str(error)
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return "does not exist"
    if isinstance(error, EOFError | zlib.error | gzip.BadGzipFile):
        return f"is truncated or damaged ({error})"
    return f"cannot be read ({error})"
