"""A run filled in the new registry: artifacts, parameters, metrics, tags, what it went from and to, its end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipeline.release import store
from pipeline.release.move.files import Route, copy_files
from pipeline.release.move.snapshot import Run

_BATCH = 90  # tags, parameters and metrics in one request; MLflow takes 100
_ENDED = ("FINISHED", "FAILED", "KILLED")

Score = tuple[
    str, str, int, int, str
]  # key, value, time, step, id of the logged model that it is of


def fill_run(route: Route, old: Run, wanted: Run, found: Run, scores: list[Score]) -> None:
    """Bring the run `found` in the new registry to `wanted`; `old` is the same run in the old registry.

    `scores`: what it is still to log of logged models, which a deleted run cannot.
    """
    with store.connect(route.target) as client:
        if found.deleted:
            client.restore_run(wanted.id)
        _fill_run_data(client, wanted, found, scores)
    # One that has not ended yet may have been killed before its files were compared.
    if wanted.files != found.files or (wanted.files and wanted.status != found.status):
        copy_files(
            route,
            old.place,
            found.place,
            lambda client, folder: client.log_artifacts(wanted.id, folder),
            what=f'run {old.id} of "{old.experiment}"',
            tags={},
        )
    with store.connect(route.target) as client:
        if (wanted.status, wanted.end) != (found.status, found.end):
            if wanted.status in _ENDED:
                client.set_terminated(wanted.id, wanted.status, wanted.end)
            else:
                client.update_run(wanted.id, wanted.status)
        if wanted.deleted:
            client.delete_run(wanted.id)


def _fill_run_data(client: Any, wanted: Run, found: Run, scores: list[Score]) -> None:
    """Parameters, metrics, tags and what a run went from and to."""
    from mlflow.entities import LoggedModelInput, LoggedModelOutput, Metric, Param, RunTag

    tags = [RunTag(k, v) for k, v in wanted.tags.items() if found.tags.get(k) != v]
    params = [Param(k, v) for k, v in wanted.params.items() if k not in found.params]
    metrics = [
        Metric(key, float(value), when, step)
        for key, value, when, step in sorted(wanted.metrics - found.metrics)
    ]
    metrics += [Metric(k, float(v), when, step, model_id=one) for k, v, when, step, one in scores]
    for batch in _batches(metrics):
        client.log_batch(wanted.id, metrics=batch)
    for batch in _batches(params):
        client.log_batch(wanted.id, params=batch)
    for batch in _batches(tags):
        client.log_batch(wanted.id, tags=batch)
    for key in found.tags.keys() - wanted.tags.keys():
        client.delete_tag(wanted.id, key)
    if wanted.name != found.name:
        client.update_run(wanted.id, name=wanted.name)
    if missing := wanted.datasets - found.datasets:
        client.log_inputs(wanted.id, datasets=[_dataset(one) for one in sorted(missing)])
    if models := sorted(wanted.inputs - found.inputs):
        client.log_inputs(wanted.id, models=[LoggedModelInput(one) for one in models])
    if made := sorted(wanted.outputs - found.outputs):
        client.log_outputs(wanted.id, [LoggedModelOutput(one, step) for one, step in made])


def _batches(things: list[Any]) -> Iterator[list[Any]]:
    return (things[start : start + _BATCH] for start in range(0, len(things), _BATCH))


def _dataset(one: tuple[str, ...]) -> Any:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    name, digest, kind, source, schema, profile, *tags = one
    made = Dataset(name, digest, kind, source, schema or None, profile or None)
    return DatasetInput(made, [InputTag(*pair) for pair in zip(tags[::2], tags[1::2], strict=True)])
