import contextlib
import gzip
import hashlib
import http.server
import os
import resource
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from edgepress import registry, sources
from edgepress.sources import FetchError, Source

MIRROR = Path(os.environ.get("EDGEPRESS_MIRROR", Path(__file__).parents[3] / "shared" / "datasets"))
CONTENT = bytes(range(256)) * 50
ALL = [source for files in sources.load().values() for source in files.values()]


def toy(**changes) -> Source:
    source = Source("toy", "toy.dat", len(CONTENT), hashlib.sha256(CONTENT).hexdigest(), "sets/toy.dat")
    return replace(source, **changes)


def place(folder: Path, content: bytes, name: str = "sets/toy.dat") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return folder


class Server(http.server.ThreadingHTTPServer):
    """Answers on this machine alone, and remembers what it was asked."""

    def __init__(self, answers):
        self.answers, self.asked = answers, []
        super().__init__(("127.0.0.1", 0), Handler)

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{name}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        name = self.path.strip("/")
        self.server.asked.append(name)
        status, declared, body = self.server.answers[name]
        if callable(body):
            body = body(self.server.asked.count(name))
            declared = len(body)
        self.send_response(status)
        self.send_header("Content-Length", str(declared))
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("time.sleep", lambda _: None)
    packed = gzip.compress(CONTENT, mtime=0)
    answers = {
        "good": (200, len(CONTENT), CONTENT),
        "packed.gz": (200, len(packed), packed),
        "gone": (404, 4, b"none"),
        "broken": (503, 4, b"none"),
        "page": (200, 14, b"<html></html>\n"),
        "short": (200, len(CONTENT), CONTENT[:100]),
        "flood": (200, 20 << 20, bytes(20 << 20)),
        "bomb": (200, 1, lambda _: gzip.compress(bytes(50 << 20), mtime=0)),
    }
    with Server(answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def refused(source: Source, target: Path, *folders: Path, retries: int = 0) -> str:
    """The message of a fetch that must fail and leave nothing behind."""
    with pytest.raises(FetchError) as caught:
        sources.fetch(source, target, folders, retries=retries)
    assert list(target.parent.iterdir()) == ([target] if target.exists() else [])
    message = str(caught.value)
    assert "\n" not in message and source.file in message and source.sha256 in message and "mirror" in message
    return message


# The catalogue


def test_the_catalogue_is_of_known_data_sets():
    assert {source.dataset for source in ALL} <= registry.datasets().keys()
    for source in ALL:
        assert len(source.sha256) == 64 and int(source.sha256, 16) and source.bytes > 0 and source.urls
        assert not Path(source.mirror).is_absolute() and "/" not in source.file


@pytest.mark.parametrize("source", ALL, ids=lambda source: source.file)
def test_the_catalogue_says_what_the_files_hold(source, tmp_path):
    if not (MIRROR / source.mirror).is_file():
        pytest.skip(f"no {source.mirror}; EDGEPRESS_MIRROR names the folder it is in")
    came_from = sources.fetch(replace(source, system=None, urls=()), tmp_path / source.file, [MIRROR])
    assert came_from == str(MIRROR / source.mirror)
    content = (tmp_path / source.file).read_bytes()
    assert (len(content), hashlib.sha256(content).hexdigest()) == (source.bytes, source.sha256)


def test_importing_it_is_light():
    code = (
        "import sys, edgepress.sources as s; s.load();"
        "print([m for m in ('torch', 'pandas', 'numpy', 'pooch', 'requests') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


# Order of places


def test_a_file_that_is_there_is_left_alone(server, tmp_path):
    target = tmp_path / "toy.dat"
    target.write_bytes(CONTENT)
    os.utime(target, (1, 1))
    assert sources.fetch(toy(urls=[server.url("good")]), target) == "already present"
    assert target.stat().st_mtime == 1 and server.asked == []


def test_a_mirror_comes_before_the_system_and_the_network(server, tmp_path):
    system = place(tmp_path / "system", gzip.compress(CONTENT, mtime=0)) / "sets/toy.dat"
    source = toy(system=str(system), urls=[server.url("good")])
    mirror = place(tmp_path / "mirror", CONTENT)
    empty = tmp_path / "empty"
    assert sources.fetch(source, tmp_path / "a/toy.dat", [empty, mirror]).endswith(str(mirror / "sets/toy.dat"))
    assert sources.fetch(source, tmp_path / "b/toy.dat", [empty]).endswith(str(system))
    assert server.asked == []
    assert sources.fetch(replace(source, system=str(empty)), tmp_path / "c/toy.dat").endswith(server.url("good"))
    assert {(tmp_path / folder / "toy.dat").read_bytes() for folder in "abc"} == {CONTENT}
    assert server.asked == ["good"]


def test_raw_files_of_another_machine_are_a_mirror(tmp_path):
    other = place(tmp_path / "raw", CONTENT, "toy/toy.dat")
    assert sources.fetch(toy(), tmp_path / "here/toy.dat", [other]) == str(other / "toy/toy.dat")


def test_mirrors_are_named_by_config_and_environment(monkeypatch):
    monkeypatch.setenv("EDGEPRESS_MIRROR", "~/two")
    assert sources.mirrors("/one") == [Path("/one"), Path.home() / "two"]
    monkeypatch.delenv("EDGEPRESS_MIRROR")
    assert sources.mirrors(None) == []


def test_what_is_wrong_in_one_place_is_had_from_the_next(server, tmp_path):
    mirror = place(tmp_path / "mirror", CONTENT[:-1] + b"x")
    urls = [server.url(name) for name in ("gone", "page", "short", "packed.gz", "good")]
    came_from = sources.fetch(toy(urls=urls), tmp_path / "raw/toy.dat", [mirror], retries=0)
    assert came_from.endswith("packed.gz") and str(mirror) in came_from
    assert (tmp_path / "raw/toy.dat").read_bytes() == CONTENT
    assert server.asked == ["gone", "page", "short", "packed.gz"]


# What may go wrong


def test_a_wrong_hash_is_named_beside_the_right_one(server, tmp_path):
    wrong = CONTENT[:-1] + b"x"
    mirror = place(tmp_path / "mirror", wrong)
    message = refused(toy(urls=[server.url("page")]), tmp_path / "raw/toy.dat", mirror)
    assert hashlib.sha256(wrong).hexdigest() in message
    assert hashlib.sha256(b"<html></html>\n").hexdigest() in message and server.url("page") in message


def test_a_wrong_file_in_its_place_is_replaced_or_kept_but_never_taken(tmp_path):
    target = tmp_path / "raw/toy.dat"
    place(tmp_path / "raw", b"mine", "toy.dat")
    assert "must have" in refused(toy(), target)
    assert target.read_bytes() == b"mine"
    sources.fetch(toy(), target, [place(tmp_path / "mirror", CONTENT)])
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (CONTENT[:-1], f"holds {len(CONTENT) - 1:,} bytes"),
        (CONTENT + b"x", f"holds more than {len(CONTENT):,} bytes"),
        (gzip.compress(CONTENT, mtime=0)[:-20], "truncated or damaged"),
        (gzip.compress(CONTENT, mtime=0)[:30] + bytes(30), "truncated or damaged"),
        (b"\x1f\x8bnot gzip", "truncated or damaged"),
        (b"", "holds 0 bytes"),
    ],
    ids=["a byte too few", "a byte too many", "cut", "damaged", "no gzip", "empty"],
)
def test_a_truncated_or_damaged_file_is_refused(tmp_path, content, said):
    assert said in refused(toy(), tmp_path / "raw/toy.dat", place(tmp_path / "mirror", content))


