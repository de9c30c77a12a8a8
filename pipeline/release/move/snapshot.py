"""All that a registry holds of one model, read into values that two registries can be compared by.

What a store sets by itself and lets nobody set (ids, places of artifacts, times of creation) takes no part in a
comparison. Reading changes nothing. All of it is to be used inside `store.connect`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pipeline.release import store
from pipeline.release.moved import STATE, created_of
from pipeline.release.standing import title
from pipeline.release.stored import artifacts_at

_LOGGED = re.compile(r"models:/(m-\w+)")

LINKS = "mlflow.modelVersions"  # at a logged model: the versions that it became; a server of MLflow writes it

Tags = dict[str, str]
Sizes = dict[str, int]  # bytes of each artifact, by its path with /


@dataclass(frozen=True)
class Experiment:
    """An experiment: that of the model, its ledger, or the claim on a change of the champion."""

    title: str
    deleted: bool
    tags: Tags
    id: str = field(compare=False)
    created: int = field(compare=False)


@dataclass(frozen=True)
class Run:
    """A run: a refusal, a judgement, or whatever else lies in the experiments of the model."""

    id: str
    experiment: str  # its title
    name: str
    start: int  # milliseconds since 1970, as all times here
    end: int | None
    status: str
    deleted: bool
    tags: Tags
    params: Tags
    # Key, value (its repr, as NaN equals nothing), time, step.
    metrics: frozenset[tuple[str, str, int, int]]
    inputs: frozenset[str]  # ids of logged models
    outputs: frozenset[tuple[str, int]]  # of logged models, with the step
    datasets: frozenset[tuple[str, ...]]  # name, digest, source type, source, schema, profile, tags
    files: Sizes
    place: str = field(compare=False)


@dataclass(frozen=True)
class Logged:
    """A logged model of MLflow, which has the artifacts of a version."""

    id: str
    name: str
    kind: str
    status: str
    run: str  # the id of the run it came from, "" for none
    tags: Tags
    params: Tags
    metrics: frozenset[tuple[str, str, int, int, str]]  # as of a run, with its id
    files: Sizes
    place: str = field(compare=False)
    created: int = field(compare=False)


@dataclass(frozen=True)
class Version:
    """A version of the registered model."""

    number: int
    logged: str  # the id of its logged model
    run: str
    run_link: str
    description: str
    stage: str
    tags: Tags
    created: int = field(compare=False)


@dataclass(frozen=True)
class Model:
    """The registered model itself."""

    description: str
    tags: Tags
    aliases: dict[str, int]


@dataclass(frozen=True)
class Snapshot:
    """All of a model, each kind in the order of its making."""

    name: str
    model: Model | None
    experiments: dict[str, Experiment]  # by title
    runs: tuple[Run, ...]
    logged: tuple[Logged, ...]
    versions: tuple[Version, ...]

    @property
    def places(self) -> dict[str, str]:
        """The experiments that hold runs, by title: their ids."""
        titles = (self.name, f"{self.name} ledger")
        return {t: self.experiments[t].id for t in titles if t in self.experiments}


def read_snapshot(client: Any, name: str) -> Snapshot:
    """All that the registry holds of model `name`; tags that say how far a move is are left out."""
    experiments = {found.title: found for found in _experiments(client, name)}
    titles = [t for t in (name, f"{name} ledger") if t in experiments]
    runs = [run for t in titles for run in _runs(client, experiments[t])]
    logged = list(_logged(client, experiments[name])) if name in experiments else []
    versions = []
    for found in store.pages(client.search_model_versions, f"name = '{name}'"):
        version = _version(found)
        if version.logged not in {one.id for one in logged}:
            logged.append(one := _stand_in(client, name, version))
            version = _version(found, one.id)
        versions.append(version)
    return Snapshot(
        name,
        _model(client, name),
        experiments,
        tuple(sorted(runs, key=lambda run: (run.experiment, run.start, run.id))),
        tuple(sorted(logged, key=lambda one: (one.created, one.id))),
        tuple(sorted(versions, key=lambda version: version.number)),
    )


def _experiments(client: Any, name: str) -> Iterator[Experiment]:
    from mlflow.entities import ViewType

    kept = [client.get_experiment_by_name(one) for one in (name, f"{name} ledger")]
    yield from (_experiment(found) for found in kept if found)

    def search(pattern: str, **page: Any) -> Any:
        return client.search_experiments(
            view_type=ViewType.ALL, filter_string=pattern, max_results=1000, **page
        )

    for found in store.pages(search, f"name LIKE '{title(name, '')}%'"):
        if re.fullmatch(re.escape(title(name, "")) + "[0-9]+", found.name):
            yield _experiment(found)


def _experiment(found: Any) -> Experiment:
    return Experiment(
        title=found.name,
        deleted=found.lifecycle_stage != "active",
        tags=_tags(found.tags),
        id=str(found.experiment_id),
        created=int(found.creation_time or 0),
    )


def _runs(client: Any, experiment: Experiment) -> Iterator[Run]:
    from mlflow.entities import ViewType

    def search(place: str, page_token: str | None) -> Any:
        return client.search_runs(
            [place], run_view_type=ViewType.ALL, max_results=1000, page_token=page_token
        )

    for found in store.pages(search, experiment.id):
        yield _run(client, experiment.title, found)


def _run(client: Any, experiment: str, found: Any) -> Run:
    info, data = found.info, found.data
    history = [m for key in data.metrics for m in client.get_metric_history(info.run_id, key)]
    inputs, outputs = found.inputs, found.outputs
    return Run(
        id=info.run_id,
        experiment=experiment,
        name=info.run_name or "",
        start=int(info.start_time),
        end=int(info.end_time) if info.end_time else None,
        status=str(info.status),
        deleted=info.lifecycle_stage != "active",
        tags=_tags(data.tags),
        params=dict(data.params),
        metrics=frozenset((m.key, repr(float(m.value)), m.timestamp, m.step) for m in history),
        inputs=frozenset(one.model_id for one in (inputs.model_inputs if inputs else None) or ()),
        outputs=frozenset(
            (one.model_id, one.step) for one in (outputs.model_outputs if outputs else None) or ()
        ),
        datasets=frozenset(map(_dataset, (inputs.dataset_inputs if inputs else None) or ())),
        files=artifacts_at(info.artifact_uri).sizes(),
        place=info.artifact_uri,
    )


def _dataset(found: Any) -> tuple[str, ...]:
    one = found.dataset
    fixed = (one.name, one.digest, one.source_type, one.source, one.schema or "", one.profile or "")
    tags = sorted((tag.key, tag.value) for tag in found.tags or ())
    return (*fixed, *(text for pair in tags for text in pair))


def _logged(client: Any, experiment: Experiment) -> Iterator[Logged]:
    for found in store.pages(client.search_logged_models, [experiment.id]):
        yield Logged(
            id=found.model_id,
            name=found.name,
            kind=found.model_type or "",
            status=str(found.status),
            run=found.source_run_id or "",
            tags=_tags(found.tags),
            params=dict(found.params),
            metrics=frozenset(
                (m.key, repr(float(m.value)), m.timestamp, m.step, m.run_id or "")
                for m in found.metrics or ()
            ),
            files=artifacts_at(found.artifact_location).sizes(),
            place=found.artifact_location,
            created=int(found.creation_timestamp),
        )


def _version(found: Any, logged: str = "") -> Version:
    named = _LOGGED.fullmatch(found.source or "")
    return Version(
        number=int(found.version),
        logged=logged or (named[1] if named else ""),
        run=found.run_id or "",
        run_link=found.run_link or "",
        description=found.description or "",
        stage=found.current_stage or "None",
        tags=_tags(found.tags),
        created=created_of(found.tags, int(found.creation_timestamp)),
    )


def _stand_in(client: Any, name: str, version: Version) -> Logged:
    """A logged model for a version that has none in the model's experiment: registered by hand, or deleted there."""
    place = str(client.get_model_version_download_uri(name, str(version.number)))
    return Logged(
        id=f"version {version.number}",
        name="version",
        kind="",
        status="READY",
        run="",
        tags={},
        params={},
        metrics=frozenset(),
        files=artifacts_at(place).sizes(),
        place=place,
        created=version.created,
    )


def _model(client: Any, name: str) -> Model | None:
    found = next(iter(client.search_registered_models(f"name = '{name}'")), None)
    if found is None:
        return None
    aliases = {alias: int(number) for alias, number in found.aliases.items()}
    return Model(found.description or "", _tags(found.tags), aliases)


def _tags(tags: Any) -> Tags:
    return {key: value for key, value in (tags or {}).items() if key not in STATE | {LINKS}}
