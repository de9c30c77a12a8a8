"""One Harbor family and its two releases for all end-to-end tests, in whichever process they run."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from harness import Report, clone, command, dvc, ended, new_workspace


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the workspaces that tests share, those in other processes included."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base


def once(folder: Path, make: Callable[[], Report]) -> Report:
    """What `make` gives, made by the first process that asks; others wait for it."""
    made = folder.with_name(f"{folder.name}.made.json")
    with FileLock(folder.with_name(f"{folder.name}.lock")):
        if not made.exists():
            made.write_text(json.dumps(make()))
        report: Report = json.loads(made.read_text())
        return report


@pytest.fixture(scope="session")
def harbor(scratch: Path) -> Path:
    """A workspace with the Harbor family built in it. Treat as read-only."""
    folder = scratch / "harbor"

    def make() -> Report:
        new_workspace(folder)
        dvc("repro", "examples/harbor/dvc.yaml", cwd=folder)
        return {}

    once(folder, make)
    return folder


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment that leads to a Prefect server on loopback, stopped at the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    prefect = [sys.executable, "-m", "prefect", "server", "start"]
    process = subprocess.Popen(
        [*prefect, "--host", "127.0.0.1", "--port", port],
        env={**os.environ, "PREFECT_HOME": str(tmp_path_factory.mktemp("prefect"))},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        url = f"http://127.0.0.1:{port}/api"
        _wait_for(f"{url}/health")
        yield {"PREFECT_API_URL": url}
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.fixture(scope="session")
def refused(harbor: Path, scratch: Path, server: dict[str, str]) -> dict[str, Any]:
    """A workspace in which plain task arithmetic was released and refused. Treat as read-only."""
    folder = scratch / "refused"

    def make() -> Report:
        clone(harbor, folder)
        return ended(command("--quiet", "release", "naive", "--json", cwd=folder, env=server))

    return {"folder": folder, "naive": once(folder, make)}


@pytest.fixture(scope="session")
def released(refused: dict[str, Any], scratch: Path, server: dict[str, str]) -> dict[str, Any]:
    """A workspace in which the tuned recipe was released after that. Treat as read-only."""
    folder = scratch / "released"

    def make() -> Report:
        clone(refused["folder"], folder)
        return ended(command("--quiet", "release", "tuned", "--json", cwd=folder, env=server))

    return {"folder": folder, "naive": refused["naive"], "tuned": once(folder, make)}


def _wait_for(url: str) -> None:
    for _ in range(240):
        try:
            urllib.request.urlopen(url, timeout=2)
            return
        except OSError:
            time.sleep(0.5)
    raise TimeoutError(f"{url}: no answer in two minutes")