def test_an_archive_stays_packed(tmp_path):
    packed = gzip.compress(CONTENT, mtime=0)
    source = toy(file="toy.tar.gz", bytes=len(packed), sha256=hashlib.sha256(packed).hexdigest())
    sources.fetch(source, tmp_path / "raw/toy.tar.gz", [place(tmp_path / "mirror", packed)])
    assert (tmp_path / "raw/toy.tar.gz").read_bytes() == packed


def test_a_bomb_is_refused_before_it_fills_the_disk(tmp_path):
    mirror = place(tmp_path / "mirror", gzip.compress(bytes(200 << 20), mtime=0))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(CONTENT), limits[1]))  # another error, were more written
    try:
        assert "holds more than" in refused(toy(), tmp_path / "raw/toy.dat", mirror)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("name, said", [("flood", "sends more bytes"), ("bomb", "holds more than")])
def test_a_server_cannot_fill_the_disk(server, tmp_path, name, said):
    assert said in refused(toy(urls=[server.url(name)]), tmp_path / "raw/toy.dat")


def test_a_404_is_not_asked_again(server, tmp_path):
    message = refused(toy(urls=[server.url("gone")]), tmp_path / "raw/toy.dat", retries=3)
    assert f"{server.url('gone')} answers 404 Not Found" in message
    assert server.asked == ["gone"]


def test_a_server_in_trouble_is_asked_again(server, tmp_path):
    assert "503" in refused(toy(urls=[server.url("broken")]), tmp_path / "raw/toy.dat", retries=2)
    assert server.asked == ["broken"] * 3


def test_a_download_that_breaks_off_is_refused(server, tmp_path):
    assert server.url("short") in refused(toy(urls=[server.url("short")]), tmp_path / "raw/toy.dat", retries=1)
    assert server.asked == ["short"] * 2


def test_no_route_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound, but nobody listens
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/toy.dat"
        message = refused(toy(urls=[url]), tmp_path / "raw/toy.dat", tmp_path / "nowhere")
    assert f"{url} cannot be reached" in message
    assert f"{tmp_path / 'nowhere/sets/toy.dat'} does not exist" in message


def test_a_fetched_file_is_checked_before_it_is_used(tmp_path):
    path = tmp_path / "toy.dat"
    with pytest.raises(FetchError, match="does not exist; `snakemake fetch` downloads it"):
        sources.check(path, toy().sha256)
    path.write_bytes(b"other")
    with pytest.raises(FetchError) as caught:
        sources.check(path, toy().sha256)
    assert hashlib.sha256(b"other").hexdigest() in str(caught.value) and toy().sha256 in str(caught.value)
    path.write_bytes(CONTENT)
    sources.check(path, toy().sha256)
