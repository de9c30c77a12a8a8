"""The run of a release in its model's experiment: promoted or refused, its figures stand beside those of the others.

A run is found again by its release digest, and what it lacks is added: twice is as once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.release import store
from pipeline.release.page import Page

KIND = "mergegate.kind"
FINISHED = "FINISHED"


def find_run(client: Any, experiment: str, digest: str) -> Any | None:
    """The run of the release with this digest, finished or not; None where there is none."""
    found = client.search_runs([experiment], f"tags.`{store.RELEASE_DIGEST}` = '{digest}'")
    return min(found, key=lambda run: (run.info.start_time, run.info.run_id), default=None)


def create_run(
    client: Any,
    experiment: str,
    digest: str,
    *,
    kind: str,
    title: str,
    tags: Mapping[str, str],
) -> Any:
    """A run of the release with this digest; `tags` are cut to what a run's tags hold."""
    kept = {key: store.fitting(value, store.RUN_TAG_LIMIT) for key, value in tags.items()}
    kept |= {store.RELEASE_DIGEST: digest, KIND: kind}
    return client.create_run(experiment, run_name=title, tags=kept)


def fill(client: Any, run: Any, page: Page, model_id: str | None = None) -> None:
    """Give a run what it lacks of its page, and its logged model where there is one."""
    from mlflow.entities import LoggedModelOutput, Metric, Param, RunTag

    run_id, when = (
        run.info.run_id,
        run.info.start_time,
    )  # the same at each attempt: nothing is doubled
    run = client.get_run(run_id)
    client.log_batch(
        run_id,
        metrics=[
            Metric(key, value, when, 0, model_id=model_id, run_id=run_id)
            for key, value in page.metrics.items()
        ],
        # MLflow refuses another value for a parameter that is there.
        params=[Param(k, v) for k, v in page.params.items() if k not in run.data.params],
        tags=[RunTag(store.NOTE, page.description)],
    )
    linked = {output.model_id for output in (run.outputs.model_outputs if run.outputs else ())}
    if model_id and model_id not in linked:
        client.log_outputs(run_id, [LoggedModelOutput(model_id, 0)])


def finish(client: Any, run: Any) -> None:
    """Say that nothing of the run is left to do."""
    client.set_terminated(run.info.run_id, FINISHED)
