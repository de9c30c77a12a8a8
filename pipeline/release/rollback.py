"""The way back, rehearsed at each release and taken by one command, in seconds.

A target that was rehearsed is looked at (`wholeness`) and becomes champion at once; one that was not
is rehearsed first, whatever time that takes. docs/decisions/0013 says why.
"""

from __future__ import annotations

import uuid
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.release import changes, store
from pipeline.release.history import registered_model
from pipeline.release.person import reason
from pipeline.release.registry import (
    CHAMPION,
    MERGE,
    ROLLBACK_DIGEST,
    ROLLED_BACK,
    UNMERGED,
    same_weights,
    way_back_of,
)
from pipeline.release.rehearsal import rehearse_version as rehearse_version
from pipeline.release.standing import Change
from pipeline.release.standing import changes as all_changes
from pipeline.release.unmerged import Answer
from pipeline.release.wholeness import check_whole, known, look

TO_UNMERGED, TO_PREVIOUS = "unmerged", "previous"
ROLLBACK = "rollback"  # the kind of its change
NO_REASON = "no reason given"


@dataclass(frozen=True)
class Rollback:
    """A rollback, or its rehearsal. `moved` says whether the champion changed by it."""

    name: str
    champion: int  # before
    target: int
    target_kind: str  # merge or unmerged
    target_digest: str
    answers: tuple[Answer, ...]  # of an unmerged set that was loaded
    checked: tuple[str, ...]  # what was checked of the target, in words
    moved: bool
    change: Change | None = (
        None  # the last one: who made the target champion, when and why; None for a rehearsal
    )
    recorded: bool = False  # whether `change` is this command's own, and not what it came upon
    entered: tuple[int, ...] = ()  # earlier changes that the journal lacked until this command

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return asdict(self)


def rehearse(uri: str, name: str, cache: Path | None = None, *, to: str = TO_UNMERGED) -> Rollback:
    """Read the target of a rollback wholly, as `rehearse_version` does; the champion stays.

    `to` as for `rollback`. Raises what `rehearse_version` raises.
    """
    with store.connect(uri, existing=True) as client:
        champion = champion_version(client, name)
        last = changes.head(uri, name) if to == TO_PREVIOUS else None
        target = _target(client, champion, last, to)
        _, kind, digest = known(client, name, target)
        _check_pointer(champion, target, digest)
    seen = rehearse_version(uri, name, target, cache)
    before = int(champion.version)
    return Rollback(name, before, target, kind, digest, seen.answers, seen.checked, moved=False)


def rollback(
    uri: str,
    name: str,
    why: str,
    cache: Path | None = None,
    *,
    to: str = TO_UNMERGED,
    thorough: bool = False,
    journal: Path | None = None,
    hashes: Path | None = None,
) -> Rollback:
    """Make a target the champion; the version it replaces keeps `why` as a tag. Twice is as once.

    `to`: `unmerged`, what the champion's rollback pointer names; `previous`, the champion before the
    last promotion; or a version's number. The target is looked at, and rehearsed before where it
    never was, or with `thorough`; `hashes` as for `wholeness.look`. What is replaced does not become
    champion again by itself, but by its number: then its tag `mergegate.rolled_back` is cleared. The
    change is entered into `journal`, see `changes.move_champion`.

    Where the target is champion already, or becomes it by another's change meanwhile, the report has that `change`
    and is not `recorded`: the reason given now is kept nowhere.

    Raises InputError where there is no such target, the champion was moved by hand, or `why` cannot be kept (before
    anything changes), CorruptArtifactError where the target is not whole, Overtaken where another change came first.
    """
    why, entered = reason(why), list[int]()
    with store.connect(uri, existing=True) as client:
        champion = champion_version(client, name)
        last = changes.settle(uri, name, journal, entered=entered)
        assert last is not None  # there is a champion
        now = client.get_model_version(name, str(last.version))
        target = _target(client, now, last, to)
        found, kind, digest = known(client, name, target)
        _check_pointer(now, target, digest)
    report = Rollback(name, int(champion.version), target, kind, digest, (), (), moved=False)
    report = _checked(uri, report, cache, hashes, thorough=thorough)
    if target == last.version:
        _clear(uri, name, found)
        moved = target != report.champion
        return replace(report, moved=moved, change=last, entered=tuple(entered))
    mark = uuid.uuid4().hex
    with store.connect(uri, existing=True) as client:
        # The tag first: a command that is killed here leaves the champion for a second one to find.
        if ROLLED_BACK not in found.tags and now.tags.get("mergegate.kind") == MERGE:
            kept = store.fitting(why or NO_REASON, store.VERSION_TAG_LIMIT)
            client.set_model_version_tag(name, now.version, ROLLED_BACK, kept)
    change = changes.move_champion(
        uri,
        name,
        target,
        expected=last.number,
        kind=ROLLBACK,
        why=why or NO_REASON,
        release_digest=digest,
        journal=journal,
        mark=mark,
        entered=entered,
    )
    if change.claim != mark:
        _keep_reason(uri, name, now, change)
    _clear(uri, name, found)
    mine = change.claim == mark
    return replace(report, moved=True, change=change, recorded=mine, entered=tuple(entered))


