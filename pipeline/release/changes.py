"""The champion's changes, numbered: compare-and-set for a registry whose aliases are the last writer's.

Change N of model NAME belongs to whoever makes the MLflow experiment «NAME champion N». Every store keeps the
names of experiments unique, deleted ones included, so of several processes exactly one gets it. That is the moment
at which the champion changes. What readers see follows: the alias, the version's tags, and last the model's tag
`mergegate.change`, which repeats the change and says that it is finished. A process that dies in between leaves a
change that the next one finishes. Claims that were followed by another are deleted in MLflow, where they can be
restored; their names stay taken, and should `mlflow gc` free them, the tag still says where numbers go on.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.errors import EnvironmentFault, InputError
from pipeline.facts import canonical_json
from pipeline.redaction import redacted
from pipeline.release import store
from pipeline.release.journal import Journal
from pipeline.release.person import who
from pipeline.release.standing import (
    CHAMPION,
    CHANGE,
    REPLACES,
    Change,
    Standing,
    change_at,
    read_claim,
    read_standing,
    title,
)

__all__ = [
    "Change",
    "Overtaken",
    "Standing",
    "adopt",
    "check_expected",
    "head",
    "move_champion",
    "restore",
    "settle",
]

ADOPTED = "adopted"  # the kind of a change that a person made in MLflow

_WHY_LIMIT = 2_000  # characters; a tag of an experiment holds 20,000
_LOOKS, _PAUSE_S = 6, 0.5  # before an alias that differs is held to be moved by hand
_ROUNDS = 100


class Overtaken(EnvironmentFault):
    """Another change came first, so this one was not made. Trying the same again cannot help."""


def head(uri: str, name: str) -> Change | None:
    """The last change of the champion of model `name`, finished or not; None where there is no champion.

    Its `number` is what `move_champion` expects. A champion from before changes were numbered is
    the change 0 of kind «found». Raises InputError where the alias was moved by hand.
    """
    with store.connect(uri) as client:
        return _settled_or_open(client, name).head


def settle(uri: str, name: str, journal: Path | None = None) -> Change | None:
    """As `head`, after finishing a change that a killed process left half-made."""
    with _kept(journal) as book, store.connect(uri) as client:
        _finish(client, name)
        found = _settled_or_open(client, name).head
        _enter(client, name, found, book)
        return found


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
) -> Change:
    """Make `version` the champion, if the last change still is number `expected`.

    `expected`: the `number` of what `head` gave when the decision was made, None where it gave None.
    Where the champion is this version already, it is only finished. The change is entered into
    `journal` with all that it lacks; processes of one machine wait there for each other. Raises
    Overtaken where another change came first, InputError where the alias was moved by hand,
    CorruptArtifactError where the journal was altered, EnvironmentFault where the registry fails:
    then it may be done or not, and doing it again finds out.
    """
    with _kept(journal) as book, store.connect(uri) as client:
        _finish(client, name)
        found = _settled_or_open(client, name).head
        if found is None or not _is(found, version, release_digest):
            check_expected(name, found, expected, kind)
            wanted = _next(name, version, found, kind, why, release_digest)
            found = _claim(client, wanted)
        _finish(client, name)
        _enter(client, name, found, book)
        return found


def check_expected(name: str, last: Change | None, expected: int | None, kind: str) -> None:
    """Raise Overtaken unless the last change is number `expected` (None: there is none)."""
    if (last.number if last else None) != expected:
        raise _overtaken(name, last, kind)


def adopt(uri: str, name: str, why: str, journal: Path | None) -> Change:
    """Record the version that a person gave the alias to as a change of kind «adopted».

    Raises InputError where there is none.
    """
    with _kept(journal) as book, store.connect(uri) as client:
        now = read_standing(client, name)
        if now.alias is None:
            raise InputError(
                f"{name}: no version has the alias {CHAMPION}, so none can be adopted."
            )
        wanted = _next(name, now.alias, now.head, ADOPTED, why, now.digest or "")
        found = _claim(client, wanted)
        _finish(client, name)
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


def _next(
    name: str, version: int, before: Change | None, kind: str, why: str, digest: str
) -> Change:
    return Change(
        name=name,
        number=(before.number if before else 0) + 1,
        version=version,
        previous=before.version if before else None,
        kind=kind,
        why=redacted(why)[:_WHY_LIMIT],
        who=who(),
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        release_digest=digest,
        claim=uuid.uuid4().hex,
        follows=before.claim if before else "",
    )


def _claim(client: Any, wanted: Change) -> Change:
    """`wanted`, made; or the change by another to the same version. Raises Overtaken where it is another."""
    from mlflow.exceptions import MlflowException

    mine = title(wanted.name, wanted.number)
    try:
        client.create_experiment(
            mine, tags={"mergegate.kind": "change", CHANGE: canonical_json(asdict(wanted))}
        )
    except MlflowException:
        # A request that was repeated after a lost answer meets its own experiment.
        found = client.get_experiment_by_name(mine)
        change = read_claim(found, wanted.name) if found else None
        if change is None:
            raise
        if change.claim != wanted.claim:
            last = read_standing(client, wanted.name).head
            if last and _is(last, wanted.version, wanted.release_digest):
                return last
            raise _overtaken(wanted.name, last, wanted.kind) from None
    last = read_standing(client, wanted.name).head
    if last is None or last.number <= wanted.number:
        return wanted
    # `mlflow gc` may have freed a number long past; a change that follows this one proves it was not so.
    later = client.get_experiment_by_name(title(wanted.name, wanted.number + 1))
    follower = read_claim(later, wanted.name) if later else None
    if follower is None or follower.follows != wanted.claim:
        client.delete_experiment(client.get_experiment_by_name(mine).experiment_id)
        raise _overtaken(wanted.name, last, wanted.kind)
    return wanted


def _finish(client: Any, name: str) -> None:
    """Bring alias and tags to where the last change wants them, until nothing newer came meanwhile."""
    from mlflow.exceptions import MlflowException

    written: Change | None = None
    for _ in range(_ROUNDS):
        now = read_standing(client, name)
        # An alias that differs after we wrote is a slower process's, or was ours and came late.
        ours = written is not None and now.moved_by_hand
        if now.head is None or not (now.open or ours):
            return
        try:
            _write(client, now, now.head)
            written = now.head
        except MlflowException as error:
            if not store.contended(error):
                raise
            time.sleep(random.uniform(0, _PAUSE_S))
    raise EnvironmentFault(
        f"{name}: the champion changed {_ROUNDS} times while this change was finished. Run the command again."
    )


def _write(client: Any, now: Standing, last: Change) -> None:
    """One step towards the last change: the alias, or where it is right, the tags."""
    name, version = last.name, str(last.version)
    if now.alias != last.version:
        if store.digest_of_version(client, name, last.version) is None:
            raise InputError(
                f"{name}: change {last.number} makes version {version} the champion, and that "
                f"version is gone from the registry. `mergegate doctor {name}` says what is left."
            )
        client.set_registered_model_alias(name, CHAMPION, version)
        return  # to look again before anything says that it is finished
    replaced = "" if last.previous is None else str(last.previous)
    client.set_model_version_tag(name, version, CHANGE, str(last.number))
    client.set_model_version_tag(name, version, REPLACES, replaced)
    client.set_registered_model_tag(name, CHANGE, canonical_json(asdict(last)))
    _tidy(client, name, last.number - 1)


def _tidy(client: Any, name: str, number: int) -> None:
    """Take a claim that was followed by another out of the list that MLflow shows."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(title(name, number)) if number else None
    if found is not None and found.lifecycle_stage == "active":
        try:
            client.delete_experiment(found.experiment_id)
        except MlflowException:
            again = client.get_experiment_by_name(title(name, number))
            if again is not None and again.lifecycle_stage == "active":
                raise


