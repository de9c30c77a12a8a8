"""Results of skills kept from one evaluation to the next: what nothing has changed for is not evaluated again.

An entry is `FOLDER/KEY/result.json`. KEY is the digest of all that the result depends on (`Key`), and the file
holds that, the result, and a digest of both. Until it is written, `samples.jsonl` beside it has what is finished of
the skill (`pipeline.evaluate.kept`). What does not read back as it was written is dropped, with a
note, and evaluated again: the store can cost a release time, never its verdict. The digest shows damage, not forgery;
whoever can write here can write the evaluations themselves.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import MergegateError
from pipeline.evaluate.kept import SAMPLES, KeptAnswers
from pipeline.evaluate.tasks import SkillSpec, SkillTask
from pipeline.facts import Score, TaskFacts, canonical_json, digest_of, write_text
from pipeline.files import read_file

MAX_ENTRIES = 1_000  # one per skill and variant: about 20 candidates of 7 skills and 7 variants
MAX_BYTES = 2 << 30  # of all entries together
_KEY = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class SkillResult:
    """What one skill adds to an evaluation."""

    facts: TaskFacts
    prompts: Mapping[str, str]  # by part of the skill: SHA-256 over its rendered prompts, in order
    scores: tuple[Score, ...]
    answers: tuple[Mapping[str, str], ...]  # rows of VARIANT.answers.jsonl


@dataclass(frozen=True)
class Key:
    """All that a result depends on, as JSON values."""

    covers: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The folder of the entry: SHA-256 of the canonical JSON."""
        return digest_of(self.covers)


def skill_key(task: SkillTask, spec: SkillSpec, common: Mapping[str, Any]) -> Key | None:
    """The key of one skill; `common` is what all skills of a variant depend on, as JSON values.

    None where not all is known: rows that a judge model is asked about, for a name does not say what
    answers under it, and documents of a task of lm-eval's own that JSON does not have, as images.
    """
    if any(row.get("judge") is not None for row in task.rows):
        return None
    try:
        golden = task.golden_digest or _own_data(task)
    except (TypeError, ValueError):
        return None
    return Key(
        {
            **common,
            "skill": task.skill,
            "task": [task.name, task.digest],
            "golden": golden,
            "metrics": list(spec.metrics),
            "attributes": list(spec.attributes),
        }
    )


def _own_data(task: SkillTask) -> str:
    """SHA-256 over the documents of a task of lm-eval's own: the hub may change them under one version."""
    return digest_of(
        {
            name: [
                list(part.eval_docs),
                list(part.fewshot_docs()) if part.get_config("num_fewshot") else [],
            ]
            for name, part in task.parts.items()
        }
    )


@dataclass
class Store:
    """The kept results in `folder`. No fault of the disk is raised: each ends in `notes`."""

    folder: Path
    notes: list[str] = field(default_factory=list)
    reused: list[str] = field(default_factory=list)  # skills, in the order in which they were read
    # By skill: answers that an evaluation which did not end has left, and that were not asked for again.
    resumed: dict[str, int] = field(default_factory=dict)
    max_entries: int = MAX_ENTRIES
    max_bytes: int = MAX_BYTES

    def read(self, key: Key) -> SkillResult | None:
        """The result kept under `key`; None where there is none, or one that is damaged, which is removed."""
        path = self._path(key)
        try:
            if not path.exists():
                return None
            result = _parsed(read_file(path, self.max_bytes, "a kept result"), key)
            os.utime(path)  # used last, so pruned last
            self._drop_samples(key)  # of one that was killed as it ended, or that ended second
        # Whatever the bytes are, the answer is to evaluate again.
        except (MergegateError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            reason = error if str(error) else type(error).__name__
            self.notes.append(f"{path}: does not read back ({reason}); evaluated again.")
            shutil.rmtree(path.parent, ignore_errors=True)
            return None
        self.reused.append(result.scores[0].skill)
        return result

    def write(self, key: Key, result: SkillResult) -> None:
        """Keep `result`, which appears whole or not at all."""
        body = {"covers": dict(key.covers), "result": _result_json(result)}
        text = canonical_json({**body, "sha256": digest_of(body)}) + "\n"
        try:
            write_text(self._path(key), text)
        except OSError as error:
            self.notes.append(f"{self._path(key)}: not kept ({error.strerror or error}).")
        else:
            self._drop_samples(key)

    @contextmanager
    def samples(self, key: Key, skill: str) -> Iterator[KeptAnswers]:
        """The answers kept of a `skill` that is not finished, to be added to; they stay until its result is written."""
        path = self._path(key).with_name(SAMPLES)
        kept = KeptAnswers(path, key.name, self.notes, self.max_bytes)
        try:
            yield kept
        finally:
            kept.close()
            if kept.resumed:
                self.resumed[skill] = kept.resumed

    def prune(self) -> None:
        """Remove the entries that were used longest ago, until the rest is within both bounds."""
        try:
            entries = sorted(_entries(self.folder), reverse=True)
        except OSError as error:
            self.notes.append(f"{self.folder}: not pruned ({error.strerror or error}).")
            return
        total = 0
        for number, (_, size, entry) in enumerate(entries, start=1):
            total += size
            if number > self.max_entries or total > self.max_bytes:
                shutil.rmtree(entry, ignore_errors=True)

    def _drop_samples(self, key: Key) -> None:
        with suppress(OSError):
            self._path(key).with_name(SAMPLES).unlink(missing_ok=True)

    def _path(self, key: Key) -> Path:
        return self.folder / key.name / "result.json"


def _entries(folder: Path) -> list[tuple[int, int, Path]]:
    """(time of last use, bytes, folder) of each entry; what has neither result nor samples is the oldest."""
    found = []
    for entry in folder.iterdir() if folder.is_dir() else ():
        if not _KEY.fullmatch(entry.name) or entry.is_symlink():
            continue
        sizes, times = [0], [0]
        for name in ("result.json", SAMPLES):
            # Another evaluation may be writing it just now, or removing it.
            with suppress(FileNotFoundError):
                status = (entry / name).stat()
                sizes.append(status.st_size)
                times.append(status.st_mtime_ns)
        found.append((max(times), sum(sizes), entry))
    return found


def _parsed(data: bytes, key: Key) -> SkillResult:
    value = json.loads(data)
    kept = value.pop("sha256")
    if kept != digest_of(value):
        raise ValueError("its digest differs")
    if canonical_json(value["covers"]) != canonical_json(key.covers):
        raise ValueError("it is of another key")
    return _result(value["result"])


def _result_json(result: SkillResult) -> dict[str, Any]:
    """Rows rather than objects: the same names a thousand times would be most of the file."""
    return {
        "skill": result.scores[0].skill,
        "facts": asdict(result.facts),
        "prompts": dict(result.prompts),
        "scores": [
            [s.metric, s.sample_id, s.sample_digest, s.score, dict(s.attributes)]
            for s in result.scores
        ],
        "answers": [[a["sample_id"], a["answer"]] for a in result.answers],
    }


def _result(value: Mapping[str, Any]) -> SkillResult:
    skill = value["skill"]
    return SkillResult(
        facts=TaskFacts(**value["facts"]),
        prompts=value["prompts"],
        scores=tuple(
            Score(skill, metric, sample_id, digest, score, tuple(sorted(attributes.items())))
            for metric, sample_id, digest, score, attributes in value["scores"]
        ),
        answers=tuple(
            {"skill": skill, "sample_id": sample_id, "answer": text}
            for sample_id, text in value["answers"]
        ),
    )
