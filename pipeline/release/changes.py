"""The champion's changes, numbered: compare-and-set for a registry whose aliases are the last writer's.

Change N of model NAME belongs to whoever makes the MLflow experiment «NAME champion N». Every store keeps the
names of experiments unique, deleted ones included, so of several processes exactly one gets it. That is the moment
at which the champion changes. What readers see follows: the alias, the version's tags, and last the model's tag
`mergegate.change`, which repeats the change and says that it is finished. A process that dies in between leaves a
change that the next one finishes. Claims that were followed by another are deleted in MLflow, where they can be
restored; their names stay taken, and should `mlflow gc` free them, the tag still says where numbers go on.

`claims` takes the number, `finishing` does what follows, `standing` reads.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.redaction import redacted
from pipeline.release import store
from pipeline.release.claims import Overtaken, check_expected, is_at, make_claim, next_change
from pipeline.release.finishing import finish
from pipeline.release.journal import Journal
from pipeline.release.moved import check_home
from pipeline.release.person import reason, who
from pipeline.release.standing import CHAMPION, Change, Standing, change_at, read_standing

__all__ = [
    "Change",
    "Overtaken",
    "Standing",
    "adopt",
    "check_expected",
    "check_history",
    "head",
    "move_champion",
    "restore",
    "settle",
]

ADOPTED = "adopted"  # the kind of a change that a person made in MLflow

_LOOKS, _PAUSE_S = 6, 0.5  # before an alias that differs is held to be moved by hand


def head(uri: str, name: str) -> Change | None:
    """The last change of the champion of model `name`, finished or not; None where there is no champion.

    Its `number` is what `move_champion` expects. A champion from before changes were numbered is
    the change 0 of kind «found». Raises InputError where the alias was moved by hand.
    """
    with store.connect(uri) as client:
        return _settled_or_open(client, name).head


def settle(
    uri: str, name: str, journal: Path | None = None, *, entered: list[int] | None = None
) -> Change | None:
    """As `head`, after finishing a change that a killed process left half-made.

    `entered` is given the number of each change that `journal` lacked and now has. Raises what `head` and
    `check_history` raise; and InputError, as every change of the champion does, where the model was moved to another
    registry or is here as an unfinished copy.
    """
    with _kept(journal) as book, store.connect(uri) as client:
        check_home(client, name)
        _check_book(uri, client, name, book)
        finish(client, name)
        found = _settled_or_open(client, name).head
        lacked = _enter(client, name, found, book)
        if entered is not None:
            entered += lacked
        return found


def check_history(uri: str, name: str, journal: Path) -> None:
    """Raise InputError where the journal knows changes that the registry at `uri` does not.

    The registry is another one then, or was restored from an older backup: it would give numbers to new
    changes that the journal has for others.
    """
    # The journal first: whatever is in it was claimed before.
    known = [e["number"] for e in Journal(journal).inspect()[0] if e.get("name") == name]
    with store.connect(uri) as client:
        last = read_standing(client, name).head
    _check_history(uri, name, journal, known, last)


def standing(uri: str, name: str) -> Standing:
    """Where the champion stands, whatever is wrong with it: for those who report."""
    with store.connect(uri, existing=True) as client:
        return read_standing(client, name)


def move_champion(
    uri: str,
    name: str,
    version: int,
    *,
    expected: int | None,
    kind: str,
    why: str,
    release_digest: str,
    journal: Path | None,
    mark: str = "",
    entered: list[int] | None = None,
) -> Change:
    """Make `version` the champion, if the last change still is number `expected`.

    `expected`: the `number` of what `head` gave when the decision was made, None where it gave None.
    `mark`: becomes the `claim` of the change, so that the caller can tell it from another's to the same
    version, which is returned where that came first; drawn where it is empty.
    Where the champion is this version already, it is only finished. The change is entered into
    `journal` with all that it lacks; processes of one machine wait there for each other. `entered`: as
    for `settle`, without the change that is returned.

    Raises Overtaken where another change came first, InputError where the alias was moved by hand or the
    journal knows more changes than the registry (see `check_history`),
    CorruptArtifactError where the journal was altered, EnvironmentFault where the registry fails:
    then it may be done or not, and doing it again finds out.
    """
    with _kept(journal) as book, store.connect(uri) as client:
        check_home(client, name)
        _check_book(uri, client, name, book)
        finish(client, name)
        found = _settled_or_open(client, name).head
        if found is None or not is_at(found, version, release_digest):
            check_expected(name, found, expected, kind)
            wanted = next_change(name, version, found, kind, why, release_digest, mark)
            found = make_claim(client, wanted)
        finish(client, name)
        lacked = _enter(client, name, found, book)
        if entered is not None:
            entered += (number for number in lacked if number != found.number)
        return found


def adopt(uri: str, name: str, why: str, journal: Path | None) -> Change:
    """Record the version that a person gave the alias to as a change of kind «adopted».

    Raises InputError where there is none, and for a reason that cannot be kept.
    """
    why = reason(why)
    with _kept(journal) as book, store.connect(uri) as client:
        check_home(client, name)
        now = read_standing(client, name)
        if now.alias is None:
            raise InputError(
                f"{name}: no version has the alias {CHAMPION}, so none can be adopted."
            )
        wanted = next_change(name, now.alias, now.head, ADOPTED, why, now.digest or "")
        found = make_claim(client, wanted)
        finish(client, name)
        _enter(client, name, found, book)
        return found


def restore(uri: str, name: str) -> Change:
    """Put the alias back to where the last change left it. Raises InputError where that version is gone."""
    with store.connect(uri, existing=True) as client:
        now = read_standing(client, name)
        if now.head is None or store.digest_of_version(client, name, now.head.version) is None:
            raise InputError(f"{name}: the version that the last change names is gone.")
        client.set_registered_model_alias(name, CHAMPION, str(now.head.version))
        return now.head


@contextmanager
def _kept(path: Path | None) -> Iterator[Journal | None]:
    """The journal, locked and found to be whole before anything changes."""
    if path is None:
        yield None
        return
    book = Journal(path)
    with book.locked():
        book.entries()
        yield book


def _check_book(uri: str, client: Any, name: str, book: Journal | None) -> None:
    """As `check_history`, for a journal that is locked: nobody of this machine changes either meanwhile."""
    if book is not None:
        known = [entry["number"] for entry in book.entries() if entry.get("name") == name]
        _check_history(uri, name, book.path, known, read_standing(client, name).head)


def _check_history(
    uri: str, name: str, journal: Path, known: Sequence[int], last: Change | None
) -> None:
    newest = last.number if last else 0
    if max(known, default=0) <= newest:
        return
    there = f"knows them up to number {newest} only" if newest else "knows none"
    where = redacted(uri)
    raise InputError(
        f"{journal}: has {len(known)} {'change' if len(known) == 1 else 'changes'} of the champion of {name}, up to "
        f"number {max(known)}, and the registry at {where} {there}. If the registry was moved, take its history "
        f"along: `mergegate registry move --to {where}` with the old address in registry.uri of params.yaml. If it "
        "was restored from an older backup, restore a newer one. To begin anew, name another folder in "
        "registry.journal of params.yaml."
    )


def _settled_or_open(client: Any, name: str) -> Standing:
    """Where the champion stands. Raises InputError where the alias was moved by hand.

    A slower process may be about to set the alias right, so it is looked at several times.
    """
    for _ in range(_LOOKS):
        now = read_standing(client, name)
        if not now.moved_by_hand:
            return now
        time.sleep(_PAUSE_S)
    left = f"version {now.head.version}" if now.head else "no version"
    raise InputError(
        f"{name}: the alias {CHAMPION} is at {f'version {now.alias}' if now.alias else 'no version'}, "
        f"but the last change left it at {left}: somebody moved it in MLflow. `mergegate doctor {name}` "
        "says more; with --mend --adopt it records the move, with --mend --restore it undoes it."
    )


def _enter(client: Any, name: str, last: Change | None, book: Journal | None) -> list[int]:
    """Add to the journal what it lacks up to `last`: changes of other machines, or of a killed process.

    Gives their numbers.
    """
    if book is None or last is None or last.number == 0:
        return []
    entered = []
    known = [entry["number"] for entry in book.entries() if entry.get("name") == name]
    for number in range(max(known, default=0) + 1, last.number + 1):
        found = last if number == last.number else change_at(client, name, number)
        if found is not None:
            book.append(journal_entry(found))
            entered.append(number)
    return entered


def journal_entry(change: Change) -> dict[str, Any]:
    """A change as the journal holds it."""
    return {**asdict(change), "entered_by": who()}
