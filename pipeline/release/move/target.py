"""Whether a model may be copied into a registry: nothing is there, or a copy of the same one that nobody used yet."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.errors import InputError
from pipeline.redaction import redacted
from pipeline.release import store
from pipeline.release.move.snapshot import Snapshot, read_snapshot
from pipeline.release.move.translation import Mark
from pipeline.release.moved import MOVED_SOURCE, UNFINISHED, marks
from pipeline.release.standing import CHANGE

_SHOWN = 10  # things that a message names


def check_target(uri: str, old: Snapshot, mark: Mark, *, left: bool) -> bool | None:
    """Whether an earlier move finished a copy there; None where there is nothing. Raises InputError for all else.

    `left`: whether the old registry is marked as left. Then a finished copy is what is used, and may hold more.
    """
    with store.connect(uri) as client:
        found, state = read_snapshot(client, old.name), marks(client, old.name)
    if not found.model and not found.experiments:
        return None
    if foreign := list(_foreign(found, mark)):
        named = ", ".join(foreign[:_SHOWN])
        more = f" and {len(foreign) - _SHOWN} more" if len(foreign) > _SHOWN else ""
        raise InputError(
            f"{redacted(uri)}: has {named}{more} already, which was not copied from {mark.uri}. Nothing was written. "
            "Name another registry with --to; or remove these there first, deleted ones for good (`mlflow gc`)."
        )
    finished = UNFINISHED not in state
    if left and finished:
        return True
    if foreign := list(_made_there(found, mark)) or list(_contradicting(found, old)):
        raise InputError(
            f"{redacted(uri)}: has a copy of {old.name} that was used since: {', '.join(foreign[:_SHOWN])}. "
            "Nothing was written. If that is the registry to go on with, set registry.uri of params.yaml to it; else "
            "name another one."
        )
    return finished


def _foreign(found: Snapshot, mark: Mark) -> Iterator[str]:
    if found.model and found.model.tags.get(MOVED_SOURCE) != mark.source:
        yield f"the registered model {found.name}"
    for one in found.experiments.values():
        # A copy that is used makes claims of its own.
        kept = one.title in found.places or not found.model
        if kept and one.tags.get(MOVED_SOURCE) != mark.source:
            deleted = " (deleted in MLflow, which keeps its name)" if one.deleted else ""
            yield f'the experiment "{one.title}"{deleted}'


def _made_there(found: Snapshot, mark: Mark) -> Iterator[str]:
    """What was made in the new registry itself."""
    ours = mark.source
    yield from (f"version {v.number}" for v in found.versions if v.tags.get(MOVED_SOURCE) != ours)
    yield from (f"run {run.id}" for run in found.runs if run.tags.get(MOVED_SOURCE) != ours)
    yield from (one.id for one in found.logged if one.tags.get(MOVED_SOURCE) != ours)
    for one in found.experiments.values():
        if one.tags.get(MOVED_SOURCE) != ours:
            yield one.title


def _contradicting(found: Snapshot, old: Snapshot) -> Iterator[str]:
    """What cannot be a copy of the old registry: another release under a number, another change."""
    digests = {v.number: v.tags.get(store.RELEASE_DIGEST) for v in old.versions}
    for version in found.versions:
        if version.tags.get(store.RELEASE_DIGEST) != digests.get(
            version.number, version.tags.get(store.RELEASE_DIGEST)
        ):
            yield f"version {version.number} is another release"
    for one in found.experiments.values():
        mine = old.experiments.get(one.title)
        if CHANGE in one.tags and (mine is None or mine.tags.get(CHANGE) != one.tags[CHANGE]):
            yield f'the change "{one.title}" is another one'
