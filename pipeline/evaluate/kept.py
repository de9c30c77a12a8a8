"""Answers of a skill that is being evaluated, kept batch by batch, so that a killed evaluation goes on where it was.

The file is append-only, one line of JSON a batch: `batch`, the digest of the requests that were asked together,
`answers` in their order, and `sha256` over both and the key of the store's entry. A line that is torn, altered or of
another entry is dropped, and its batch is asked again. No fault of the disk is raised.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import MergegateError
from pipeline.facts import canonical_json, digest_of
from pipeline.files import read_file
from pipeline.private import private_folder

SAMPLES = "samples.jsonl"


class KeptAnswers:
    """The answers kept in `path` under the entry `key`, to which those of each new batch are added."""

    def __init__(self, path: Path, key: str, notes: list[str], limit: int) -> None:
        """Read what there is.

        Args:
            path: The file; made, with its folder, by the first `add`.
            key: The name of the entry; lines of another are dropped.
            notes: Where it is said, in sentences, what does not read back.
            limit: The most bytes that are read; a larger file is dropped whole.
        """
        self._path, self._key, self._notes = path, key, notes
        self._batches: dict[str, list[Any]] = {}
        self._descriptor: int | None = None
        self._failed = False
        self.resumed = 0  # answers that were given from the file
        self._read(limit)

    def get(self, batch: str, size: int) -> list[Any] | None:
        """The `size` answers kept for `batch`; None where there are none."""
        answers = self._batches.get(batch)
        if answers is None or len(answers) != size:
            return None
        self.resumed += size
        return answers

    def add(self, batch: str, answers: Sequence[Any]) -> None:
        """Keep the answers of `batch`, on the disk before this returns.

        After a first fault nothing more is tried: what follows a torn line on a full disk would be torn as well.
        """
        if self._failed:
            return
        try:
            line = canonical_json(self._line(batch, list(answers))) + "\n"
            self._append(line.encode())
        except (ValueError, TypeError):  # what JSON does not have, as an infinite log-probability
            return
        except OSError:  # if the disk takes the result of the skill in the end, nothing was lost
            self._failed = True

    def close(self) -> None:
        """Close the file, which stays for the next evaluation."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _line(self, batch: str, answers: list[Any]) -> dict[str, Any]:
        body = {"answers": answers, "batch": batch}
        return {**body, "sha256": digest_of({**body, "key": self._key})}

    def _read(self, limit: int) -> None:
        try:
            if not os.path.lexists(self._path):
                return
            lines = read_file(self._path, limit, "a file of kept samples").split(b"\n")
        except (MergegateError, OSError) as error:
            self._notes.append(f"{self._path}: does not read back ({error}); evaluated again.")
            self._failed = True  # what stands in its place is not ours to write into
            return
        lost = [line for line in lines if line and not self._take(line)]
        if lost:
            self._notes.append(
                f"{self._path}: does not read back ({len(lost)} batches); evaluated again."
            )

    def _take(self, line: bytes) -> bool:
        """Whether `line` is as it was written; what it holds is then known."""
        try:
            value = json.loads(line)
            batch, answers = value["batch"], value["answers"]
            if line.decode() != canonical_json(self._line(batch, answers)):
                return False
            self._batches[batch] = answers
        except (ValueError, KeyError, TypeError, RecursionError):
            return False
        return True

    def _append(self, data: bytes) -> None:
        """One write, so that lines of two evaluations of the same entry do not mix."""
        if self._descriptor is None:
            self._descriptor, whole = _opened(self._path)
            data = data if whole else b"\n" + data
        if os.write(self._descriptor, data) < len(data):
            raise OSError(None, "the disk took a part of a line")
        os.fsync(self._descriptor)


def _opened(path: Path) -> tuple[int, bool]:
    """(descriptor at the end of the file, whether its last line is whole). Never follows a link, never waits."""
    private_folder(path.parent)
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o644)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise OSError(None, "is no regular file")
    size = status.st_size
    return descriptor, size == 0 or os.pread(descriptor, 1, size - 1) == b"\n"
