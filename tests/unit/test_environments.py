"""The lock, the conda environment and the container recipe name the same versions."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]
ENVIRONMENTS = REPOSITORY / "envs"
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
RECIPE = (ENVIRONMENTS / "Containerfile").read_text().replace("\\\n", " ").splitlines()


def pins(lock: str) -> dict[str, str]:
    """The version of each package of a lock; every line must pin one."""
    lines = (ENVIRONMENTS / lock).read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def conda(file: str) -> list:
    return yaml.safe_load((ENVIRONMENTS / file).read_text())["dependencies"]


def instructions(name: str) -> list[str]:
    return [line.removeprefix(name).strip() for line in RECIPE if line.startswith(name + " ")]


@pytest.mark.parametrize(
    ("file", "extras"),
    [
        ("environment.yaml", ["workflow"]),
        ("deploy.yaml", ["workflow", "deploy"]),
        ("peers.yaml", ["workflow", "deploy", "peers"]),
    ],
)
def test_a_conda_environment_has_what_the_package_needs_in_the_versions_of_the_locks(file, extras):
    asked = [*PROJECT["dependencies"], *(entry for extra in extras for entry in EXTRAS[extra])]
    locked = pins("requirements.lock") | pins("requirements-deploy.lock") | pins("requirements-peers.lock")
    versions = {name.lower(): version for name, version in locked.items()}
    needed = [re.split("[>=]", entry)[0] for entry in asked]
    (packages,) = (entry["pip"] for entry in conda(file) if isinstance(entry, dict))
    assert packages == [f"{name}=={versions[name]}" for name in needed]


@pytest.mark.parametrize("file", ["environment.yaml", "deploy.yaml", "peers.yaml"])
def test_conda_and_container_have_one_python_that_the_package_allows(file):
    (python,) = (entry.removeprefix("python=") for entry in conda(file) if str(entry).startswith("python="))
    assert instructions("FROM") == [f"python:{python}-slim"]
    least = PROJECT["requires-python"].removeprefix(">=")
    assert tuple(map(int, python.split("."))) >= tuple(map(int, least.split(".")))


def test_the_container_installs_the_locks_and_copies_what_there_is():
    for copy in instructions("COPY"):
        *sources, _ = copy.split()
        assert all((REPOSITORY / source).exists() for source in sources)
    words = [word for run in instructions("RUN") for word in shlex.split(run)]
    installed = [words[place + 1] for place, word in enumerate(words) if word == "--requirement"]
    assert installed == ["envs/requirements.lock", "envs/requirements-cluster.lock"]


@pytest.mark.parametrize("lock", sorted(path.name for path in ENVIRONMENTS.glob("requirements-*.lock")))
def test_the_other_locks_add_to_the_first(lock):
    assert not pins(lock).keys() & pins("requirements.lock").keys()


def test_packages_of_several_locks_have_one_version():
    found = {}
    for lock in sorted(path.name for path in ENVIRONMENTS.glob("requirements-*.lock")):
        for package, version in pins(lock).items():
            assert found.setdefault(package, version) == version, f"{package} in {lock}"


def test_the_profile_s_plugin_is_in_its_lock_and_not_in_the_starter_environment():
    profile = yaml.safe_load((REPOSITORY / "profiles/slurm/config.yaml").read_text())
    plugin = f"snakemake-executor-plugin-{profile['executor']}"
    assert plugin in pins("requirements-cluster.lock") and plugin not in pins("requirements.lock")
