"""Everything of a model given its place in the new registry, still empty, so that its new ids are known.

Tags name ids of runs and logged models, so these must be there before the first tag is written.
"""

from __future__ import annotations

import uuid
from itertools import groupby
from typing import Any

from pipeline.errors import InputError
from pipeline.redaction import redacted
from pipeline.release import store
from pipeline.release.move.snapshot import Logged, Run, Snapshot, Tags
from pipeline.release.move.translation import Ids, Mark
from pipeline.release.moved import MOVED_ID, MOVED_SOURCE, UNFINISHED, set_mark
from pipeline.release.standing import CHAMPION
from pipeline.release.stored import artifacts_at


def lay_out(client: Any, snapshot: Snapshot, mark: Mark) -> dict[str, str]:
    """Make the experiments, the registered model, the runs and the logged models, empty where they are not there yet.

    Inside `store.connect` of the new registry. Returns its ids by those of the old one.
    """
    name, places = snapshot.name, {}
    unfinished = {**mark.tags, UNFINISHED: mark.uri}
    for title in dict.fromkeys([name, *snapshot.places]):
        found = client.get_experiment_by_name(title)
        tags = unfinished if title == name else mark.tags
        places[title] = str(found.experiment_id) if found else _create(client, title, tags)
    if snapshot.model and not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name, tags=unfinished)
    set_mark(client, name, UNFINISHED, mark.uri)
    if snapshot.model and CHAMPION in client.get_registered_model(name).aliases:
        client.delete_registered_model_alias(name, CHAMPION)  # until all of it is there
    ids: dict[str, str] = {}
    for title, runs in groupby(snapshot.runs, lambda run: run.experiment):
        ids |= _lay_out_runs(client, places[title], list(runs), mark)
    known = store.pages(client.search_logged_models, [places[name]])
    there = {one.tags.get(MOVED_ID): one.model_id for one in known}
    for one in snapshot.logged:
        ids[one.id] = there.get(one.id) or _create_logged(client, places[name], one, ids, mark)
    return ids


def _create(client: Any, title: str, tags: Tags) -> str:
    """A new experiment. Raises InputError where the server would have this machine write into a folder of its own."""
    place = str(client.create_experiment(title, tags=tags))
    location = client.get_experiment(place).artifact_location
    folder = artifacts_at(location).folder
    if client.tracking_uri.startswith("http") and folder and not folder.parent.is_dir():
        # So that the name is free for the next attempt.
        client.rename_experiment(place, f"{title} unused {uuid.uuid4().hex[:8]}")
        client.delete_experiment(place)
        raise InputError(
            f"{redacted(client.tracking_uri)}: keeps artifacts in {folder.parent}, a folder that is not on this "
            "machine, so nothing was copied. Start the server with --serve-artifacts and without a folder as "
            "--default-artifact-root; or make that folder reachable here under the same path."
        )
    return place


def _lay_out_runs(client: Any, place: str, runs: list[Run], mark: Mark) -> dict[str, str]:
    """A run for each; of those of one millisecond, ids in the same order, since that is what readers sort them by."""
    from mlflow.entities import ViewType

    def search(page_token: str | None) -> Any:
        return client.search_runs(
            [place], run_view_type=ViewType.ALL, max_results=1000, page_token=page_token
        )

    there: dict[int, list[str]] = {}
    for found in store.pages(search):
        there.setdefault(int(found.info.start_time), []).append(found.info.run_id)
    ids: dict[str, str] = {}
    for start, group in groupby(runs, lambda run: run.start):
        old, new = list(group), there.get(start, [])
        for run in old[len(new) :]:
            user = {k: v for k, v in run.tags.items() if k == "mlflow.user"}
            made = client.create_run(
                place, start, {MOVED_SOURCE: mark.source, **user}, run_name=run.name or None
            )
            new.append(made.info.run_id)
        ids |= dict(zip([run.id for run in old], sorted(new), strict=True))
    return ids


def _create_logged(client: Any, place: str, one: Logged, ids: Ids, mark: Mark) -> str:
    made = client.create_logged_model(
        place,
        one.name,
        source_run_id=ids.get(one.run),
        tags={MOVED_SOURCE: mark.source, MOVED_ID: one.id},
        params=one.params or None,
        model_type=one.kind or None,
    )
    return str(made.model_id)
