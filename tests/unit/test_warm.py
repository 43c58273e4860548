"""Scripts run as forks of a server behave as if run alone."""

import os
import signal
import subprocess
import sys
import time

import pytest

from edgepress import warm


@pytest.fixture(scope="module")
def server():
    server = warm.Server(threads=1)
    yield server
    server.end()


@pytest.fixture
def run(server, tmp_path):
    """Runs a script that hands itself over, to its end or, with ``wait=False``, only starts it."""

    def run(code: str, wait: bool = True, **changes: str) -> subprocess.CompletedProcess | subprocess.Popen:
        script = tmp_path / "script.py"
        script.write_text(f"from edgepress.warm import hand_over\nhand_over('json')\nimport os, sys, time\n{code}\n")
        process = subprocess.Popen(
            [sys.executable, str(script), "a word"],
            cwd=tmp_path,
            env={**os.environ, **changes},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        if not wait:
            return process
        out, err = process.communicate("typed\n", timeout=60)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    return run


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_script_runs_in_a_fork_of_the_server(run, server):
    done = run("print(os.getppid(), 'json' in sys.modules)")
    assert done.stdout == f"{server._process.pid} True\n" and done.returncode == 0


def test_it_has_the_folder_environment_words_and_streams_of_the_script(run, tmp_path):
    code = "print(os.getcwd(), os.environ['X'], sys.argv[1], input(), __name__); print('err', file=sys.stderr)"
    done = run(code, X="x y")
    assert done.stdout == f"{tmp_path} x y a word typed __main__\n" and done.stderr == "err\n"


@pytest.mark.parametrize(
    "code, status",
    [
        ("sys.exit(3)", 3),
        ("sys.exit('no room')", 1),
        ("raise ValueError('no room')", 1),
        ("os.kill(os.getpid(), 9)", 137),
        ("sys.exit()", 0),
    ],
)
def test_it_ends_as_the_script_would(run, code, status):
    done = run(code)
    assert done.returncode == status
    assert ("no room" in done.stderr) == ("no room" in code)


def test_one_that_is_killed_takes_its_fork_along(run):
    process = run("print(os.getpid(), flush=True); time.sleep(600)", wait=False)
    fork = int(process.stdout.readline())
    assert is_alive(fork)
    process.send_signal(signal.SIGKILL)
    process.wait()
    for _ in range(1000):
        if not is_alive(fork):
            return
        time.sleep(0.01)
    raise AssertionError("the fork lives on")


def test_scripts_run_side_by_side(run):
    first = run("print('begun', flush=True); input(); print('ended')", wait=False)
    assert first.stdout.readline() == "begun\n"
    assert run("print('second')").stdout == "second\n"
    assert first.communicate("\n", timeout=60)[0] == "ended\n" and first.returncode == 0


def test_what_one_fork_changes_no_other_sees(run):
    run("import json; json.changed = True; os.environ['CHANGED'] = 'yes'; os.chdir('/')")
    assert run("import json; print(hasattr(json, 'changed'), os.environ.get('CHANGED'))").stdout == "False None\n"


def test_without_a_server_a_script_runs_by_itself(run):
    for address in ("", f"{sys.prefix}:/no/such/socket", "/another/environment:/no/such/socket"):
        done = run("print(os.getppid())", EDGEPRESS_WARM=address)
        assert done.stdout == f"{os.getpid()}\n"


def test_a_server_ends_with_its_run_and_takes_its_forks_along(tmp_path):
    (tmp_path / "script.py").write_text(
        "from edgepress.warm import hand_over\nhand_over()\nimport os, time\n"
        "print(os.getpid(), os.getppid(), flush=True)\ntime.sleep(600)\n"
    )
    (tmp_path / "run.py").write_text(
        "import subprocess, sys\nfrom edgepress.warm import Server\nServer(1)\n"
        "subprocess.Popen([sys.executable, 'script.py']).wait()\n"
    )
    run = subprocess.Popen([sys.executable, "run.py"], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    fork, server = map(int, run.stdout.readline().split())
    run.send_signal(signal.SIGKILL)  # no time to end anything
    run.wait()
    for _ in range(1000):
        if not is_alive(fork) and not is_alive(server):
            return
        time.sleep(0.01)
    raise AssertionError("the server or its fork lives on")


def test_a_module_runs_as_python_would_run_it(server):
    line = [sys.executable, "-m", "edgepress.warm", "json,decimal", "json.tool", "--compact"]
    done = subprocess.run(line, input='{"a": 1}', capture_output=True, text=True, check=True)
    assert done.stdout == '{"a":1}\n'
