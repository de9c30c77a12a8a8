"""A server that mergegate starts for one variant: started, waited for, named, and ended."""

from __future__ import annotations

import json
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, Request, build_opener

from pipeline.errors import EnvironmentFault, InputError
from pipeline.evaluate.backend import STARTABLE, Endpoint
from pipeline.evaluate.served import keeper
from pipeline.evaluate.served.command import KEY, command_words

LOGS = Path(".mergegate/logs")
HOST = "127.0.0.1"
_LAST = 12  # lines of a log that a message quotes
_PAUSE = 0.5  # seconds between two looks at a server that does not answer yet
_LOOK = 10.0  # seconds that one look may take
_FIRST = 60.0  # seconds that a first completion may take
# Loopback is never asked through a proxy.
_OPENER = build_opener(ProxyHandler({}))


class _ServerFault(EnvironmentFault):
    """The server itself failed, and the message quotes its log already."""


@contextmanager
def started(
    command: str, *, variant: str, model: Path, backend: str, timeout: int
) -> Iterator[Endpoint]:
    """A server with the variant in the folder `model`, from the moment when it answers until the block ends.

    `command` is evaluate.serve; `backend` decides which API is asked; `timeout` is the seconds until it must
    answer. What it prints goes to .mergegate/logs/serve-VARIANT.log. Raises EnvironmentFault with the last lines
    of that log where it ends early, does not answer in time, or is gone when the block fails.
    """
    port = _free_port()
    log = LOGS / f"serve-{variant}.log"
    values = {"model": str(model), "port": str(port), "variant": variant}
    words = command_words(command, values)
    url = f"http://{HOST}:{port}"
    sys.stderr.write(
        f"{variant}: waiting for its server at {url}, at most {timeout} s; it prints to {log}: {shlex.join(words)}\n"
    )
    sys.stderr.flush()
    process = _start(words, log)
    try:
        begin = time.monotonic()
        _wait(process, url, backend, timeout, variant, log)
        endpoint = Endpoint(url, _model(url, variant, model))
        sys.stderr.write(f"{variant}: its server answers after {time.monotonic() - begin:.0f} s.\n")
        sys.stderr.flush()
        yield endpoint
    except _ServerFault:
        raise
    except EnvironmentFault as error:
        if not _is_gone(process):
            raise
        raise EnvironmentFault(f"{error} {_ended(process, variant, log)}") from error
    finally:
        _stop(process)


def _start(words: list[str], log: Path) -> subprocess.Popen[bytes]:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-I", str(Path(keeper.__file__)), *words],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _stop(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin
    process.stdin.close()  # the keeper ends the server, and then itself
    process.wait()


def _wait(
    process: subprocess.Popen[bytes],
    url: str,
    backend: str,
    timeout: int,
    variant: str,
    log: Path,
) -> None:
    deadline = time.monotonic() + timeout
    while not _answers(url, backend):
        if process.poll() is not None:
            raise _ServerFault(f"{KEY}: {_ended(process, variant, log)}")
        if time.monotonic() > deadline:
            raise _ServerFault(
                f"{KEY}: the server of {variant} did not answer at {url} (/health, /v1/models, a first completion) "
                f"within {timeout} s, evaluate.serve_timeout.{_tail(log)}"
            )
        time.sleep(_PAUSE)
    if process.poll() is not None:  # then another process answered at its port
        raise _ServerFault(f"{KEY}: {_ended(process, variant, log)}")


def _answers(url: str, backend: str) -> bool:
    """Whether the server is ready: its health, its list of models, or where it has neither a first completion."""
    for path in ("/health", "/v1/models"):
        status = _status(Request(url + path), _LOOK)
        if status == 200:
            return True
        if status not in (404, 405, 501):
            return False
    ask: dict[str, Any] = {"model": "model", "max_tokens": 1}
    ask |= (
        {"messages": [{"role": "user", "content": "Hello"}]}
        if "chat" in backend
        else {"prompt": "Hello"}
    )
    request = Request(
        url + STARTABLE[backend],
        data=json.dumps(ask).encode(),
        headers={"Content-Type": "application/json"},
    )
    return _status(request, _FIRST) == 200


def _status(request: Request, timeout: float) -> int:
    """The status of an answer; 0 where there is none."""
    try:
        with _OPENER.open(request, timeout=timeout) as answer:
            return int(answer.status)
    except HTTPError as error:
        return error.code
    except (URLError, OSError, HTTPException):
        return 0


def _model(url: str, variant: str, model: Path) -> str:
    """How the server calls the model: by the variant's name, its folder, or as the only one that it lists."""
    try:
        with _OPENER.open(Request(url + "/v1/models"), timeout=_LOOK) as answer:
            listed = [str(one["id"]) for one in json.load(answer)["data"]]
    except (URLError, OSError, HTTPException, ValueError, KeyError, TypeError):
        return variant  # it lists none, so it hardly looks at the name
    for name in (variant, str(model)):
        if name in listed:
            return name
    if len(listed) != 1:
        raise InputError(
            f"{KEY}: the server of {variant} lists the models {', '.join(listed) or '(none)'}, and it is not clear "
            "which is the variant. Have it serve one, or name it {variant}: vLLM takes `--served-model-name {variant}`."
        )
    return listed[0]


def _is_gone(process: subprocess.Popen[bytes]) -> bool:
    """Whether the server has ended; its keeper notices within a fraction of a second."""
    try:
        process.wait(timeout=2)
    except subprocess.TimeoutExpired:
        return False
    return True


def _ended(process: subprocess.Popen[bytes], variant: str, log: Path) -> str:
    code = process.poll()
    how = f"was ended by signal {-code}" if code and code < 0 else f"ended with exit code {code}"
    return f"The server of {variant} {how}.{_tail(log)}"


def _tail(log: Path) -> str:
    """The last lines of a log, for a message."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
    last = [line for line in lines if line.strip()][-_LAST:]
    return (
        f" The last lines of {log}:\n" + "\n".join(f"  {line}" for line in last)
        if last
        else f" {log} is empty."
    )


def _free_port() -> int:
    with socket.socket() as found:
        found.bind((HOST, 0))
        return int(found.getsockname()[1])