def _checked(
    uri: str, report: Rollback, cache: Path | None, hashes: Path | None, *, thorough: bool
) -> Rollback:
    """The report with what was checked of its target, of which nothing was wrong."""
    if not thorough:
        with store.connect(uri, existing=True) as client:
            seen = look(client, report.name, report.target, hashes)
        if seen.rehearsed or seen.kind == MERGE:
            check_whole(seen, report.name)
            return replace(report, checked=seen.checked)
    done = rehearse_version(uri, report.name, report.target, cache)
    return replace(report, answers=done.answers, checked=done.checked)


def _keep_reason(uri: str, name: str, replaced: Any, change: Change) -> None:
    """Give the version that was replaced the reason of the change that did it, and not one that came second."""
    if change.kind == ROLLBACK and replaced.tags.get("mergegate.kind") == MERGE:
        store.set_version_tag(
            uri,
            name,
            replaced.version,
            ROLLED_BACK,
            store.fitting(change.why, store.VERSION_TAG_LIMIT),
        )


def _clear(uri: str, name: str, version: Any) -> None:
    """Take the tag of an earlier rollback from a version that is champion again, and from those of the same weights."""
    with store.connect(uri, existing=True) as client:
        for one in same_weights(client, version):
            if ROLLED_BACK in one.tags:
                client.delete_model_version_tag(name, one.version, ROLLED_BACK)


def champion_version(client: Any, name: str) -> Any:
    """The version that the alias names, inside `store.connect`. Raises InputError where none does."""
    aliases = registered_model(client, name).aliases
    if CHAMPION not in aliases and all_changes(client, name):
        raise InputError(
            f"{name}: no version has the alias {CHAMPION}, and one was champion: the alias or the version was "
            f"removed in MLflow. `mergegate doctor {name}` says more."
        )
    if CHAMPION not in aliases:
        raise InputError(
            f"{name}: has no champion, so there is nothing to roll back from. "
            "`mergegate release` makes one."
        )
    return client.get_model_version(name, str(aliases[CHAMPION]))


def _target(client: Any, champion: Any, last: Change | None, to: str) -> int:
    """The version that `to` means. Raises InputError."""
    if to == TO_UNMERGED:
        return pointer(champion)[0]
    if to == TO_PREVIOUS:
        return _previous(client, champion.name, last)
    if store.beyond(to):
        raise InputError(
            f"--to is {to[:40]}{'…' if len(to) > 40 else ''}: {champion.name} has no such version, and none can have a "
            f"number above {store.MAX_VERSION:,}. `mergegate status {champion.name}` lists the versions."
        )
    if to.isascii() and to.isdigit() and int(to) > 0:
        return int(to)
    raise InputError(
        f"--to is {to!r}; it must be {TO_PREVIOUS}, {TO_UNMERGED} or the number of a version. "
        f"`mergegate status {champion.name}` lists the versions."
    )


def pointer(champion: Any) -> tuple[int, str]:
    """The version and digest that a rollback pointer names; an unmerged set is its own target."""
    tags = champion.tags
    if tags.get("mergegate.kind") == UNMERGED:
        return int(champion.version), tags[store.RELEASE_DIGEST]
    target, digest = way_back_of(tags), tags.get(ROLLBACK_DIGEST)
    if target is None or digest is None:
        raise InputError(
            f"{champion.name} version {champion.version}: carries no rollback pointer, "
            "so it was not registered by mergegate, or its tags were edited. Name a version with --to, "
            "or move the alias by hand in MLflow and record that with "
            f"`mergegate doctor {champion.name} --mend --adopt`."
        )
    return target, digest


def _check_pointer(champion: Any, target: int, digest: str) -> None:
    """Raise InputError where the champion's pointer names `target` and it is another by now."""
    tags = champion.tags
    expected = tags.get(ROLLBACK_DIGEST)
    if expected and way_back_of(tags) == target and expected != digest:
        raise InputError(
            f"{champion.name} version {target}: its digest is {digest}, and version {champion.version} "
            f"names {expected} as its way back: it was changed in MLflow. "
            f"`mergegate doctor {champion.name}` says what is left."
        )


def _previous(client: Any, name: str, last: Change | None) -> int:
    """The champion before the last change that was no rollback: so asking twice is as asking once."""
    history = {change.number: change for change in all_changes(client, name)}
    if last is not None:
        history[last.number] = last
    forward = [history[number] for number in sorted(history) if history[number].kind != ROLLBACK]
    version = forward[-1].previous if forward else None
    if version is None:
        raise InputError(
            f"{name}: the registry knows of no champion before this one. "
            f"Use --to {TO_UNMERGED}, or the number of a version: `mergegate status {name}` lists them."
        )
    if why := client.get_model_version(name, str(version)).tags.get(ROLLED_BACK):
        raise InputError(
            f"{name}: the champion before was version {version}, which was rolled back itself ({why}). "
            f"Use --to {version} if it is to serve again, or --to {TO_UNMERGED}."
        )
    return version