def _enter(client: Any, name: str, last: Change | None, book: Journal | None) -> None:
    """Add to the journal what it lacks up to `last`: changes of other machines, or of a killed process."""
    if book is None or last is None or last.number == 0:
        return
    known = [entry["number"] for entry in book.entries() if entry.get("name") == name]
    for number in range(max(known, default=0) + 1, last.number + 1):
        found = last if number == last.number else change_at(client, name, number)
        if found is not None:
            book.append(journal_entry(found))


def journal_entry(change: Change) -> dict[str, Any]:
    """A change as the journal holds it."""
    return {**asdict(change), "entered_by": who()}


def _is(change: Change, version: int, digest: str) -> bool:
    return (change.version, change.release_digest) == (version, digest)


def _overtaken(name: str, by: Change | None, kind: str) -> Overtaken:
    if by is None:
        return Overtaken(
            f"{name}: the champion that was there is gone meanwhile. Run the command again."
        )
    moment = f"by {by.who} at {by.when}" if by.who else "before changes were recorded"
    again = (
        "run `mergegate release` again: it will be judged against it"
        if kind == "promotion"
        else "look at `mergegate status`, and run the command again if it still is what you want"
    )
    return Overtaken(
        f"{name}: another release became champion meanwhile (version {by.version}, {moment}); {again}."
    )
