"""Whether the claims, the tags that repeat them, and the journal say the same of the champion's changes.

Anyone who may write to MLflow may edit a tag. A claim is an experiment's tag as well; the journal, outside MLflow,
is the third that says which of two was edited.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pipeline.errors import MergegateError
from pipeline.release.journal import Entry, Journal
from pipeline.release.standing import CHANGE, REPLACES, Change, Standing

_SHOWN = 60  # characters of a value


@dataclass(frozen=True)
class TagFault:
    """A tag of a version that is not as the last change to that version wrote it."""

    tag: str
    found: str | None  # None where it is missing
    due: str | None  # None where it should not be there
    change: Change | None  # the last one to this version, None where there was none

    def __str__(self) -> str:
        is_now = "is missing" if self.found is None else f"is {_cut(self.found)}"
        if self.change is None:
            return f"{self.tag}: {is_now}, and no change made this version champion"
        return (
            f"{self.tag}: {is_now}; change {self.change.number}, by {self.change.who} at "
            f"{self.change.when}, left it at {_cut(self.due or '')}"
        )


def version_faults(version: Any, now: Standing, known: Mapping[int, Change]) -> list[TagFault]:
    """The tags of a version of MLflow's against `known`, the changes by number.

    A tag that names a change of which nothing is left, as `mlflow gc` leaves it, cannot be judged and
    is none; nor is what an unfinished change is about to write.
    """
    number = int(version.version)
    if now.open and now.head and now.head.version == number:
        return []
    last = max((c for c in known.values() if c.version == number), key=_number, default=None)
    found = version.tags.get(CHANGE, "")
    forgotten = found.isascii() and found.isdigit() and len(found) < 19 and int(found) not in known
    highest = now.head.number if now.head else 0
    if forgotten and (last.number if last else 0) < int(found) <= highest:
        return []
    due: dict[str, str | None] = dict.fromkeys((CHANGE, REPLACES))
    if last is not None:
        replaced = "" if last.previous is None else str(last.previous)
        due = {CHANGE: str(last.number), REPLACES: replaced}
    return [
        TagFault(tag, version.tags.get(tag), value, last)
        for tag, value in due.items()
        if (version.tags.get(tag) or "") != (value or "")
    ]


def model_faults(now: Standing) -> str:
    """How the model's tag differs from the claim that it repeats; "" where it does not."""
    if now.head is None or now.finished is None or now.finished.number != now.head.number:
        return ""
    return differences(vars(now.finished), now.head, "there", "in its claim")


def contradictions(
    entries: Iterable[Entry], name: str, known: Iterable[Change]
) -> Iterator[tuple[int, str]]:
    """The changes of which a journal says other than the registry, each with what differs."""
    written = {entry["number"]: entry for entry in entries if entry.get("name") == name}
    for change in known:
        entry = written.get(change.number)
        if entry and (said := differences(entry, change, "there", "in the registry")):
            yield change.number, said


def journal_faults(
    path: Path, name: str, now: Standing, known: Iterable[Change]
) -> tuple[str, ...]:
    """Why an answer from the registry is not borne out by the journal; () where nothing speaks against it.

    Lines that were altered, changes of which the two differ, and changes that only the journal has.
    What the journal lacks is no fault: another machine may have made it.
    """
    try:
        entries, faults = Journal(path).inspect()
    except MergegateError as error:
        return (str(error),)
    differing = [f"{path}: change {n}: {said}." for n, said in contradictions(entries, name, known)]
    newest = now.head.number if now.head else 0
    lacking = [
        f"{path}: has change {entry['number']}, to version {entry.get('version')}, and the registry does not. "
        "Until it has, nothing is released."
        for entry in entries
        if entry.get("name") == name and entry["number"] > newest
    ]
    return (*faults, *differing, *lacking)


def differences(one: Mapping[str, Any], other: Change, here: str, there: str) -> str:
    """What two records of a change say differently, field by field; "" where they agree."""
    return "; ".join(
        f"{key} is {_cut(one.get(key))} {here}, and {_cut(value)} {there}"
        for key, value in vars(other).items()
        if one.get(key) != value
    )


def recorded(entries: Iterable[Entry], name: str) -> dict[int, Change]:
    """The changes of a model that a journal has, by number; entries that are not whole are passed over."""
    keys = [field.name for field in fields(Change)]
    return {
        entry["number"]: Change(**{key: entry[key] for key in keys})
        for entry in entries
        if entry.get("name") == name and all(key in entry for key in keys)
    }


def _number(change: Change) -> int:
    return change.number


def _cut(value: Any) -> str:
    text = value if isinstance(value, str) else str(value)
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    return f"«{shown}»" if isinstance(value, str) else shown
