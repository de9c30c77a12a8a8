"""The journal: every change of the champion, in a file outside MLflow and Prefect that is only appended to.

One line of canonical JSON for each change. A line holds its own SHA-256 (`digest`) and that of the line before
it (`prior`), so that a line that was altered, or taken out of the middle, is found. It is a record among people
who work together: whoever may write the file can write all of it anew.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.errors import CorruptArtifactError, EnvironmentFault, InputError
from pipeline.facts import canonical_json, digest_of

Entry = dict[str, Any]

PATIENCE_S = 120.0  # a promotion holds the lock for seconds, its uploads apart
_POLL_S = 0.02


class Journal:
    """The journal in the file `path`, made with its folder when it is first written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._held: int | None = None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other process of this machine from appending while the block runs.

        The lock is the kernel's (flock) and ends with the process, so none is left behind. Raises
        EnvironmentFault where another process keeps it for longer than PATIENCE_S, InputError where
        there can be no file at that path, or none that this account may write.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise _unusable(self.path, error) from error
        try:
            _lock(descriptor, self.path)
            self._held = descriptor
            yield
        finally:
            self._held = None
            os.close(descriptor)

    def entries(self) -> list[Entry]:
        """Every entry, oldest first; none where there is no file. A torn last line is left out.

        Raises CorruptArtifactError naming each line that is not as it was written.
        """
        entries, faults = self.inspect()
        if faults:
            raise CorruptArtifactError(
                "\n".join(faults) + f"\nRestore {self.path} from a backup; or move it away, and "
                "`mergegate doctor --mend` writes what the registry still knows into a new one."
            )
        return entries

    def inspect(self) -> tuple[list[Entry], list[str]]:
        """The entries that can be read, and a fault for each line that is not as it was written.

        Raises InputError where the path is no file, or one that this account may not read.
        """
        lines = self._content().split(b"\n")[:-1]  # what no newline ends is torn
        entries: list[Entry] = []
        faults: list[str] = []
        prior: str | None = ""
        for number, line in enumerate(lines, 1):
            where = f"{self.path}, line {number}"
            entry = _parsed(line)
            if entry is None:
                faults.append(f"{where}: altered since it was written (it is no entry).")
                prior = None  # the next line cannot be blamed for it
                continue
            written = entry.pop("digest")
            if digest_of(entry) != written:
                faults.append(f"{where}: altered since it was written ({_called(entry)}).")
            elif prior is not None and entry["prior"] != prior:
                faults.append(f"{where}: what was before it ({_called(entry)}) is missing.")
            prior = written
            entries.append({**entry, "digest": written})
        return entries, faults

    def torn(self) -> bool:
        """Whether the last line was cut off while it was written; the next append removes it."""
        return self._content()[-1:] not in (b"", b"\n")

    def cut_torn(self) -> None:
        """Remove a last line that was cut off: it was never said to be written."""
        with self.locked():
            content = self.path.read_bytes()
            os.truncate(self.path, content.rfind(b"\n") + 1)

    def append(self, entry: Mapping[str, Any]) -> Entry:
        """Add an entry and wait until it is on the disk; returns it as written, `prior` and `digest` added.

        A change that is entered already (the same `name`, `number` and `claim`) is not entered twice.
        Takes the lock where the caller does not hold it. Raises CorruptArtifactError as `entries`
        does: nothing is added to a journal that cannot be relied on.
        """
        if self._held is None:
            with self.locked():
                return self.append(entry)
        before = self.entries()
        if known := next((e for e in before if _same(e, entry)), None):
            return known
        linked = {**entry, "prior": before[-1]["digest"] if before else ""}
        written: Entry = {**linked, "digest": digest_of(linked)}
        self._write(self._held, canonical_json(written).encode() + b"\n")
        return written

    def _content(self) -> bytes:
        """All of it; b"" where there is no file."""
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise _unusable(self.path, error) from error

    def _write(self, descriptor: int, line: bytes) -> None:
        content = self.path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.ftruncate(descriptor, whole)
        os.lseek(descriptor, whole, os.SEEK_SET)
        try:
            left = memoryview(line)
            while left:
                left = left[os.write(descriptor, left) :]
            os.fsync(descriptor)
            if whole == 0:
                _sync_folder(self.path.parent)
        except OSError as error:
            raise EnvironmentFault(
                f"{self.path}: cannot be written ({error.strerror}), so the change of the champion is not "
                "in the journal yet. Make room or mend its rights, then run the command again: it adds it."
            ) from error


def _lock(descriptor: int, path: Path) -> None:
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


def _unusable(path: Path, error: OSError) -> InputError | EnvironmentFault:
    """What to raise for a journal that cannot be opened, with what is in the way."""
    way_out = (
        "or name another folder in registry.journal of params.yaml, then run the command again."
    )
    if isinstance(error, IsADirectoryError):
        return InputError(
            f"{path}: the journal is kept in this file, and it is a folder. Move the folder away, {way_out}"
        )
    if isinstance(error, FileExistsError | NotADirectoryError):
        return InputError(
            f"{path}: the journal's folder cannot be made, since {error.filename or path.parent} or what is "
            f"above it is a file. Move the file away, {way_out}"
        )
    if isinstance(error, PermissionError):
        return InputError(
            f"{path}: the journal must be read and written by this account, and may not be. Give it "
            f"the right to (`ls -l {path.parent}` shows who has it), {way_out}"
        )
    return EnvironmentFault(
        f"{path}: the journal cannot be opened: {error.strerror or error}. See to the disk, {way_out}"
    )


def _parsed(line: bytes) -> Entry | None:
    try:
        entry = json.loads(line)
    except (RecursionError, ValueError):
        return None
    # A number is what entries are found by, and a digest what they are chained by.
    kinds = {"digest": str, "prior": str, "number": int}
    whole = isinstance(entry, dict) and all(isinstance(entry.get(k), t) for k, t in kinds.items())
    return entry if whole else None


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two entries are of one change."""
    return "claim" in one and all(one.get(k) == other.get(k) for k in ("name", "number", "claim"))


def _called(entry: Mapping[str, Any]) -> str:
    """How a message names an entry."""
    return f"change {entry.get('number')} of {entry.get('name')}, by {entry.get('who')}"


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
