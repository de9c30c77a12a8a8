"""The journal: every change of the champion, in a file outside MLflow and Prefect that is only appended to.

One line of canonical JSON for each change. A line holds its own SHA-256 (`digest`) and that of the line before
it (`prior`), so that a line that was altered, or taken out of the middle, is found. It is a record among people
who work together: whoever may write the file can write all of it anew.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.errors import CorruptArtifactError, EnvironmentFault
from pipeline.facts import canonical_json, digest_of
from pipeline.release.journal_file import content, lock, opened, sync_folder

Entry = dict[str, Any]


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
        descriptor = opened(self.path, write=True)
        try:
            lock(descriptor, self.path)
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
        lines = content(self.path).split(b"\n")[:-1]  # what no newline ends is torn
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
        return content(self.path)[-1:] not in (b"", b"\n")

    def cut_torn(self) -> None:
        """Remove a last line that was cut off: it was never said to be written."""
        with self.locked():
            os.truncate(self.path, content(self.path).rfind(b"\n") + 1)

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

    def _write(self, descriptor: int, line: bytes) -> None:
        before = content(self.path)
        whole = before.rfind(b"\n") + 1
        if whole < len(before):
            os.ftruncate(descriptor, whole)
        os.lseek(descriptor, whole, os.SEEK_SET)
        try:
            left = memoryview(line)
            while left:
                left = left[os.write(descriptor, left) :]
            os.fsync(descriptor)
            if whole == 0:
                sync_folder(self.path.parent)
        except OSError as error:
            raise EnvironmentFault(
                f"{self.path}: cannot be written ({error.strerror}), so the change of the champion is not "
                "in the journal yet. Make room or mend its rights, then run the command again: it adds it."
            ) from error


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
