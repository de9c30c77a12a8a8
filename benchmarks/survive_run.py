"""One release in a process group of its own: watched, killed with SIGKILL, and all that it started found again."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
from survive_workspace import Workspace

MARK = "SURVIVE_RUN"
STARTING, BETWEEN, ENTER, REGISTER, ENDING = "starting", "between", "enter", "register", "ending"
_FINISHED = re.compile(r"Task run '([^']+)' - Finished in state (\w+)")
# How long descendants may take to notice that the release is dead.
GRACE_S = 2.0


class Run:
    """A release that runs in its own session, with a mark in its environment that all its descendants inherit."""

    def __init__(
        self, workspace: Workspace, candidate: str, log: Path, env: dict[str, str] | None = None
    ) -> None:
        self.workspace, self.candidate, self.log = workspace, candidate, log
        self.mark = uuid.uuid4().hex
        self.begun = time.monotonic()
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "flows", "--quiet", "release", candidate, "--json"],
                cwd=workspace.folder,
                env={**workspace.env, **(env or {}), MARK: self.mark},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def seconds(self) -> float:
        """Since it was started."""
        return time.monotonic() - self.begun

    @property
    def ended(self) -> bool:
        """Whether the command is over."""
        return self.process.poll() is not None

    def words(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def finished(self) -> list[str]:
        """The tasks that are over, in order: stages, `enter ...`, `register ...`."""
        return [name for name, state in _FINISHED.findall(self.words()) if state == "Completed"]

    def stages(self) -> list[str]:
        """The stages whose processes run now, as dvc.yaml names them."""
        found = []
        for process in self._descendants():
            try:
                words = process.cmdline()
            except psutil.Error:
                continue
            if words[1:3] == ["-m", "pipeline.stages"]:
                found.append(stage_name(words[3:]))
        return found

    def where(self, target: str = "") -> str:
        """The stage or step that it is at, for the tally; of several stages at once `target`, if it is one of them."""
        if stages := self.stages():
            return target if target in stages else stages[0]
        words, done = self.words(), self.finished()
        if f"register {self.candidate}" in done:
            return ENDING
        if any(name.startswith("enter ") for name in done):
            return REGISTER
        if any(name.startswith("card@") for name in done):
            return ENTER
        return BETWEEN if "Beginning flow run" in words else STARTING

    def kill(self) -> list[str]:
        """SIGKILL to the whole group at once; the command lines of what outlived it, which is then killed too."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        ends = time.monotonic() + GRACE_S
        while (left := self._marked()) and time.monotonic() < ends:
            time.sleep(0.1)
        outlived = []
        for process in left:
            try:
                outlived.append(" ".join(process.cmdline()[:6]))
                process.kill()
            except psutil.Error:
                continue
        psutil.wait_procs(left, timeout=10)
        return outlived

    def wait(self, timeout: float = 900) -> int:
        """The exit code of the undisturbed command."""
        return self.process.wait(timeout)

    def _descendants(self) -> list[Any]:
        try:
            found: list[Any] = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.Error:
            return []
        return found

    def _marked(self) -> list[Any]:
        """Every living process with this run's mark, wherever it hangs in the tree by now."""
        found = []
        for process in psutil.process_iter():
            try:
                alive = process.status() != psutil.STATUS_ZOMBIE
                if alive and process.environ().get(MARK) == self.mark:
                    found.append(process)
            except psutil.Error:
                continue
        return found


def stage_name(arguments: list[str]) -> str:
    """The stage of dvc.yaml, without candidate: `evaluate-merged` for `evaluate merged first`."""
    if arguments[0] == "evaluate":
        return f"evaluate-{arguments[1]}"
    return "merge-plain" if arguments[:2] == ["merge", "plain"] else arguments[0]


@contextmanager
def server(workspace: Workspace, work: Path) -> Iterator[dict[str, str]]:
    """The environment that leads to a Prefect server that outlives the releases."""
    port = str(free_port())
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1"]
    with (work / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--port", port],
            env={**workspace.env, "PREFECT_HOME": str(work / "home" / "prefect-server")},
            stdout=log,
            stderr=log,
        )
    try:
        url = f"http://127.0.0.1:{port}/api"
        wait_for(f"{url}/health")
        yield {"PREFECT_API_URL": url}
    finally:
        process.terminate()
        process.wait(timeout=60)


def free_port() -> int:
    """A port of the loopback device that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(url: str) -> None:
    """Return once the address answers; TimeoutError after four minutes."""
    for _ in range(480):
        try:
            urllib.request.urlopen(url, timeout=2)
            return
        except OSError:
            time.sleep(0.5)
    raise TimeoutError(f"{url}: no answer in four minutes")
