"""A registered model moved from one MLflow store to another, with all its history, version numbers kept.

The old registry is read, the copy is made and read again, and only when both say the same does the new one get the
alias `champion` and the old one the tag that names the new one. A move that was killed is run again: it finds what
is there by the tag `MOVED_SOURCE`, and goes on. Nothing else is ever written over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.errors import CorruptArtifactError, EnvironmentFault, InputError
from pipeline.redaction import redacted
from pipeline.release import changes, store
from pipeline.release.history import registered_model, status
from pipeline.release.journal import Journal
from pipeline.release.ledger import read_ledger
from pipeline.release.move.copy import Progress, fill
from pipeline.release.move.files import Route
from pipeline.release.move.layout import lay_out
from pipeline.release.move.snapshot import Snapshot, read_snapshot
from pipeline.release.move.target import check_target
from pipeline.release.move.translation import Ids, Mark, differences, mark_of, translated
from pipeline.release.moved import MOVED_TO, UNFINISHED, marks, set_mark, take_mark
from pipeline.release.registry import REFUSAL
from pipeline.release.standing import CHAMPION, title
from pipeline.release.standing import changes as known_changes

_ROUNDS = 3  # a change that came meanwhile is copied too; who changes it all the time must stop
_SHOWN = 10  # things that a message names


@dataclass(frozen=True)
class Moved:
    """A model that is in another registry now, and what was copied and verified."""

    name: str
    source: str  # redacted URIs
    target: str
    champion: int | None
    versions: int
    left_out: tuple[int, ...]  # numbers of deleted versions, which stay out
    changes: int
    judgements: int
    refusals: int
    files: int
    size: int  # bytes of all artifacts
    already: bool  # whether an earlier move had done it all

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {**asdict(self), "left_out": list(self.left_out)}


def move(source: str, target: str, name: str, *, journal: Path | None, progress: Progress) -> Moved:
    """Copy model `name` from the registry `source` to `target`, verify the copy, and mark the old one as left.

    `journal`: of the workspace, locked meanwhile so that no other process changes the champion; None where there is
    none. `progress` is called after each version. Twice is as once.

    Raises InputError, before anything is written, where the two are the same registry, the source's champion is not
    settled, it was moved elsewhere, or the target has anything under the model's names that is no copy of this
    source; CorruptArtifactError where artifacts are not as registered; EnvironmentFault where a registry fails, or
    the source changes again and again.
    """
    if store.same(source, target):
        raise InputError(
            f"--to {redacted(target)}: is the registry that {name} is in already. Name another one."
        )
    book = Journal(journal) if journal else None
    with book.locked() if book else nullcontext():
        if book:
            book.entries()  # one that was altered is a person's to see to first
        old, left = _read_source(source, name)
        mark = mark_of(old, redacted(source))
        finished = check_target(target, old, mark, left=bool(left))
        if left and finished:
            return _report(source, target, old, already=True)
        # Marked, and not finished there: killed between the two marks.
        if left and (finished is None or left != redacted(target)):
            raise InputError(
                f"{name}: was moved to {left} already, and {redacted(target)} is another registry. Move it from "
                f"there; or remove the tag {MOVED_TO} of the registered model in MLflow, to move it from here again."
            )
        for _ in range(_ROUNDS):
            faults = _copy(Route(source, target), old, mark, progress)
            now = _read_source(source, name)[0] if faults else _leave(source, target, old)
            if now == old and faults:
                raise _no_copy(source, target, name, faults)
            if now == old:
                return _report(source, target, old, already=False)
            old = now
    raise EnvironmentFault(
        f"{name}: {redacted(source)} was changed again and again while it was copied. End what releases or judges "
        "there, then run the command again: it goes on where it was."
    )


def _read_source(uri: str, name: str) -> tuple[Snapshot, str]:
    """What is to be copied, and where it was moved to already, "" for nowhere.

    Raises InputError where the champion is not settled.
    """
    with store.connect(uri, existing=True) as client:
        state = marks(client, name)
        if half := state.get(UNFINISHED):
            raise InputError(
                f"{name}: {redacted(uri)} holds an unfinished copy of {half}. Finish that move first: run "
                "`mergegate registry move` again in the workspace of that one."
            )
        found = read_snapshot(client, name)
        if not found.places:
            registered_model(client, name)  # says which there are
            raise InputError(
                f'{name}: has no experiment "{name}", so mergegate did not register it, and does not move it.'
            )
        known_changes(client, name)  # raises where one cannot be read
    for one in found.places:
        if found.experiments[one].deleted:
            place = found.experiments[one].id
            raise InputError(
                f'experiment "{one}": was deleted in MLflow. Restore it first: '
                f"mlflow experiments restore --experiment-id {place}"
            )
    _check_settled(uri, name)
    return found, state.get(MOVED_TO, "")


def _check_settled(uri: str, name: str) -> None:
    now = changes.standing(uri, name)
    if now.open and now.head:
        raise InputError(
            f"{name}: change {now.head.number} of the champion was claimed and not finished. "
            f"`mergegate doctor {name} --mend` finishes it; then move the registry."
        )
    changes.head(uri, name)  # raises where the alias was moved by hand


def _copy(route: Route, old: Snapshot, mark: Mark, progress: Progress) -> list[str]:
    """Make the copy and verify it; what the two say differently. Where that is nothing the copy has its champion."""
    with store.connect(route.target) as client:
        ids = lay_out(client, old, mark)
        now = read_snapshot(client, old.name)
    wanted = translated(old, ids, mark)
    fill(route, old, wanted, now, ids, progress)
    champion = old.model.aliases.get(CHAMPION) if old.model else None
    with store.connect(route.target) as client:
        faults = list(differences(_uncrowned(wanted), read_snapshot(client, old.name)))
        if champion and not faults:
            client.set_registered_model_alias(old.name, CHAMPION, str(champion))
    if not faults:
        faults = list(_said_otherwise(route, old, ids))
    if faults:
        with store.connect(route.target) as client:
            if old.model and CHAMPION in client.get_registered_model(old.name).aliases:
                client.delete_registered_model_alias(old.name, CHAMPION)
    return faults


def _no_copy(source: str, target: str, name: str, faults: list[str]) -> CorruptArtifactError:
    """What to raise for a copy that differs though nothing changed the original."""
    return CorruptArtifactError(
        f"{name}: the copy in {redacted(target)} does not say what {redacted(source)} says, so it has no champion, "
        f"and {redacted(source)} stays the registry:\n"
        + "\n".join(f"  {fault}" for fault in faults[:_SHOWN])
        + "\nRun the command again; if it says so again, name an empty registry with --to."
    )


def _uncrowned(wanted: Snapshot) -> Snapshot:
    """The snapshot without the alias champion."""
    if wanted.model is None:
        return wanted
    aliases = {a: number for a, number in wanted.model.aliases.items() if a != CHAMPION}
    return replace(wanted, model=replace(wanted.model, aliases=aliases))


def _said_otherwise(route: Route, old: Snapshot, ids: Ids) -> Iterator[str]:
    """In which of their answers `status`, `ledger` and the changes differ between the two registries."""
    before, after = (
        _answers(uri, old, one) for uri, one in ((route.source, ids), (route.target, {}))
    )
    for key in before:
        if before[key] != after[key]:
            yield f"{key}: not as in the old registry"


def _answers(uri: str, old: Snapshot, ids: Mapping[str, str]) -> dict[str, Any]:
    name, found = old.name, dict[str, Any]()
    if old.model or any(run.tags.get("mergegate.kind") == REFUSAL for run in old.runs):
        found = status(uri, name)
        del found["journal"], found["moved_to"]
        look = found["target_look"]
        found["target_look"] = look and look["faults"]
        for refusal in found["refusals"]:
            refusal["run_id"] = ids.get(refusal["run_id"], refusal["run_id"])
    with store.connect(uri, existing=True) as client:
        claims = known_changes(client, name)
    return {
        **{f"status, {k}": v for k, v in found.items()},
        "ledger": read_ledger(uri, name),
        "changes": claims,
    }


def _leave(source: str, target: str, old: Snapshot) -> Snapshot:
    """Mark the old registry as left; what it holds now, which is `old` unless it was changed meanwhile.

    First the mark, then the look: so of another machine's change the one or the other learns.
    """
    with store.connect(source, existing=True) as client:
        set_mark(client, old.name, MOVED_TO, redacted(target))
    same = False
    try:
        now, _ = _read_source(source, old.name)
        same = now == old
    finally:
        if not same:
            with store.connect(source, existing=True) as client:
                take_mark(client, old.name, MOVED_TO)
    if same:
        with store.connect(target) as client:
            take_mark(client, old.name, UNFINISHED)
    return now


def _report(source: str, target: str, old: Snapshot, *, already: bool) -> Moved:
    numbers = {version.number for version in old.versions}
    claims = [e for e in old.experiments if e.startswith(title(old.name, ""))]
    ledger = [run for run in old.runs if run.experiment != old.name]
    refusals = [run for run in old.runs if run.tags.get("mergegate.kind") == REFUSAL]
    held = [one.files for one in old.logged] + [run.files for run in old.runs]
    files = [size for sizes in held for size in sizes.values()]
    return Moved(
        name=old.name,
        source=redacted(source),
        target=redacted(target),
        champion=old.model.aliases.get(CHAMPION) if old.model else None,
        versions=len(numbers),
        left_out=tuple(sorted(set(range(1, max(numbers, default=0))) - numbers)),
        changes=len(claims),
        judgements=len(ledger),
        refusals=len(refusals),
        files=len(files),
        size=sum(files),
        already=already,
    )
