"""What a snapshot of one registry must read as in another one: the same, but for ids, which the new store draws.

Ids are those of runs and logged models. They are replaced wherever tags and descriptions name them, but not in what
people gave as a reason, nor in claims on the champion, which the journal has word for word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from pipeline.facts import digest_of
from pipeline.release.move.snapshot import (
    Experiment,
    Logged,
    Model,
    Run,
    Snapshot,
    Tags,
    Version,
)
from pipeline.release.moved import CREATED, MOVED_FROM, MOVED_ID, MOVED_SOURCE, OURS
from pipeline.release.registry import ROLLED_BACK
from pipeline.release.standing import CHANGE

Ids = Mapping[str, str]  # of runs and logged models: from old to new

_ID = re.compile(r"\b(?:m-)?[0-9a-f]{32}\b")
_VERBATIM = {CHANGE, ROLLED_BACK}
_MODEL_ID, _MOVED_RUN = "mergegate.model_id", "mergegate.moved_run"


@dataclass(frozen=True)
class Mark:
    """Which registry something was copied from."""

    source: str  # a digest, see `mark_of`
    uri: str  # redacted

    @property
    def tags(self) -> Tags:
        """The tags that say so."""
        return {MOVED_SOURCE: self.source, MOVED_FROM: self.uri}


def mark_of(snapshot: Snapshot, uri: str) -> Mark:
    """The mark of a model's registry: by its oldest experiment, since one registry has several URIs."""
    places = [snapshot.experiments[t] for t in snapshot.places]
    oldest = min(((e.created, e.id) for e in places), default=(0, ""))
    return Mark(digest_of([snapshot.name, *oldest]), uri)


def translated(snapshot: Snapshot, ids: Ids, mark: Mark) -> Snapshot:
    """What the new registry must hold, `ids` being those that it drew."""
    place = Experiment(snapshot.name, deleted=False, tags={}, id="", created=0)
    experiments = {snapshot.name: place, **snapshot.experiments}
    runs = (_run(run, ids, mark) for run in snapshot.runs)
    return Snapshot(
        snapshot.name,
        _model(snapshot.model, ids, mark) if snapshot.model else None,
        {t: replace(e, tags=_own(e.tags) | mark.tags) for t, e in experiments.items()},
        tuple(sorted(runs, key=lambda run: (run.experiment, run.start, run.id))),
        tuple(_logged(one, ids, mark) for one in snapshot.logged),
        tuple(_version(version, ids, mark) for version in snapshot.versions),
    )


def differences(wanted: Snapshot, found: Snapshot) -> Iterator[str]:
    """What a registry holds otherwise than it must, a line for each thing, with the fields that differ."""
    yield from _differing("the registered model", wanted.model, found.model)
    for kind, key in (("runs", "id"), ("logged", "id"), ("versions", "number")):
        one = {getattr(each, key): each for each in getattr(wanted, kind)}
        other = {getattr(each, key): each for each in getattr(found, kind)}
        for each in sorted({*one, *other}):
            yield from _differing(f"{kind} {each}", one.get(each), other.get(each))
    for each in sorted({*wanted.experiments, *found.experiments}):
        mine, theirs = wanted.experiments.get(each), found.experiments.get(each)
        yield from _differing(f'experiment "{each}"', mine, theirs)


def repointed(text: str, ids: Ids) -> str:
    """`text` with the new ids for the old ones."""
    return _ID.sub(lambda found: ids.get(found[0], found[0]), text)


def _differing(what: str, one: Any, other: Any) -> Iterator[str]:
    if one is None or other is None:
        if one is not other:
            yield f"{what}: {'is missing' if other is None else 'was not in the old registry'}"
        return
    compared = [f.name for f in fields(one) if f.compare]
    if wrong := [name for name in compared if getattr(one, name) != getattr(other, name)]:
        yield f"{what}: {', '.join(wrong)} not as in the old registry"


def _own(tags: Tags) -> Tags:
    """The tags without those that an earlier move wrote."""
    return {key: value for key, value in tags.items() if key not in OURS}


def _tags(tags: Tags, ids: Ids) -> Tags:
    return {k: v if k in _VERBATIM else repointed(v, ids) for k, v in _own(tags).items()}


def _run(run: Run, ids: Ids, mark: Mark) -> Run:
    return replace(
        run,
        id=ids[run.id],
        tags=_tags(run.tags, ids) | {MOVED_SOURCE: mark.source, MOVED_ID: run.id},
        inputs=frozenset(ids[one] for one in run.inputs if one in ids),
        outputs=frozenset((ids[one], step) for one, step in run.outputs if one in ids),
    )


def _logged(one: Logged, ids: Ids, mark: Mark) -> Logged:
    added = {MOVED_SOURCE: mark.source, MOVED_ID: one.id, CREATED: str(one.created)}
    return replace(
        one,
        id=ids[one.id],
        run=ids.get(one.run, ""),
        tags=_tags(one.tags, ids) | {**added, CREATED: one.tags.get(CREATED, str(one.created))},
        metrics=frozenset((*m[:4], ids[m[4]]) for m in one.metrics if m[4] in ids),
    )


def _version(version: Version, ids: Ids, mark: Mark) -> Version:
    tags = _tags(version.tags, ids) | {MOVED_SOURCE: mark.source, CREATED: str(version.created)}
    if _MODEL_ID in tags:  # also where the old one was deleted
        tags[_MODEL_ID] = ids[version.logged]
    if version.run and version.run not in ids:  # of another experiment, which stays where it is
        tags[_MOVED_RUN] = version.run
    return replace(
        version,
        logged=ids[version.logged],
        run=ids.get(version.run, ""),
        description=repointed(version.description, ids),
        tags=tags,
    )


def _model(model: Model, ids: Ids, mark: Mark) -> Model:
    return replace(
        model,
        description=repointed(model.description, ids),
        tags=_tags(model.tags, ids) | mark.tags,
    )
