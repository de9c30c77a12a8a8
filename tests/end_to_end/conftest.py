"""One Harbor family and one Prefect server for all end-to-end tests."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import clone, command, dvc, new_workspace


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the workspaces that tests share."""
    return tmp_path_factory.mktemp("workspaces")


@pytest.fixture(scope="session")
def harbor(scratch: Path) -> Path:
    """A workspace with the Harbor family built in it. Treat as read-only."""
    folder = new_workspace(scratch / "harbor")
    dvc("repro", "examples/harbor/dvc.yaml", cwd=folder)
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
    folder = clone(harbor, scratch / "refused")
    done = command("--quiet", "release", "naive", "--json", cwd=folder, env=server)
    return {"folder": folder, "naive": done}


@pytest.fixture(scope="session")
def released(refused: dict[str, Any], scratch: Path, server: dict[str, str]) -> dict[str, Any]:
    """A workspace in which the tuned recipe was released after that."""
    folder = clone(refused["folder"], scratch / "released")
    done = command("--quiet", "release", "tuned", "--json", cwd=folder, env=server)
    return {"folder": folder, "naive": refused["naive"], "tuned": done}


def _wait_for(url: str) -> None:
    for _ in range(240):
        try:
            urllib.request.urlopen(url, timeout=2)
            return
        except OSError:
            time.sleep(0.5)
    raise TimeoutError(f"{url}: no answer in two minutes")
