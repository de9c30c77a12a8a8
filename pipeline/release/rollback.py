"""The way back, rehearsed at each release and taken by one command; and the registry's history."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipeline.errors import EnvironmentFault, InputError
from pipeline.release import store
from pipeline.release.changes import CHAMPION
from pipeline.release.registry import (
    REFUSAL,
    ROLLBACK_DIGEST,
    ROLLBACK_VERSION,
    ROLLED_BACK,
    UNMERGED,
)
from pipeline.release.unmerged import Answer, rehearse_unmerged
from pipeline.strict import nearest


@dataclass(frozen=True)
class Rollback:
    """A rollback, or its rehearsal. `moved` says whether the champion changed by it."""

    name: str
    champion: int  # before
    target: int
    target_digest: str
    answers: tuple[Answer, ...]
    moved: bool

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return asdict(self)


def rehearse(uri: str, name: str, cache: Path | None = None) -> Rollback:
    """Load the champion's rollback target, check every digest, ask the probe; the champion stays.

    Where the champion is an unmerged set already, that one is rehearsed. Raises
    CorruptArtifactError where bytes are not as registered, EnvironmentFault where the bytes are
    right and the answers are not.
    """
    with store.connect(uri, existing=True) as client:
        champion = _champion(client, name)
        version, digest = _target(champion)
        target = client.get_model_version(name, str(version))
        source = client.get_model_version_download_uri(name, target.version)
    with TemporaryDirectory(prefix="mergegate-") as scratch:
        with store.connect(uri, existing=True):
            from mlflow.artifacts import download_artifacts

            folder = Path(download_artifacts(source, dst_path=scratch, tracking_uri=uri))
        answers = rehearse_unmerged(folder, digest, cache)
    _check_answers(name, answers)
    return Rollback(name, int(champion.version), version, digest, answers, moved=False)


def rollback(uri: str, name: str, why: str, cache: Path | None = None) -> Rollback:
    """Rehearse, then make the target the champion; the version it replaces keeps `why` as a tag.

    It does not become champion again by itself: remove its tag `mergegate.rolled_back` to
    allow it. Where the champion is an unmerged set already, nothing changes.
    """
    rehearsed = rehearse(uri, name, cache)
    if rehearsed.target == rehearsed.champion:
        return rehearsed
    with store.connect(uri, existing=True) as client:
        # The tag first: a command that is killed here leaves the champion for a second one to find.
        reason = store.fitting(why or "no reason given", store.VERSION_TAG_LIMIT)
        client.set_model_version_tag(name, str(rehearsed.champion), ROLLED_BACK, reason)
        client.set_registered_model_alias(name, CHAMPION, str(rehearsed.target))
    return Rollback(**{**vars(rehearsed), "moved": True})


def status(uri: str, name: str) -> dict[str, Any]:
    """Champion, rollback target and history of a registered model, as JSON values.

    `champion`, `target`: a version as in `history`, None where there is none. `history`: every
    version, oldest first. `refusals`: every refused candidate, oldest first.
    """
    with store.connect(uri, existing=True) as client:
        refusals = _refusals(client, name)
        known = client.search_registered_models(f"name = '{name}'")
        # A model of which every candidate was refused is known by its refusals alone.
        aliases = _model(client, name).aliases if known or not refusals else {}
        versions = client.search_model_versions(f"name = '{name}'")
        entries = {int(version.version): _entry(version) for version in versions}
        champion = entries.get(int(aliases.get(CHAMPION, 0)))
        return {
            "name": name,
            "champion": champion,
            "target": entries.get(champion["rollback_version"]) if champion else None,
            "history": [entries[number] for number in sorted(entries)],
            "refusals": refusals,
        }


def _entry(version: Any) -> dict[str, Any]:
    tags = version.tags
    target = tags.get(ROLLBACK_VERSION)
    return {
        "version": int(version.version),
        "kind": tags.get("mergegate.kind"),
        "candidate": tags.get("mergegate.candidate"),
        "created": version.creation_timestamp,  # milliseconds since 1970, UTC
        "release_digest": tags.get(store.RELEASE_DIGEST),
        "rollback_version": int(target) if target else None,
        "rollback_digest": tags.get(ROLLBACK_DIGEST),
        "rolled_back": tags.get(ROLLED_BACK),
    }


def _refusals(client: Any, name: str) -> list[dict[str, Any]]:
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        return []
    runs = client.search_runs(
        [experiment.experiment_id], f"tags.`mergegate.kind` = '{REFUSAL}'", order_by=["start_time"]
    )
    return [
        {
            "run_id": run.info.run_id,
            "candidate": run.data.tags.get("mergegate.candidate"),
            "outcome": run.data.tags.get("mergegate.outcome"),
            "created": run.info.start_time,
        }
        for run in runs
    ]


def _champion(client: Any, name: str) -> Any:
    aliases = _model(client, name).aliases
    if CHAMPION not in aliases:
        raise InputError(
            f"{name}: has no champion, so there is nothing to roll back from. "
            "`mergegate release` makes one."
        )
    return client.get_model_version(name, str(aliases[CHAMPION]))


def _model(client: Any, name: str) -> Any:
    """The registered model `name`. Raises InputError with the nearest name there is."""
    if found := client.search_registered_models(f"name = '{name}'"):
        return found[0]
    others = [model.name for model in client.search_registered_models()]
    hint = nearest(name, others) if others else " Nothing is registered here yet."
    raise InputError(f"{name}: not a registered model.{hint}")


def _target(champion: Any) -> tuple[int, str]:
    """The version and digest that a rollback pointer names; an unmerged set is its own target."""
    tags = champion.tags
    if tags.get("mergegate.kind") == UNMERGED:
        return int(champion.version), tags[store.RELEASE_DIGEST]
    if ROLLBACK_VERSION not in tags or ROLLBACK_DIGEST not in tags:
        raise InputError(
            f"{champion.name} version {champion.version}: carries no rollback pointer, "
            "so it was not registered by mergegate. Move the alias by hand in MLflow."
        )
    return int(tags[ROLLBACK_VERSION]), tags[ROLLBACK_DIGEST]


def _check_answers(name: str, answers: tuple[Answer, ...]) -> None:
    if wrong := [a for a in answers if not a.agrees]:
        listed = "; ".join(f"{a.expert}: {a.observed!r} instead of {a.expected!r}" for a in wrong)
        raise EnvironmentFault(
            f"{name}: the rollback target's bytes are as released, "
            f"but it answers differently here ({listed}). "
            "Install the library versions that release.json of the champion lists; "
            "if the new answers will do, move the alias by hand in MLflow."
        )
