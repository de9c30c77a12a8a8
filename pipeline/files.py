"""Opening a file that came from elsewhere: only a regular one, never waiting, never more than asked for."""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

from pipeline.errors import InputError


def open_file(path: Path) -> BufferedReader:
    """The regular file at `path`, opened for reading; its size is `size_of`.

    Raises InputError where there is none, where it may not be read, and for a pipe, a device or a folder.
    """
    try:
        # An ordinary open of a pipe waits until somebody writes into it.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _unopened(path, error) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _irregular(path)
    return os.fdopen(descriptor, "rb")


def size_of(stream: BufferedReader) -> int:
    """The size in bytes of an opened file."""
    return os.fstat(stream.fileno()).st_size


def read_file(path: Path, limit: int, what: str) -> bytes:
    """All bytes of the file; InputError where it has more than `limit`, which holds for `what` («a recipe»)."""
    with open_file(path) as stream:
        size = size_of(stream)
        data = stream.read(limit + 1) if size <= limit else b""
    if size > limit or len(data) > limit:
        raise InputError(
            f"{path}: {max(size, len(data))} bytes; {what} has at most {limit}. "
            "Check that this is the right file."
        )
    return data


def _unopened(path: Path, error: OSError) -> Exception:
    """What to raise where the file cannot be opened: `error` itself, where it is not the user's to mend."""
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP):
        return InputError(f"{path!s:.200}: no such file. Check the path.")
    if error.errno in (errno.EACCES, errno.EPERM):
        return InputError(
            f"{path}: this user may not read it. Change its rights (chmod u+r), or copy it."
        )
    return _irregular(path) if error.errno == errno.ENXIO else error  # ENXIO: a socket


def _irregular(path: Path) -> InputError:
    if path.is_dir():
        return InputError(f"{path}: is a folder; a file is needed. Name the file itself.")
    return InputError(f"{path}: is a pipe or a device. Save its content as a file, and name that.")
