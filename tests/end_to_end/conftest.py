"""One Harbor family and one Prefect server for all end-to-end tests."""

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
from subprocess import CompletedProcess
from typing import Any

import pytest
from filelock import FileLock
from harness import clone, command, dvc, new_workspace

# Modules that begin with what test_release builds: last, so that no process waits for it.
LATER = ("test_schedule.py", "test_workflows.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the modules LATER behind all others; pytest-xdist hands modules out in this order."""
    items.sort(key=lambda item: item.path.name in LATER)


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the workspaces that tests share, those of other processes of pytest-xdist too."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "workspaces"
    folder.mkdir(exist_ok=True)
    return folder


def once(folder: Path, build: Callable[[], Any]) -> Any:
    """What `build` gives, JSON: called by the first process that asks, while the others wait."""
    with FileLock(f"{folder}.lock"):
        kept = folder.with_suffix(".json")
        if not kept.exists():
            made = json.dumps(build())
            kept.write_text(made, encoding="utf-8")
        return json.loads(kept.read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def harbor(scratch: Path) -> Path:
    """A workspace with the Harbor family built in it. Treat as read-only."""
    folder = scratch / "harbor"

    def build() -> None:
        new_workspace(folder)
        dvc("repro", "examples/harbor/dvc.yaml", cwd=folder)

    once(folder, build)
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

    def build() -> dict[str, Any]:
        return vars(_release("naive", clone(harbor, folder), server))

    return {"folder": folder, "naive": CompletedProcess(**once(folder, build))}


@pytest.fixture(scope="session")
def released(refused: dict[str, Any], scratch: Path, server: dict[str, str]) -> dict[str, Any]:
    """A workspace in which the tuned recipe was released after that."""
    folder = scratch / "released"

    def build() -> dict[str, Any]:
        return vars(_release("tuned", clone(refused["folder"], folder), server))

    tuned = CompletedProcess(**once(folder, build))
    return {"folder": folder, "naive": refused["naive"], "tuned": tuned}


def _release(candidate: str, folder: Path, server: dict[str, str]) -> CompletedProcess[str]:
    return command("--quiet", "release", candidate, "--json", cwd=folder, env=server)


def _wait_for(url: str) -> None:
    for _ in range(240):
        try:
            urllib.request.urlopen(url, timeout=2)
            return
        except OSError:
            time.sleep(0.5)
    raise TimeoutError(f"{url}: no answer in two minutes")
