"""A folder that appears under its name only when it is whole.

It is filled as `.NAME.part` beside its place and renamed at the end. A killed run leaves that part
behind; the next run takes it over and begins anew.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import EnvironmentFault, InputError

# Every folder that is written here has it, so `force` can tell a merge from a folder of the user's.
MARK = "merge.json"


@contextmanager
def whole_folder(out: Path, force: bool) -> Iterator[Path]:
    """An empty folder to fill; it becomes `out` when the block ends, or vanishes where it raises.

    Raises InputError where `out` exists: always for what is no merge, without `force` for a merge.
    With `force` the old folder is replaced at the very end, and lost in no case before.
    """
    out = out.absolute()
    old = out.with_name(f".{out.name}.old")
    out.parent.mkdir(parents=True, exist_ok=True)
    if old.exists() and not out.exists():  # killed between the two renames of _put
        old.rename(out)
    check_replaceable(out, force)
    part = out.with_name(f".{out.name}.part")
    with _locked(part):
        try:
            yield part
            _sync(part)
            _put(part, out, old)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise


def check_replaceable(out: Path, force: bool) -> None:
    """Raise InputError where a merge must not be written to `out`."""
    if not out.exists() and not out.is_symlink():
        return
    if out.is_dir() and not out.is_symlink():
        if not any(out.iterdir()) or (force and (out / MARK).is_file()):
            return
        if (out / MARK).is_file():
            raise InputError(f"{out}: already holds a merge. Name another folder, or use --force.")
    raise InputError(
        f"{out}: exists and is not a merge (it has no {MARK}), so it is not replaced. "
        "Name another folder, or remove it yourself."
    )


@contextmanager
def _locked(part: Path) -> Iterator[None]:
    """`part` as an empty folder that no other process writes to."""
    descriptor = _lock(part)
    try:
        _clear(part)
        yield
    finally:
        os.close(descriptor)


def _lock(part: Path) -> int:
    """A descriptor that holds the lock on `part`. Raises EnvironmentFault where another has it."""
    part.mkdir(exist_ok=True)
    descriptor = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The other process may have renamed or removed the folder between our two calls.
        if part.exists() and part.stat().st_ino == os.fstat(descriptor).st_ino:
            return descriptor
    except BlockingIOError:
        pass
    os.close(descriptor)
    raise EnvironmentFault(
        f"{part}: another merge is writing there. Wait for it to end, or name another folder."
    )


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _sync(folder: Path) -> None:
    """Bring every file and the folder itself to the disk."""
    for path in (*sorted(folder.rglob("*")), folder):
        _sync_one(path)


def _put(part: Path, out: Path, old: Path) -> None:
    if out.exists():
        shutil.rmtree(old, ignore_errors=True)
        out.rename(old)
    try:
        part.rename(out)
    except OSError:
        if old.exists():
            old.rename(out)
        raise
    _sync_one(out.parent)
    shutil.rmtree(old, ignore_errors=True)


def _sync_one(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
