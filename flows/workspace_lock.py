"""One release at a time in a workspace: a kernel lock on `.mergegate/lock`, whose content says who holds it.

The kernel frees the lock when its process ends, however it ends. The content is cleared at the normal end, so content
that nobody holds is a release that died: `left_behind` reads it, for `mergegate doctor` and for the next release.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pipeline.errors import EnvironmentFault
from pipeline.private import private_folder

LOCK = Path(".mergegate/lock")
By = Literal["hand", "schedule"]

_LIMIT = 1 << 16  # bytes of content
_TRIES, _PAUSE_S = 4, 0.05  # whoever looks at the lock holds it for an instant
_POLL_S = 0.5


class Busy(EnvironmentFault):
    """Another command releases or judges in this workspace."""

    def __init__(self, found: Holder | None) -> None:
        who = f"{found or 'another command that has just begun'} works in this folder."
        self.who = who[0].upper() + who[1:]
        super().__init__(f"One release at a time: {who} Wait for it to end, or use --wait.")


@dataclass(frozen=True)
class Holder:
    """Who holds the lock, or held it when it died."""

    command: str  # "release" or "judge"
    candidate: str  # several are separated by blanks
    pid: int
    since: str  # ISO 8601 in UTC, to the second
    by: By = "hand"
    run: str = ""  # the id of the Prefect run, of a scheduled release
    stage: str = ""  # the stages under way, separated by ", "

    @property
    def subject(self) -> str:
        """What it is, in a few words."""
        of = "scheduled run" if self.by == "schedule" else "command"
        return f"the {of} `mergegate {self.command} {self.candidate}`"

    def __str__(self) -> str:
        at = f"at stage {self.stage}" if self.stage else "before its first stage"
        shown = f"{datetime.fromisoformat(self.since):%Y-%m-%d %H:%M:%S} UTC"
        return f"{self.subject} (process {self.pid}, since {shown}, {at})"


class _Held:
    """The lock while this process has it."""

    def __init__(self, descriptor: int, holder: Holder) -> None:
        self._descriptor, self._holder, self._mutex = descriptor, holder, threading.Lock()
        _write(descriptor, holder)

    def at(self, stage: str) -> None:
        with self._mutex:
            self._holder = replace(self._holder, stage=stage)
            _write(self._descriptor, self._holder)


_held: _Held | None = None


@contextmanager
def hold(
    command: str, candidate: str, *, by: By = "hand", run: str = "", wait: bool = False
) -> Iterator[None]:
    """Hold the lock of the workspace in the current folder while the block runs.

    Within a block that holds it already, nothing happens. A release that died is told on standard error.

    Args:
        command: "release" or "judge".
        candidate: the candidate, or several separated by blanks.
        by: who started it.
        run: the id of the Prefect run that it is, "" for none.
        wait: whether to wait, and say so, while another holds it.

    Raises:
        Busy: another holds it, and `wait` is false.
    """
    global _held
    if _held is not None:
        yield
        return
    descriptor = _acquire(wait)
    try:
        if died := _read(descriptor):
            _say(f"{died} died; its last finished stages are kept. This one goes on from there.")
        since = datetime.now(UTC).isoformat(timespec="seconds")
        _held = _Held(descriptor, Holder(command, candidate, os.getpid(), since, by, run))
        yield
    finally:
        if _held is not None:
            os.ftruncate(descriptor, 0)
        _held = None
        os.close(descriptor)


def note_stages(stages: str) -> None:
    """Write into the lock which stages are under way, separated by ", ", where this process holds it."""
    if _held is not None:
        _held.at(stages)


def holder(workspace: Path = Path()) -> Holder | None:
    """Who holds the lock of a workspace now; None where nobody does."""
    path = workspace / LOCK
    return _content(path) if _is_held(path) else None


def left_behind(workspace: Path = Path()) -> Holder | None:
    """The release that died in a workspace and was not followed by another; None where there is none."""
    path = workspace / LOCK
    return None if _is_held(path) else _content(path)


def forget(workspace: Path = Path()) -> None:
    """Clear what a release that died left. Raises Busy where another runs by now."""
    descriptor = _open(workspace / LOCK)
    try:
        if not _try(descriptor):
            raise Busy(_read(descriptor))
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _acquire(wait: bool) -> int:
    """The descriptor of the lock file, locked."""
    said = False
    while True:
        descriptor = _open(LOCK)
        for _ in range(_TRIES):
            if _try(descriptor):
                if _is_named(descriptor):
                    if said:
                        _say("the other one has ended; this one begins.")
                    return descriptor
                break
            time.sleep(_PAUSE_S)
        found = _read(descriptor)
        removed = not _is_named(descriptor)
        os.close(descriptor)
        if removed:  # with the folder around it: another file has the name now
            continue
        if not wait:
            raise Busy(found)
        if not said:
            _say(f"waits for {found or 'another command'} to end.")
            said = True
        time.sleep(_POLL_S)


def _open(path: Path) -> int:
    private_folder(path.parent)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_named(descriptor: int) -> bool:
    """Whether the file still has its name."""
    try:
        return os.path.samestat(os.fstat(descriptor), LOCK.stat())
    except FileNotFoundError:
        return False


def _is_held(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _content(path: Path) -> Holder | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return _read(descriptor)
    finally:
        os.close(descriptor)


def _read(descriptor: int) -> Holder | None:
    """The content; None where there is none, or none that can be read: the holder may be writing it."""
    for _ in range(_TRIES):
        try:
            return Holder(**json.loads(os.pread(descriptor, _LIMIT, 0)))
        except (ValueError, TypeError):
            if not os.fstat(descriptor).st_size:
                return None
            time.sleep(_PAUSE_S)
    return None


def _write(descriptor: int, holder: Holder) -> None:
    """In place: the lock belongs to this very file."""
    data = json.dumps(asdict(holder)).encode()
    size = os.fstat(descriptor).st_size
    os.pwrite(descriptor, data.ljust(size), 0)
    os.ftruncate(descriptor, len(data))


def _say(text: str) -> None:
    with suppress(OSError):  # nobody reads it any more
        sys.stderr.write(f"mergegate: {text}\n")
        sys.stderr.flush()
