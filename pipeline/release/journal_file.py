"""The file of a journal: opened where it is one, locked, read whole; and in words what is in the way.

A path may be anything: a named pipe would keep a reader waiting for ever, and to open a device may do something.
So it is looked at first, opened without waiting, and looked at again.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from pathlib import Path

from pipeline.errors import EnvironmentFault, InputError
from pipeline.private import private_folder

PATIENCE_S = 120.0  # a promotion holds the lock for seconds, its uploads apart
_POLL_S = 0.02
_WAY_OUT = "or name another folder in registry.journal of params.yaml, then run the command again."
_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def opened(path: Path, *, write: bool = False) -> int:
    """A descriptor of the file at `path`; with `write` it is made with its folder where it is not there.

    Raises FileNotFoundError where it is not there and `write` is not asked for, InputError where there can be no
    file at that path, or none that this account may open, EnvironmentFault where the disk fails.
    """
    flags = os.O_RDWR | os.O_CREAT if write else os.O_RDONLY
    try:
        if write:
            private_folder(path.parent)
        if path.exists():
            _check_regular(path, path.stat().st_mode)
        descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK, 0o644)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not write:
            raise
        raise _unusable(path, error) from error
    try:
        _check_regular(path, os.fstat(descriptor).st_mode)
    except (InputError, OSError):
        os.close(descriptor)
        raise
    return descriptor


def content(path: Path) -> bytes:
    """All of the file; b"" where there is none. Raises what `opened` raises."""
    try:
        descriptor = opened(path)
    except FileNotFoundError:
        return b""
    try:
        with os.fdopen(descriptor, "rb") as file:
            return file.read()
    except OSError as error:
        raise _unusable(path, error) from error


def lock(descriptor: int, path: Path) -> None:
    """Lock an open file for this process alone. Raises EnvironmentFault where that takes longer than PATIENCE_S."""
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                raise EnvironmentFault(
                    f"{path}: another process has been changing the champion for {PATIENCE_S:.0f} seconds. "
                    "Wait for it to end, or end it, then run the command again."
                ) from None
            time.sleep(_POLL_S)


def _check_regular(path: Path, mode: int) -> None:
    """Raise InputError where `mode` is that of something else than a file."""
    if stat.S_ISDIR(mode):
        raise _unusable(path, IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)))
    if not stat.S_ISREG(mode):
        raise InputError(
            f"{path}: the journal is kept in this file, and it is {_KINDS.get(stat.S_IFMT(mode), 'no file')}. "
            f"Move it away, {_WAY_OUT}"
        )


def _unusable(path: Path, error: OSError) -> InputError | EnvironmentFault:
    """What to raise for a journal that cannot be opened, with what is in the way."""
    if isinstance(error, IsADirectoryError):
        return InputError(
            f"{path}: the journal is kept in this file, and it is a folder. Move the folder away, {_WAY_OUT}"
        )
    if isinstance(error, FileExistsError | NotADirectoryError):
        return InputError(
            f"{path}: the journal's folder cannot be made, since {error.filename or path.parent} or what is "
            f"above it is a file. Move the file away, {_WAY_OUT}"
        )
    if isinstance(error, PermissionError):
        return InputError(
            f"{path}: the journal must be read and written by this account, and may not be. Give it "
            f"the right to (`ls -l {path.parent}` shows who has it), {_WAY_OUT}"
        )
    return EnvironmentFault(
        f"{path}: the journal cannot be opened: {error.strerror or error}. See to the disk, {_WAY_OUT}"
    )


def sync_folder(folder: Path) -> None:
    """Wait until the name of a new file is on the disk too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
