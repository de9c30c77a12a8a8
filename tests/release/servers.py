"""Servers that tests start on loopback, on a free port, and stop: MLflow's, and PostgreSQL's."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

START_S = 120.0
_UNPRIVILEGED = 65534  # PostgreSQL refuses to run as root


class Server:
    """A process that can be taken away and brought back."""

    def __init__(self, command: list[str], log: Path, ready: Callable[[], bool]) -> None:
        self._command, self._log, self._ready = command, log, ready
        self.folder = log.parent
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdout=log,
                stderr=log,
                env={**os.environ, **quiet},
                start_new_session=True,
            )
        end = time.monotonic() + START_S
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > end:
                self.stop()
                raise RuntimeError(self._log.read_text(errors="replace")[-2000:])
            time.sleep(0.1)

    def stop(self) -> None:
        """End it and all that it started."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


def free_port() -> int:
    """A port of loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def mlflow_server(folder: Path, backend: str) -> Iterator[tuple[str, Server]]:
    """The URI of `mlflow server` with proxied artifacts in `folder` and its tables in `backend`; and the server."""
    port = free_port()
    uri = f"http://127.0.0.1:{port}"

    def ready() -> bool:
        try:
            with urllib.request.urlopen(f"{uri}/health", timeout=1) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", backend]
    command += ["--serve-artifacts", "--artifacts-destination", str(folder / "artifacts")]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "2"]
    server = Server(command, folder / "mlflow.log", ready)
    server.start()
    try:
        yield uri, server
    finally:
        server.stop()


def postgres_binary(name: str) -> Path | None:
    """initdb, postgres or createdb, on the path or where Debian puts them; None where there is none."""
    if found := shutil.which(name):
        return Path(found)
    places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return places[-1] if places else None


def missing_postgres() -> str:
    """Why PostgreSQL cannot be started here; "" where it can."""
    if absent := [n for n in ("initdb", "postgres") if postgres_binary(n) is None]:
        return f"no {', '.join(absent)} of PostgreSQL"
    try:
        import psycopg2  # noqa: F401
    except ImportError:
        return "no psycopg2, the driver of PostgreSQL"
    return ""


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """The SQLAlchemy URI of an empty database of a PostgreSQL of its own, which keeps its files in `folder`."""
    data, port = folder / "postgres", free_port()
    data.mkdir()
    reach = folder
    if os.getuid() == 0:
        os.chown(data, _UNPRIVILEGED, _UNPRIVILEGED)
        while (
            reach != reach.parent and reach.stat().st_uid == 0 and not reach.stat().st_mode & 0o001
        ):
            reach.chmod(reach.stat().st_mode | 0o011)  # so that the other user may pass
            reach = reach.parent
    binary = {name: str(postgres_binary(name)) for name in ("initdb", "postgres")}
    _unprivileged([binary["initdb"], "-D", str(data), "-U", "mlflow", "-A", "trust", "-N"])
    command = [binary["postgres"], "-D", str(data), "-p", str(port), "-h", "127.0.0.1"]
    command += ["-c", f"unix_socket_directories={data}", "-c", "fsync=off"]
    with (folder / "postgres.log").open("ab") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, preexec_fn=_drop, start_new_session=True, cwd=data
        )
    try:
        yield _wait_for_postgres(port, process, folder / "postgres.log")
    finally:
        process.send_signal(signal.SIGINT)  # a fast shutdown
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for_postgres(port: int, process: subprocess.Popen[bytes], log: Path) -> str:
    import psycopg2

    end = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < end:
        try:
            psycopg2.connect(host="127.0.0.1", port=port, user="mlflow", dbname="postgres").close()
            return f"postgresql+psycopg2://mlflow@127.0.0.1:{port}/postgres"
        except psycopg2.OperationalError:
            time.sleep(0.1)
    raise RuntimeError(log.read_text(errors="replace")[-2000:])


def _unprivileged(command: list[str]) -> None:
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=_drop, cwd="/"
    )
    if done.returncode:
        raise RuntimeError(done.stdout.decode(errors="replace")[-2000:])


def _drop() -> None:
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(_UNPRIVILEGED)
        os.setuid(_UNPRIVILEGED)
