"""A folder that appears under its name only when it is whole.

It is filled as `.NAME.part` beside its place and renamed at the end. A killed run leaves that part
behind; the next run takes it over and begins anew.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import EnvironmentFault, InputError
from pipeline.private import private_folder

# How our folders in the machine's temporary folder begin: so that nobody names one of theirs like that, since
# `mergegate doctor --mend` removes those that a killed run left.
TEMPORARY = ".mergegate-scratch-"


@dataclass(frozen=True)
class FolderKind:
    """What is written into a folder, so that one of ours can be told from a folder of the user's."""

    noun: str  # with its article, for messages: "a merge"
    mark: str  # what every folder of the kind has, for messages: "merge.json"
    has_mark: Callable[[Path], bool]
    # What lies in such a folder and was not written with it, as far as the folder says what was.
    strangers: Callable[[Path], list[str]] = lambda _: []


@contextmanager
def whole_folder(
    out: Path,
    kind: FolderKind,
    *,
    replace: bool = True,
    resume: bool = False,
    durable: bool = True,
) -> Iterator[Path]:
    """An empty folder to fill; it becomes `out` when the block ends, or vanishes where it raises.

    With `resume` it holds what an interrupted block left, and is left as it is where the block is
    interrupted or the environment fails. What belongs to it is for the block to say. `durable` waits until all is
    on the disk, so that a loss of power cannot empty a folder that has its name already.

    An older folder of this kind is replaced at the very end, and lost in no case before. Raises
    InputError as `check_replaceable` does, EnvironmentFault where another process is writing.
    """
    out = out.absolute()
    old, part = out.with_name(f".{out.name}.old"), out.with_name(f".{out.name}.part")
    above = [parent for parent in out.parents if not parent.exists()]
    private_folder(out.parent)
    with _locked(part, clear=not resume):
        try:
            if old.exists() and not out.exists():  # killed between the two renames of _put
                old.rename(out)
            check_replaceable(out, kind, replace=replace)
            yield part
            if durable:
                _sync(part)
            _put(part, out, old)
        except BaseException as error:
            lasting = isinstance(error, EnvironmentFault | KeyboardInterrupt | OSError)
            if not (resume and lasting):
                shutil.rmtree(part, ignore_errors=True)
                _remove_empty(above)
            raise


def check_place(folder: Path) -> None:
    """Raise InputError where `folder` cannot be made, since a file is there or above it."""
    there = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    if not there.is_dir():
        raise InputError(f"{folder}: {there} is no folder. Name a folder, or one to be made.")


def check_replaceable(out: Path, kind: FolderKind, *, replace: bool = True) -> None:
    """Raise InputError where something at `out` is to stay: a folder of `kind` without `replace`.

    What is neither of that kind nor empty always stays.
    """
    if not out.exists() and not out.is_symlink():
        return
    if out.is_dir() and not out.is_symlink():
        if not any(out.iterdir()):
            return
        if kind.has_mark(out):
            if replace and (strangers := kind.strangers(out)):
                raise InputError(
                    f"{out}: holds {kind.noun}, and besides {', '.join(strangers[:5])}, which would be lost. "
                    "Move that elsewhere, or name another folder."
                )
            if replace:
                return
            raise InputError(
                f"{out}: already holds {kind.noun}. Name another folder, or use --force."
            )
    raise InputError(
        f"{out}: exists and is not {kind.noun} (it has no {kind.mark}), so it is not replaced. "
        "Name another folder, or remove it yourself."
    )


def check_file(path: Path, suffix: str = "") -> None:
    """Raise InputError where no file could be written at `path`: a folder is there, or another ending is needed."""
    if path.is_dir() or not path.name:
        raise InputError(f"{path}: is a folder; name the file to write.")
    if suffix and path.suffix.lower() != suffix:
        raise InputError(f"{path}: what is written there is {suffix}; give it that ending.")


@contextmanager
def _locked(part: Path, *, clear: bool) -> Iterator[None]:
    """`part` as a folder that no other process writes to, empty where `clear` is set."""
    descriptor = _lock(part)
    try:
        if clear:
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
        f"{part}: another process is writing there. Wait for it to end, or name another folder."
    )


def _remove_empty(folders: Iterable[Path]) -> None:
    """Remove what was made on the way to the folder, from the innermost on, as far as it is empty."""
    with suppress(OSError):
        for folder in folders:
            folder.rmdir()


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
