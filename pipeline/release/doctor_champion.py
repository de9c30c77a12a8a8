"""What is off with the champion and its changes: registry, tags and journal compared."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.release import store
from pipeline.release.agreement import contradictions
from pipeline.release.changes import journal_entry, settle
from pipeline.release.doctor import Ailment
from pipeline.release.doctor_tags import examine_tags
from pipeline.release.journal import Entry, Journal
from pipeline.release.standing import CHANGE, Change, Standing, changes, read_standing, title


def examine_champion(uri: str, name: str, path: Path | None) -> Iterator[Ailment]:
    """What is off with the champion and its changes; `path`: the journal, None where there is none to look at."""
    with store.connect(uri, existing=True) as client:
        now, known = read_standing(client, name), changes(client, name)
        versions = list(store.pages(client.search_model_versions, f"name = '{name}'"))
        at = _living(client, name, now.head)
    last = now.head
    if last and now.open:
        yield Ailment(
            "change-open",
            f"change {last.number}",
            f"change {last.number}, to version {last.version} by {last.who} at {last.when}, was claimed "
            "and not finished.",
            mend=lambda: settle(uri, name, path),
        )
    if last and last.number and at is None:
        yield Ailment(
            "champion-gone",
            f"version {last.version}",
            f"version {last.version}, the champion since change {last.number}, was deleted from the registry.",
            "Give the alias champion to a version that is there and whole, then `mergegate doctor --mend --adopt`.",
        )
    elif last and now.moved_by_hand:
        alias = f"version {now.alias}" if now.alias else "no version"
        yield Ailment(
            "champion-moved",
            f"version {now.alias}" if now.alias else "alias champion",
            f"the alias champion is at {alias}; change {last.number} left it at version {last.version}.",
            "--mend --adopt records the move as a change; --mend --restore puts the alias back.",
        )
    entries: list[Entry] | None = None  # of a journal that can be relied on
    if path is not None:
        entries = yield from _journal(name, Journal(path), now, known)
    yield from _unclaimed(name, now, known, entries)
    yield from examine_tags(uri, name, now, known, versions, entries)


def _journal(
    name: str, book: Journal, now: Standing, known: list[Change]
) -> Generator[Ailment, None, list[Entry] | None]:
    """What is off with the journal; gives its entries, None where they cannot be relied on."""
    try:
        (entries, faults), torn = book.inspect(), book.torn()
    except InputError as error:
        yield Ailment("journal-unreadable", str(book.path), str(error))
        return None
    for fault in faults:
        yield Ailment(
            "journal-altered",
            str(book.path),
            fault,
            f"Restore {book.path} from a backup; or move it away, and --mend writes what the registry knows.",
        )
    if torn:
        yield Ailment(
            "journal-torn",
            str(book.path),
            f"{book.path}: its last line was cut off while it was written.",
            mend=book.cut_torn,
        )
    yield from _lacking(name, book, entries, known, mendable=not faults)
    for number, said in contradictions(entries, name, _with_head(now, known)):
        yield Ailment(
            "journal-differs",
            f"change {number}",
            f"{book.path}: change {number}: {said}.",
            "One of the two was altered or restored from a backup: find out which, and mend it by hand.",
        )
    newest = now.head.number if now.head else 0
    for entry in entries:
        if entry.get("name") == name and entry["number"] > newest:
            yield Ailment(
                "registry-lacks",
                f"change {entry['number']}",
                f"the registry knows no change {entry['number']}; {book.path} has it, to version "
                f"{entry.get('version')}.",
                "The registry was restored from an older backup, or is another one: restore a newer backup, or "
                "take the history along with `mergegate registry move`. Until then nothing is released.",
            )
    return None if faults else entries


def _lacking(
    name: str, book: Journal, entries: list[Entry], known: list[Change], *, mendable: bool
) -> Iterator[Ailment]:
    """The claims that the journal does not have."""
    written = {entry["number"] for entry in entries if entry.get("name") == name}
    for change in known:
        if change.number not in written:
            yield Ailment(
                "journal-lacks",
                f"change {change.number}",
                f"{book.path}: lacks change {change.number}, to version {change.version} by {change.who} "
                f"at {change.when}.",
                "" if mendable else "First see to what is altered in the journal.",
                mend=_adding(book, change) if mendable else None,
            )


def _unclaimed(
    name: str, now: Standing, known: list[Change], entries: list[Entry] | None
) -> Iterator[Ailment]:
    """A last change that stands in the model's tag alone: nothing but a tag that anyone may edit says that it was."""
    last = now.head
    if last is None or last.number == 0 or last in known:
        return
    if any((e.get("name"), e["number"]) == (name, last.number) for e in entries or ()):
        return  # the journal has it, and was compared with it
    before = f"change {known[-1].number}, «{title(name, known[-1].number)}»" if known else "none"
    yield Ailment(
        "change-unclaimed",
        f"change {last.number}",
        f"the model's tag {CHANGE} says change {last.number}, to version {last.version} by {last.who} at {last.when}, "
        f"and there is neither an experiment «{title(name, last.number)}» nor an entry in the journal for it.",
        f"The tag was edited, or the experiment removed for good. The last claim that is left is {before}: set the "
        "tag to what that says, or restore the registry from a backup.",
    )


def _with_head(now: Standing, known: list[Change]) -> list[Change]:
    """The claims, and the last change where nothing but the model's tag is left of it."""
    lost = now.head is not None and now.head.number > 0 and now.head not in known
    return [*known, now.head] if lost and now.head else known


def _adding(book: Journal, change: Change) -> Callable[[], object]:
    return lambda: book.append({**journal_entry(change), "observed": True})


def _living(client: Any, name: str, last: Change | None) -> str | None:
    return store.digest_of_version(client, name, last.version) if last else None
