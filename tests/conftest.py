"""What holds for every test: torch on one thread, and tests that share something on one worker of pytest-xdist."""

import os

import pytest

# On small tensors, and beside other workers, more threads only wait for each other. Jobs that tests start inherit it.
os.environ["OMP_NUM_THREADS"] = "1"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A file's tests share what its fixtures made, those of the workflow the tiny run, unless a marker says else."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            group = item.path.stem
            if item.path.parent.name == "workflow":
                group = "tiny_run" if "tiny_run" in item.fixturenames else item.nodeid
            item.add_marker(pytest.mark.xdist_group(group))
