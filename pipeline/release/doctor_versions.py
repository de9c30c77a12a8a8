"""What is off with versions and their ways back, and what interrupted registrations left in the registry."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipeline.release import store
from pipeline.release.doctor import Ailment, old
from pipeline.release.registry import (
    MERGE,
    REFUSAL,
    RELEASED,
    ROLLBACK_DIGEST,
    ROLLBACK_VERSION,
    UNMERGED,
)

_RUNS = {REFUSAL: "a refusal", RELEASED: "a promotion"}  # by kind
_WAIT = (
    "It is younger than an hour, and a release may be at it: run that release again, or look later."
)


def examine_versions(uri: str, name: str) -> Iterator[Ailment]:
    """What is off with versions and their ways back, and what interrupted registrations left."""
    with store.connect(uri, existing=True) as client:
        versions = list(store.pages(client.search_model_versions, f"name = '{name}'"))
        experiment = client.get_experiment_by_name(name)
        place = [experiment.experiment_id] if experiment else []
        logged = list(store.pages(client.search_logged_models, place)) if place else []
        running = "attributes.status = 'RUNNING'"
        runs = list(store.pages(client.search_runs, place, running)) if place else []
        ours = [v for v in versions if v.tags.get("mergegate.kind") in (MERGE, UNMERGED)]
        yield from _duplicates(ours)
        for version in ours:
            yield from _way_back(uri, name, version, ours)
            yield from _logged_model(client, version)
        used = {version.tags.get("mergegate.model_id") for version in ours}
        for model in logged:
            if store.RELEASE_DIGEST in model.tags and model.model_id not in used:
                yield _left_model(uri, model)
        for run in runs:
            if what := _RUNS.get(run.data.tags.get("mergegate.kind", "")):
                yield _left_run(uri, run, what)


def _duplicates(versions: list[Any]) -> Iterator[Ailment]:
    first: dict[str, Any] = {}
    for version in sorted(versions, key=lambda v: int(v.version)):
        digest = version.tags.get(store.RELEASE_DIGEST, "")
        if (other := first.setdefault(digest, version)) is not version:
            yield Ailment(
                "version-twice",
                f"version {version.version}",
                f"versions {other.version} and {version.version} are the same release, {digest[:12]}.",
                "Two machines registered it at once. Either will do; the lower one is used.",
            )


def _way_back(uri: str, name: str, version: Any, versions: list[Any]) -> Iterator[Ailment]:
    if version.tags["mergegate.kind"] != MERGE:
        return
    number, digest = version.tags.get(ROLLBACK_VERSION), version.tags.get(ROLLBACK_DIGEST)
    digests = {v.version: v.tags.get(store.RELEASE_DIGEST) for v in versions}
    found = {str(v): d for v, d in digests.items()}.get(str(number))
    if digest and found == digest:
        return
    subject, before = (
        f"version {version.version}",
        f"version {version.version}: its way back, version {number},",
    )
    same = [str(v) for v, d in digests.items() if digest and d == digest]
    if found is not None:
        yield Ailment(
            "target-changed",
            subject,
            f"{before} has the digest {found}; it was registered with {digest}.",
            "Restore the registry from a backup, or release again from the adapters.",
        )
    elif same:
        yield Ailment(
            "target-gone",
            subject,
            f"{before} was deleted; version {same[0]} is the same set, by its digest.",
            mend=lambda: store.set_version_tag(
                uri, name, str(version.version), ROLLBACK_VERSION, same[0]
            ),
        )
    else:
        yield Ailment(
            "target-gone",
            subject,
            f"{before} was deleted from the registry.",
            "`mergegate release` registers the unmerged set anew, if its adapters are still there; "
            "then --mend points to it.",
        )


def _logged_model(client: Any, version: Any) -> Iterator[Ailment]:
    from mlflow.exceptions import MlflowException

    model_id = version.tags.get("mergegate.model_id", "")
    try:
        status = str(client.get_logged_model(model_id).status)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        status = "gone"
    if status != "READY":
        yield Ailment(
            "version-unfinished",
            f"version {version.version}",
            f"version {version.version}: its logged model {model_id} is {status.lower()}, not ready.",
            "Restore it in MLflow, or release again.",
        )


def _left_model(uri: str, model: Any) -> Ailment:
    """A logged model without a version: the same release goes on with it, another one does not."""
    changed = model.last_updated_timestamp or model.creation_timestamp
    whole = str(model.status) == "READY"  # perhaps all that is left of a version that was deleted
    return Ailment(
        "model-left",
        model.model_id,
        f"logged model {model.model_id} ({str(model.status).lower()}) belongs to no version: "
        + (
            "its version was deleted, or was not made yet."
            if whole
            else "a registration was interrupted."
        ),
        "Release again to make its version; or delete it in MLflow, once nothing needs it."
        if whole
        else _WAIT,
        mend=(lambda: _delete_model(uri, model.model_id)) if old(changed) and not whole else None,
    )


def _left_run(uri: str, run: Any, what: str) -> Ailment:
    return Ailment(
        "run-left",
        run.info.run_id,
        f"run {run.info.run_id}, {what}, was never finished: it was interrupted.",
        _WAIT,
        mend=(lambda: _end_run(uri, run.info.run_id)) if old(run.info.start_time) else None,
    )


def _delete_model(uri: str, model_id: str) -> None:
    with store.connect(uri, existing=True) as client:
        client.delete_logged_model(model_id)


def _end_run(uri: str, run_id: str) -> None:
    with store.connect(uri, existing=True) as client:
        client.set_terminated(run_id, "KILLED")
