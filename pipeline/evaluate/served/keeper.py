"""The process between an evaluation and its server: it ends the server, with its children, when the evaluation ends.

Run as a file with the server's command as arguments; it imports nothing but the standard library. Its standard
input is a pipe that the evaluation holds open: however the evaluation ends, by SIGKILL too, the pipe closes. It
exits with the server's own exit code where the server ends by itself.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

GRACE = 5.0  # seconds between the request to end and the end by force
NOT_FOUND = 127  # the exit code of a command that cannot be started, as a shell gives it
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


def main(words: list[str]) -> int:
    """Run the command until it or the evaluation ends; its exit code, 0 where the evaluation ended first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the evaluation
    _prctl(
        _PR_SET_CHILD_SUBREAPER, 1
    )  # what the server leaves behind becomes a child of this process
    try:
        server = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=lambda: _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL),
        )
    except OSError as error:
        sys.stderr.write(f"{words[0]}: {error.strerror or error}\n")
        return NOT_FOUND
    try:
        while server.poll() is None:
            if select.select([sys.stdin], [], [], 0.2)[
                0
            ]:  # the pipe is closed: nothing is ever written
                return 0
        return server.returncode
    finally:
        _end(server)


def _end(server: subprocess.Popen[bytes]) -> None:
    """Ask the server's group to end, then end it and every other descendant by force."""
    _signal_group(server.pid, signal.SIGTERM)
    deadline = time.monotonic() + GRACE
    while server.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    _signal_group(server.pid, signal.SIGKILL)
    server.wait()
    while children := _children(os.getpid()):
        for child in children:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(child, 0)


def _signal_group(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _children(parent: int) -> list[int]:
    """The children of a process, as Linux lists them; orphans of the server are among those of this one."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):
            # The name, in brackets, may hold spaces; what follows it is state and parent.
            if int(entry.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(entry.parent.name))
    return found


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
