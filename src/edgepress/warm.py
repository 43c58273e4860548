"""Starts jobs as forks of a server process that has already imported their modules.

Importing torch costs a job more than a second of CPU time; a fork costs a few hundredths. So a run on one machine keeps
a server (``Server``), and scripts hand themselves over to it (``hand_over``). The server imports the modules that a
script names, once, and forks. The fork has the working directory, environment and standard streams of the script, which
waits and exits with the same status. If one of the two is killed, so is the other.

Without a server (on a cluster node, in another environment or in a test) a script simply continues. Imports nothing
heavy.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import runpy
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

_VARIABLE = "EDGEPRESS_WARM"  # environment and socket of the server
_LENGTH = 8  # bytes of the length prefix of a request
_STREAMS = (0, 1, 2)
_KILLED = 128  # shells report a killed process as this plus the signal number
# Modules that torch imports lazily, when a graph is traced or an optimizer takes its first step.
_IMPORTED_LATE = ("sympy", "torch._dynamo")
_in_fork = False


class Server:
    """The server of a run: a child process that ends with this one."""

    def __init__(self, threads: int) -> None:
        """Start the server. ``threads`` is the thread count of numerical libraries, which fix it on import."""
        self._folder = tempfile.mkdtemp(prefix="edgepress")  # accessible to this user only
        path = f"{self._folder}/socket"
        count = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "edgepress.warm", "--serve", path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **count},
            start_new_session=True,  # Ctrl-C reaches the scripts, whose forks end with them
        )
        assert self._process.stdout is not None
        self._process.stdout.readline()  # wait until it listens
        os.environ[_VARIABLE] = f"{sys.prefix}:{path}"

    def end(self) -> None:
        """End the server and all jobs that are still running."""
        os.environ.pop(_VARIABLE, None)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.communicate(timeout=10)  # closes its input
        shutil.rmtree(self._folder, ignore_errors=True)


def hand_over(*modules: str) -> None:
    """Run the calling script in a fork of the server, if there is one, and exit with the fork's status.

    The server imports ``modules``, those of the script, before it forks.
    """
    _hand_over({"script": sys.argv[0], "argv": sys.argv}, modules)


def _hand_over(request: dict[str, Any], modules: tuple[str, ...]) -> None:
    prefix, _, path = os.environ.get(_VARIABLE, "").rpartition(":")
    if _in_fork or prefix != sys.prefix:
        return
    with socket.socket(socket.AF_UNIX) as server:
        try:
            server.connect(path)
        except OSError:  # the server is on another machine, or its run has ended
            return
        request = {**request, "modules": modules, "folder": str(Path.cwd()), "environment": dict(os.environ)}
        message = json.dumps(request).encode("utf-8")
        socket.send_fds(server, [len(message).to_bytes(_LENGTH, "big")], _STREAMS)
        server.sendall(message)
        try:
            status = server.recv(16)
        except KeyboardInterrupt:
            sys.exit(_KILLED + signal.SIGINT)  # closing the socket ends the fork
    sys.exit(int(status) if status else 1)


@dataclass
class _Fork:
    pid: int
    client: socket.socket
    ended: int = field(repr=False)  # a pipe that closes when the fork ends


def _serve(path: str) -> tuple[dict[str, Any], list[int]]:
    """Fork for each request until standard input closes, at the end of the run.

    Returns in each fork, with the request and its streams. The server itself exits.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener, selectors.DefaultSelector() as selector:
        listener.bind(path)
        listener.listen(128)
        print("listening", flush=True)
        selector.register(sys.stdin, selectors.EVENT_READ)
        selector.register(listener, selectors.EVENT_READ)
        forks: dict[int, _Fork] = {}  # by both file descriptors of each
        while True:
            for key, _ in selector.select():
                if key.fileobj is sys.stdin:
                    _end(forks)
                if key.fileobj is not listener:
                    _settle(selector, forks, key.fd)
                    continue
                client = listener.accept()[0]
                with contextlib.suppress(OSError, ValueError):  # a client killed while it sent its request
                    request, streams = _receive(client)
                    fork = _fork(client, request["modules"])
                    if fork is None:
                        for other in forks.values():
                            other.client.close()
                        return request, streams
                    for stream in streams:
                        os.close(stream)
                    for descriptor in (client.fileno(), fork.ended):
                        forks[descriptor] = fork
                        selector.register(descriptor, selectors.EVENT_READ)


def _receive(client: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """A request and its standard streams."""
    length, streams, _, _ = socket.recv_fds(client, _LENGTH, len(_STREAMS))
    with client.makefile("rb") as stream:
        return json.loads(stream.read(int.from_bytes(length, "big"))), streams


def _fork(client: socket.socket, modules: list[str]) -> _Fork | None:
    """Import ``modules`` and fork. Returns None in the fork. Import errors are left to the script."""
    for module in modules:
        _import(module)
    if "torch" in sys.modules:
        for module in _IMPORTED_LATE:
            _import(module)
    ended, alive = os.pipe()
    pid = os.fork()
    if pid == 0:
        return None
    os.close(alive)
    return _Fork(pid, client, ended)


def _import(module: str) -> None:
    with contextlib.suppress(ImportError):
        importlib.import_module(module)


def _settle(selector: selectors.BaseSelector, forks: dict[int, _Fork], descriptor: int) -> None:
    """Send a client the status of its finished fork, or end the fork of a client that is gone."""
    fork = forks.get(descriptor)
    if fork is None:  # already handled in this round through its other descriptor
        return
    if descriptor != fork.ended:
        os.kill(fork.pid, signal.SIGTERM)
    status = os.waitstatus_to_exitcode(os.waitpid(fork.pid, 0)[1])
    for each in (fork.client.fileno(), fork.ended):
        selector.unregister(each)
        del forks[each]
    with contextlib.suppress(OSError):
        fork.client.sendall(str(status if status >= 0 else _KILLED - status).encode())
    fork.client.close()
    os.close(fork.ended)


def _end(forks: dict[int, _Fork]) -> NoReturn:
    for pid in {fork.pid for fork in forks.values()}:
        os.kill(pid, signal.SIGTERM)
    for pid in {fork.pid for fork in forks.values()}:
        os.waitpid(pid, 0)
    os._exit(0)


def _run(request: dict[str, Any], streams: list[int]) -> NoReturn:
    """Run the script or module of a request, and exit without the interpreter's cleanup, which takes ten times as long
    as the fork.
    """
    global _in_fork  # process-wide state, like sys.argv
    _in_fork = True
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for given, standard in zip(streams, _STREAMS, strict=True):
        os.dup2(given, standard)
        os.close(given)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = request["argv"]
    status: object = 0
    try:
        if "script" in request:
            runpy.run_path(request["script"], run_name="__main__")
        else:
            runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        status = end.code
    except BaseException:  # as the interpreter does
        traceback.print_exc()
        status = 1
    if isinstance(status, str):
        print(status, file=sys.stderr)
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status if isinstance(status, int) else int(status is not None))


def main(words: list[str]) -> None:
    """``--serve SOCKET`` runs the server. ``A,B MODULE WORDS…`` runs ``python -m MODULE WORDS…`` in a fork of the
    server, if there is one, which imports A and B first.
    """
    first, second, *others = words
    if first == "--serve":
        _run(*_serve(second))
        return
    sys.argv = [second, *others]
    _hand_over({"module": second, "argv": sys.argv}, tuple(first.split(",")))
    runpy.run_module(second, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    from edgepress import warm  # the module that scripts import; __main__ is a copy

    warm.main(sys.argv[1:])
