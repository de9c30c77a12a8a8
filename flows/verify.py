"""A release folder checked against itself: digests, files, and the verdict computed again, offline."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sized
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from flows import say
from gates import Verdict
from gates.recompute import Stored, differences, plain_verdict, read_stored, release_verdict
from pipeline.errors import InputError, MergegateError
from pipeline.evaluate.table import comparison
from pipeline.facts import canonical_json, read_json
from pipeline.release.bundle import RECORD, file_faults
from pipeline.release.record import DIGESTS, record_faults
from pipeline.release.verdict_inputs import told, told_again
from pipeline.stages.workspace import BUILD, code_digest

MOST = 20  # differences that are told of one document

T = TypeVar("T")


@dataclass(frozen=True)
class Verification:
    """What was checked of a release folder, what is wrong, and what a reader should know beside it."""

    release: str
    outcome: str  # of the verdict that was computed again; "" where it could not be
    checked: tuple[str, ...]
    faults: tuple[str, ...]  # each begins with the file
    notes: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """0 where the release is what it says, 2 where anything differs."""
        return 2 if self.faults else 0

    def to_json(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {**asdict(self), "sound": not self.faults}


def find_release(release: str) -> Path:
    """The release folder that is meant: a path, or a candidate whose release lies in build/.

    Raises InputError where there is neither.
    """
    choices = [Path(release)]
    if Path(release).name == release:
        choices.append(BUILD / release / "release")
    for folder in choices:
        if (folder / RECORD).is_file():
            return folder
    looked = " and ".join(str(folder / RECORD) for folder in choices)
    raise InputError(
        f"{release}: no release folder; looked for {looked}. Name the folder that holds {RECORD}, "
        "or run `mergegate release` first."
    )


def verify(folder: Path, today: date | None = None) -> Verification:
    """Check a release folder: every digest, no file more or less, and the verdict computed again.

    Reads nothing outside the folder, and loads no model. `today` (by default the day in UTC) only
    says which waivers have expired since. Whatever is wrong with the content is a fault of the
    result; raises InputError where there is no record at all.
    """
    record = _attempt(lambda: _record(folder))
    if isinstance(record, str):
        return Verification(str(folder), "", (), (record,), ())
    faults = [f"{RECORD}: {field}: changed since it was written" for field in record_faults(record)]
    wrong = _attempt(lambda: file_faults(folder, record.get("files")))
    named = {RECORD: wrong} if isinstance(wrong, str) else wrong
    faults += [f"{name}: {fault}" for name, fault in named.items()]
    checked = [f"{_count(record.get('files'), 'file')} by SHA-256, and that there is no other"]
    if DIGESTS in record:
        checked.append(f"{_count(record[DIGESTS], 'field')} of {RECORD} by SHA-256")
    if record.get("schema") == 1:
        faults.append(
            f"{RECORD}: schema: 1 keeps no policy, so the verdict cannot be computed again. "
            "Run `mergegate release` again."
        )
        return Verification(str(folder), "", tuple(checked), tuple(faults), ())
    stored = _attempt(lambda: _stored(folder, record))
    if isinstance(stored, str):
        faults.append(stored)
        return Verification(str(folder), "", tuple(checked), tuple(faults), ())
    verdict, found = _recomputed(folder, record, stored)
    faults += found
    checked += [
        f"{_count(stored.evaluations, 'variant')} and {_samples(stored):,} scores, judged again by "
        f"the policy {stored.policy.digest[:12]}…",
        f"verdict, comparison, and what {RECORD} says of policy, scores and golden sets",
    ]
    notes = _notes(record, stored, verdict, today or datetime.now(UTC).date(), bool(found))
    outcome = verdict.outcome if verdict else ""
    return Verification(str(folder), outcome, tuple(checked), tuple(faults), tuple(notes))


def show(found: Verification) -> None:
    """What was checked, what is wrong, and what to know beside it, a line each."""
    for text in found.checked:
        say.line(f"checked  {text}")
    for text in found.faults:
        say.line(f"differs  {text}")
    for text in found.notes:
        say.line(f"note     {text}")
    if found.faults:
        say.line(f"{found.release}: not what was released; {_count(found.faults, 'difference')}.")
    else:
        say.line(
            f"{found.release}: sound. The verdict computed again is the one stored: {found.outcome}."
        )


def _record(folder: Path) -> dict[str, Any]:
    record = read_json(folder / RECORD)
    if not isinstance(record, dict):
        raise InputError(f"{RECORD}: not a record.")
    return record


def _stored(folder: Path, record: Mapping[str, Any]) -> Stored:
    """The content of the folder, as the record names it."""
    identity = record["identity"]
    # JSON sorts the names of a mapping; the rows of the table keep the order of params.yaml.
    named = tuple(variant for variant, _ in record["comparison"]["rows"])
    experts = tuple(name for name in named if name in record["rollback"]["experts"])
    needed = {"base", *record["rollback"]["experts"], "plain", "merged", *identity["samples"]}
    if bad := sorted(needed - {*named}):
        raise InputError(f"{RECORD}: comparison: has no row of {', '.join(bad)}.")
    # Only files of the folder, whatever a record may call a variant.
    if bad := [name for name in named if f"evals/{name}.json" not in record["files"]]:
        raise InputError(f"{RECORD}: files: has no evals/{bad[0]}.json.")
    if bad := [name for name in named if name in ("", ".", "..") or Path(name).name != name]:
        raise InputError(f"{RECORD}: comparison: {bad[0]!r} is no name of a variant.")
    weights = {"merged": identity["merged"], "quantized": identity["quantized"]}
    return read_stored(
        folder,
        variants=named,
        experts=experts,
        registered={artifact: digest for artifact, digest in weights.items() if digest},
        judged_on=str(read_json(folder / "verdict.json")["judged_on"]),
    )


def _recomputed(
    folder: Path, record: Mapping[str, Any], stored: Stored
) -> tuple[Verdict | None, list[str]]:
    """The verdict computed again, and where folder and record do not say the same."""
    judged = _attempt(lambda: (release_verdict(stored), plain_verdict(stored)))
    if isinstance(judged, str):
        return None, [judged]
    verdict, plain = judged
    table = comparison(list(stored.evaluations.values()))
    judged_json = verdict.to_json(), plain.to_json()
    documents: dict[str, Any] = {
        "verdict.json": judged_json[0],
        "plain.verdict.json": judged_json[1],
        "comparison.csv": _lines(table.to_csv()),
    }
    faults: list[str] = []
    for name, computed in documents.items():
        found = _attempt(partial(_compared_file, folder / name, computed))
        faults += [found] if isinstance(found, str) else found
    again = folder, record, stored.evaluations, stored.policy.digest, *judged_json
    found = _attempt(lambda: _compared(RECORD, told(record), told_again(*again)))
    return verdict, faults + ([found] if isinstance(found, str) else found)


def _compared_file(path: Path, computed: Mapping[str, Any]) -> list[str]:
    return _compared(path.name, _document(path), computed)


def _document(path: Path) -> dict[str, Any]:
    """A JSON file as it is, another one by its lines."""
    if path.suffix != ".json":
        return _lines(path.read_text(encoding="utf-8"))
    value: dict[str, Any] = read_json(path)
    return value


def _lines(text: str) -> dict[str, Any]:
    return {f"line {number}": line for number, line in enumerate(text.split("\n"), 1)}


def _compared(name: str, stored: Any, computed: Any) -> list[str]:
    """Where a document differs from what it should be, as JSON keeps both."""
    found = list(differences(_plain(stored), _plain(computed)))
    told = [f"{name}: {words}" for words in found[:MOST]]
    return told + ([f"{name}: and {len(found) - MOST} more"] if len(found) > MOST else [])


def _notes(
    record: Mapping[str, Any], stored: Stored, verdict: Verdict | None, today: date, differs: bool
) -> Iterator[str]:
    """Waivers that have expired since, what the verdict notes, and another version of the code."""
    if stored.policy.waivers:
        yield f"Waivers hold as on {stored.day}, the day of the verdict."
        for waiver in stored.policy.waivers:
            if waiver.expired(today):
                yield f"The waiver of {waiver.check} has expired since ({waiver.words})."
    yield from verdict.notes if verdict else ()
    made = record["identity"]["versions"].get("code")
    if made and made != code_digest():
        yield "Made by another version of mergegate" + (
            ", whose words or rounding may differ: verify with that one to be certain."
            if differs
            else "; this one comes to the same verdict."
        )


def _attempt(read: Callable[[], T]) -> T | str:
    """What `read` gives, or why it fails: content that somebody changed must not end in a traceback."""
    try:
        return read()
    except MergegateError as error:
        return str(error)
    except RecursionError:
        return f"{RECORD}: something in the folder is nested too deeply to be read."
    except (AttributeError, IndexError, KeyError, OSError, TypeError, ValueError) as error:
        return f"{RECORD}: does not fit the other files ({error!r})."


def _plain(value: Any) -> Any:
    """As JSON gives it back: tuples as lists."""
    return json.loads(canonical_json(value))


def _samples(stored: Stored) -> int:
    return sum(len(evaluation.scores) for evaluation in stored.evaluations.values())


def _count(of: Any, noun: str) -> str:
    number = len(of) if isinstance(of, Sized) else 0
    return f"{number} {noun}{'' if number == 1 else 's'}"
