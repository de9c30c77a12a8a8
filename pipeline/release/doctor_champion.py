"""What is off with the champion and its changes: registry, tags and journal compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pipeline.release import store
from pipeline.release.changes import journal_entry, settle
from pipeline.release.doctor import Ailment
from pipeline.release.journal import Journal
from pipeline.release.standing import Change, changes, read_standing


def examine_champion(uri: str, name: str, path: Path | None) -> Iterator[Ailment]:
    """What is off with the champion and its changes; `path`: the journal, None where there is none to look at."""
    with store.connect(uri, existing=True) as client:
        now, known = read_standing(client, name), changes(client, name)
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
    if path is not None:
        yield from _journal(name, Journal(path), now.head, known)


def _journal(
    name: str, book: Journal, last: Change | None, known: list[Change]
) -> Iterator[Ailment]:
    entries, faults = book.inspect()
    for fault in faults:
        yield Ailment(
            "journal-altered",
            str(book.path),
            fault,
            f"Restore {book.path} from a backup; or move it away, and --mend writes what the registry knows.",
        )
    if book.torn():
        yield Ailment(
            "journal-torn",
            str(book.path),
            f"{book.path}: its last line was cut off while it was written.",
            mend=book.cut_torn,
        )
    written = {entry["number"]: entry for entry in entries if entry.get("name") == name}
    claims = {change.number: change for change in known}
    if last and last.number:
        claims.setdefault(last.number, last)
    for number, change in claims.items():
        if number not in written:
            yield Ailment(
                "journal-lacks",
                f"change {number}",
                f"{book.path}: lacks change {number}, to version {change.version} by {change.who} at {change.when}.",
                "" if not faults else "First see to what is altered in the journal.",
                mend=None if faults else _adding(book, change),
            )
        elif any(written[number].get(key) != value for key, value in vars(change).items()):
            yield Ailment(
                "journal-differs",
                f"change {number}",
                f"{book.path}: change {number} is to version {written[number].get('version')} by "
                f"{written[number].get('who')} there, and to version {change.version} by {change.who} in the registry.",
                "One of the two was altered or restored from a backup: find out which, and mend it by hand.",
            )
    newest = last.number if last else 0
    for number in sorted(n for n in written if n > newest):
        yield Ailment(
            "registry-lacks",
            f"change {number}",
            f"the registry knows no change {number}; {book.path} has it, to version {written[number].get('version')}.",
            "The registry was restored from an older backup, or is another one: compare registry.uri.",
        )


def _adding(book: Journal, change: Change) -> Callable[[], object]:
    return lambda: book.append({**journal_entry(change), "observed": True})


def _living(client: Any, name: str, last: Change | None) -> str | None:
    return store.digest_of_version(client, name, last.version) if last else None
