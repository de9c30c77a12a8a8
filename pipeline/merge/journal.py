"""How far a merge has come, so that an interrupted one goes on: the digest of each shard up to a tensor.

Shards are hashed in order while they are written, and what has been hashed is noted in the journal of the
unfinished folder. A merge that starts again reads those bytes back; where their digest is the one noted, they
are what this merge would write, and hashing goes on from there. What was written beyond is written again.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.merge.safetensors_writer import Shard, ShardWriter

JOURNAL = "progress.jsonl"
_CHUNK = 1 << 22
_NOTED = 1 << 25  # bytes between two notes


@dataclass(frozen=True)
class _Mark:
    """The first `bytes` of a shard and their SHA-256 (hex)."""

    shard: int
    bytes: int
    sha256: str


class Journal:
    """The journal of a merge whose result depends on `identity` and nothing else, in the folder `part`."""

    def __init__(self, part: Path, identity: str, shards: Sequence[Shard]) -> None:
        self._path, self._identity, self._shards = part / JOURNAL, identity, shards
        self._marks = self._read()

    def _read(self) -> dict[int, _Mark]:
        """The last mark of each shard; none where the journal is another merge's."""
        try:
            lines = self._path.read_text(encoding="utf-8").splitlines()
            if json.loads(lines[0]) != {"identity": self._identity}:
                return {}
        except (OSError, ValueError, IndexError):
            return {}
        marks: dict[int, _Mark] = {}
        for line in lines[1:]:
            try:  # the last line may be half-written
                mark = _Mark(**json.loads(line))
            except (ValueError, TypeError):
                break
            marks[mark.shard] = mark
        return marks

    def begin(self) -> None:
        """Write the journal's head, where it is not there already."""
        if not self._marks:
            head = json.dumps({"identity": self._identity})
            self._path.write_text(head + "\n", encoding="utf-8")

    def note(self, shard: int, count: int, sha256: str) -> None:
        """The first `count` bytes of a shard are as they should be."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(vars(_Mark(shard, count, sha256))) + "\n")

    def verified(self, shard: int, writer: ShardWriter) -> tuple[int, Any]:
        """(bytes that are there and as noted, SHA-256 of them as an object to go on with)."""
        mark = self._marks.get(shard)
        total = hashlib.sha256()
        if mark and mark.bytes <= self._shards[shard].size:
            _feed(total, writer, shard, 0, mark.bytes)
            if total.hexdigest() == mark.sha256:
                return mark.bytes, total
        return 0, hashlib.sha256()

    def remove(self) -> None:
        """Take the journal out of the finished folder."""
        self._path.unlink(missing_ok=True)


class Hasher:
    """Hashes shards in order, as far as their tensors are written; notes each tensor's end in the journal."""

    def __init__(self, shards: Sequence[Shard], writer: ShardWriter, journal: Journal) -> None:
        self._shards, self._writer, self._journal = shards, writer, journal
        self._begun = [journal.verified(index, writer) for index in range(len(shards))]
        self._done = {
            name
            for shard, (begun, _) in zip(shards, self._begun, strict=True)
            for name, end in self._ends(shard).items()
            if end <= begun
        }
        self._written: set[str] = set()
        self._changed = threading.Condition()
        self._stopped = False

    def done(self, name: str) -> bool:
        """Whether an earlier run wrote the tensor, and it is as it should be."""
        return name in self._done

    def written(self, name: str) -> None:
        """All bytes of a tensor are written."""
        with self._changed:
            self._written.add(name)
            self._changed.notify()

    def stop(self) -> None:
        """End `run` where it waits."""
        with self._changed:
            self._stopped = True
            self._changed.notify()

    def run(self) -> dict[str, str]:
        """The SHA-256 (hex) of each shard by file, when all of it is written; fewer where it was stopped."""
        found: dict[str, str] = {}
        for index, shard in enumerate(self._shards):
            at, total = self._begun[index]
            noted = at
            for name, end in self._ends(shard).items():
                if name in self._done:
                    continue
                if not self._wait(name):
                    return found
                _feed(total, self._writer, index, at, end)
                at = end
                if at - noted >= _NOTED or at == shard.size:
                    self._journal.note(index, at, total.hexdigest())
                    noted = at
            found[shard.file] = total.hexdigest()
        return found

    def _wait(self, name: str) -> bool:
        """Whether the tensor is written, waiting for it until stopped."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or name in self._written)
            return name in self._written

    @staticmethod
    def _ends(shard: Shard) -> dict[str, int]:
        """Where each tensor ends in the file, in order of place."""
        starts = sorted(shard.starts.items(), key=lambda item: item[1])
        ends = [start for _, start in starts[1:]] + [shard.size]
        return {name: end for (name, _), end in zip(starts, ends, strict=True)}


def _feed(total: Any, writer: ShardWriter, shard: int, start: int, end: int) -> None:
    for at in range(start, end, _CHUNK):
        total.update(writer.written(shard, at, min(_CHUNK, end - at)))
