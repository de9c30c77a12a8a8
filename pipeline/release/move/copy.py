"""One registry's content of a model filled into another one, after `layout`. Twice is as once.

A version is made when its artifacts have arrived and were compared. Nothing is written to the old registry.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from pipeline.errors import InputError
from pipeline.release import store
from pipeline.release.move.files import Route, copy_files
from pipeline.release.move.runs import Score, fill_run
from pipeline.release.move.snapshot import LINKS, Logged, Snapshot, Tags, Version
from pipeline.release.move.translation import Ids
from pipeline.release.moved import MOVED_GAP, MOVED_SOURCE, UNFINISHED, marks
from pipeline.release.registry import way_back_of
from pipeline.release.standing import CHAMPION, read_claim

# How many versions are done, of how many, and the last one in words.
Progress = Callable[[int, int, str], None]
# Numbers that may be left out at the end: more stand in no registry that was not edited.
_GAPS = 10_000


def fill(
    route: Route, old: Snapshot, wanted: Snapshot, now: Snapshot, ids: Ids, progress: Progress
) -> None:
    """Bring what the new registry holds, `now`, to `wanted`; all but the alias champion. `old`: where it is from."""
    _fill_versions(route, old, wanted, now, ids, progress)
    sources = {ids[one.id]: one for one in old.logged}
    for one, found in _pairs(wanted.logged, now.logged):
        if one.id not in {version.logged for version in wanted.versions}:
            _copy_logged(route, sources[one.id], one, found, f"logged model {sources[one.id].id}")
    runs = {ids[run.id]: run for run in old.runs}
    scores = _scores(wanted, now)
    for run, there in _pairs(wanted.runs, now.runs):
        if run != there or run.id in scores:
            fill_run(route, runs[run.id], run, there, scores.get(run.id, []))
    with store.connect(route.target) as client:
        for one in wanted.logged:
            versions = [v.number for v in wanted.versions if v.logged == one.id]
            _fill_logged(client, one, wanted.name, versions)
        _fill_experiments(client, wanted, now)
        _fill_model(client, wanted)


def _pairs(wanted: Iterable[Any], now: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    there = {one.id: one for one in now}
    return ((one, there[one.id]) for one in wanted)


def _fill_versions(
    route: Route, old: Snapshot, wanted: Snapshot, now: Snapshot, ids: Ids, progress: Progress
) -> None:
    """The versions by number, each after its artifacts; what the old registry lacks of them is left out here too."""
    sources = {ids[one.id]: one for one in old.logged}
    logged = {one.id: (one, found) for one, found in _pairs(wanted.logged, now.logged)}
    there = {version.number: version for version in now.versions}
    with store.connect(route.target) as client:
        for number in sorted(there.keys() - {version.number for version in wanted.versions}):
            client.delete_model_version(wanted.name, str(number))
    for done, version in enumerate(wanted.versions, 1):
        one, found = logged[version.logged]
        what = f"{wanted.name} version {version.number}"
        _copy_logged(route, sources[one.id], one, found, what, version.tags)
        with store.connect(route.target) as client:
            if version.number not in there:
                _create_version(client, wanted.name, version)
            _fill_version(client, wanted.name, version)
        size = sum(one.files.values())
        said = f"{what}: {len(one.files)} files, {size / 1e6:,.1f} MB, copied and verified"
        progress(done, len(wanted.versions), said)
    with store.connect(route.target) as client:
        _leave_out_last(client, wanted, _last_named(old))


def _create_version(client: Any, name: str, version: Version) -> None:
    while True:
        made = client.create_model_version(
            name,
            f"models:/{version.logged}",
            run_id=version.run or None,
            run_link=version.run_link or None,
            description=version.description or None,
            tags=version.tags,
            model_id=version.logged,
        )
        if int(made.version) == version.number:
            return
        # What a killed command leaves of these is no number of the old registry, and deleted by the next one.
        client.delete_model_version(name, str(made.version))
        if int(made.version) > version.number:
            raise InputError(
                f"{name}: the new registry can give no version the number {version.number} any more: versions up to "
                f"{made.version} were made and deleted there. Name an empty registry with --to, or remove what this "
                "one holds of the model for good (`mlflow gc`)."
            )


def _last_named(snapshot: Snapshot) -> int:
    """The highest number that a change of the champion or a way back names, deleted versions included."""
    named = [way_back_of(version.tags) or 0 for version in snapshot.versions]
    for experiment in snapshot.experiments.values():
        change = read_claim(_Claim(experiment.title, experiment.tags), snapshot.name)
        named += [change.version, change.previous or 0] if change else []
    return max(named, default=0)


@dataclass(frozen=True)
class _Claim:
    """An experiment as `read_claim` takes it."""

    name: str
    tags: Tags


def _leave_out_last(client: Any, wanted: Snapshot, last: int) -> None:
    """Use up the numbers of deleted versions above the highest one, so that no new version is taken for them."""
    highest = wanted.versions[-1].number if wanted.versions else 0
    done = int(marks(client, wanted.name).get(MOVED_GAP, highest))
    if not wanted.versions or done >= last:
        return
    if last - highest > _GAPS:
        raise InputError(
            f"{wanted.name}: a change of the champion or a way back names version {last}, and the last one that is "
            f"there is {highest}. Somebody edited it: `mergegate doctor {wanted.name}` says more."
        )
    made = done
    while made < last:
        model, ours = wanted.versions[-1].logged, wanted.versions[-1].tags[MOVED_SOURCE]
        tags = {MOVED_SOURCE: ours}
        found = client.create_model_version(
            wanted.name, f"models:/{model}", model_id=model, tags=tags
        )
        made = int(found.version)
        client.delete_model_version(wanted.name, str(made))
    client.set_registered_model_tag(wanted.name, MOVED_GAP, str(made))


def _fill_version(client: Any, name: str, version: Version) -> None:
    number = str(version.number)
    found = client.get_model_version(name, number)
    for key, value in version.tags.items():
        if found.tags.get(key) != value:
            client.set_model_version_tag(name, number, key, value)
    for key in found.tags.keys() - version.tags.keys():
        client.delete_model_version_tag(name, number, key)
    if (found.description or "") != version.description:
        client.update_model_version(name, number, version.description)
    if (found.current_stage or "None") != version.stage:
        client.transition_model_version_stage(name, number, version.stage)


def _copy_logged(
    route: Route, old: Logged, wanted: Logged, found: Logged, what: str, tags: Tags | None = None
) -> None:
    """The artifacts of a logged model, and its status, which says that they are all there."""
    if (found.files, found.status) == (wanted.files, wanted.status):
        return

    def upload(client: Any, folder: str) -> None:
        if wanted.files:
            client.log_model_artifacts(wanted.id, folder)

    if wanted.files or tags:
        copy_files(route, old.place, found.place, upload, what=what, tags=tags or {})
    if found.status != wanted.status:
        with store.connect(route.target) as client:
            client.finalize_logged_model(wanted.id, wanted.status)


def _scores(wanted: Snapshot, now: Snapshot) -> dict[str, list[Score]]:
    """The metrics of logged models that are still to be logged, by the run that they belong to."""
    found: dict[str, list[Score]] = {}
    for one, there in _pairs(wanted.logged, now.logged):
        for key, value, when, step, run in sorted(one.metrics - there.metrics):
            found.setdefault(run, []).append((key, value, when, step, one.id))
    return found


def _fill_logged(client: Any, wanted: Logged, name: str, versions: list[int]) -> None:
    """The tags of a logged model: after its `versions`, of which a server keeps a tag."""
    tags = client.get_logged_model(wanted.id).tags
    due = dict(wanted.tags)
    if LINKS in tags:  # a server's own, which also has the numbers that were left out
        due[LINKS] = json.dumps([{"name": name, "version": str(number)} for number in versions])
    if tags != due:
        client.set_logged_model_tags(wanted.id, due)
    for key in tags.keys() - due.keys():
        client.delete_logged_model_tag(wanted.id, key)


def _fill_experiments(client: Any, wanted: Snapshot, now: Snapshot) -> None:
    """The claims on the champion, and the tags of all experiments; those that are deleted, deleted again."""
    order = sorted(wanted.experiments.values(), key=lambda one: (len(one.title), one.title))
    for one in order:
        found = now.experiments.get(one.title)
        if found is None:
            made = client.create_experiment(one.title, tags=one.tags)
            found = replace(one, id=str(made), deleted=False)
        if found.deleted and not one.deleted:
            client.restore_experiment(found.id)
        for key, value in one.tags.items():
            if found.tags.get(key) != value:
                client.set_experiment_tag(found.id, key, value)
        for key in found.tags.keys() - one.tags.keys():
            client.delete_experiment_tag(found.id, key)
        if one.deleted and not found.deleted:
            client.delete_experiment(found.id)


def _fill_model(client: Any, wanted: Snapshot) -> None:
    """Description, tags and aliases of the registered model; the alias champion is set last, by whoever verified."""
    name, model = wanted.name, wanted.model
    if model is None:
        return
    found = client.get_registered_model(name)
    if (found.description or "") != model.description:
        client.update_registered_model(name, model.description)
    for key, value in model.tags.items():
        if found.tags.get(key) != value:
            client.set_registered_model_tag(name, key, value)
    for key in found.tags.keys() - model.tags.keys() - {UNFINISHED, MOVED_GAP}:
        client.delete_registered_model_tag(name, key)
    for alias, number in model.aliases.items():
        if alias != CHAMPION and str(found.aliases.get(alias)) != str(number):
            client.set_registered_model_alias(name, alias, str(number))
    for alias in found.aliases.keys() - model.aliases.keys():
        client.delete_registered_model_alias(name, alias)
