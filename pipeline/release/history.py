"""The registry's history of one model: champion, way back, versions, changes, refusals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.release import store
from pipeline.release.borne_out import compared
from pipeline.release.moved import MOVED_TO, created_of, marks
from pipeline.release.registry import (
    CHAMPION,
    REFUSAL,
    ROLLBACK_DIGEST,
    ROLLED_BACK,
    way_back_of,
)
from pipeline.release.standing import Change, Standing, changes, read_standing
from pipeline.release.wholeness import look
from pipeline.strict import nearest

_LAST = 10  # changes that `status` gives


def status(
    uri: str,
    name: str,
    journal: Path | None = None,
    *,
    whole: bool = False,
    hashes: Path | None = None,
) -> dict[str, Any]:
    """Champion, rollback target and history of a registered model, as JSON values.

    `champion`, `target`: a version as in `history`, None where there is none. `history`: every
    version, oldest first. `refusals`: every refused candidate, oldest first. `changes`: the last
    ones of the champion, newest first, with person, reason and time. `moved_by_hand`: the version that the alias
    names where it is not where the last of them left it (0: none), else None. `target_look`: whether the
    target is whole, see `wholeness.look`, also for `hashes`; None where there is no target. `unfinished`: the number of
    a change that was claimed and not finished, else None. `journal`: the file, and as `faults` why it does not bear
    out what the registry says; None where no journal is given. What it lacks at its end is a fault where it must be
    `whole`; else it may be of changes made elsewhere, and is among its `notes`. `moved_to`: the registry that the
    model was moved to, None where it was not.
    """
    with store.connect(uri, existing=True) as client:
        refusals = _refusals(client, name)
        known = client.search_registered_models(f"name = '{name}'")
        # A model of which every candidate was refused is known by its refusals alone.
        aliases = registered_model(client, name).aliases if known or not refusals else {}
        versions = client.search_model_versions(f"name = '{name}'")
        entries = {int(version.version): _entry(version) for version in versions}
        champion = entries.get(int(aliases.get(CHAMPION, 0)))
        target = champion["rollback_version"] if champion else None
        now, known = read_standing(client, name), changes(client, name)
        return {
            "name": name,
            "journal": compared(journal, name, now, known, whole=whole),
            "champion": champion,
            "target": entries.get(target) if target else None,
            "target_look": _look(client, name, target, hashes) if target else None,
            "moved_to": marks(client, name).get(MOVED_TO),
            "moved_by_hand": _moved(now),
            "unfinished": _unfinished(now),
            "changes": [asdict(change) for change in reversed(known[-_LAST:])],
            "history": [entries[number] for number in sorted(entries)],
            "refusals": refusals,
        }


def champion_at(
    uri: str, name: str, moment: datetime, journal: Path | None = None, *, whole: bool = False
) -> dict[str, Any]:
    """Which version was champion at `moment` (with a zone), as JSON values.

    `version` as in `status`, None where it is gone from the registry; `change`, the one that made it champion;
    `until`, when the next one came, None where it still is; `moved_by_hand`, the version that the alias names where
    somebody moved it in MLflow, at a time that nobody recorded; `unfinished`, `journal`, `whole` and `moved_to` as in
    `status`.
    Raises InputError where the record begins later, and for a moment to come.
    """
    if moment > datetime.now(UTC):
        raise InputError(f"--at {moment.isoformat()}: is to come; name a time that has passed.")
    with store.connect(uri, existing=True) as client:
        registered_model(client, name)
        known = changes(client, name)
        found = _last_before(known, moment)
        if found is None:
            begins = f"the first is of {known[0].when}" if known else "there is none yet"
            raise InputError(
                f"{name}: no change of the champion is known from before {moment.isoformat()}; {begins}. "
                "Versions registered before changes were numbered are in `mergegate status`."
            )
        after = [change.when for change in known if change.number > found.number]
        versions = client.search_model_versions(f"name = '{name}'")
        entries = {int(version.version): _entry(version) for version in versions}
        now = read_standing(client, name)
        return {
            "name": name,
            "journal": compared(journal, name, now, known, whole=whole),
            "moment": moment.astimezone(UTC).isoformat(timespec="seconds"),
            "version": entries.get(found.version),
            "change": asdict(found),
            "until": after[0] if after else None,
            "moved_to": marks(client, name).get(MOVED_TO),
            "moved_by_hand": _moved(now),
            "unfinished": _unfinished(now),
        }


def _unfinished(now: Standing) -> int | None:
    """The number of a change that was claimed and not finished."""
    return now.head.number if now.open and now.head else None


def _moved(now: Standing) -> int | None:
    """The version of an alias that is not where the last change left it; 0 for an alias that is gone."""
    return (now.alias or 0) if now.moved_by_hand else None


def _last_before(known: Sequence[Change], moment: datetime) -> Change | None:
    earlier = [change for change in known if datetime.fromisoformat(change.when) <= moment]
    return max(earlier, key=lambda change: change.number, default=None)


def _entry(version: Any) -> dict[str, Any]:
    tags = version.tags
    return {
        "version": int(version.version),
        "kind": tags.get("mergegate.kind"),
        "candidate": tags.get("mergegate.candidate"),
        "created": created_of(tags, version.creation_timestamp),  # milliseconds since 1970, UTC
        "release_digest": tags.get(store.RELEASE_DIGEST),
        "rollback_version": way_back_of(tags),
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


def _look(client: Any, name: str, version: int, hashes: Path | None) -> dict[str, Any]:
    """Whether a version is whole; one that is gone has that as its fault."""
    try:
        return look(client, name, version, hashes).to_json()
    except InputError as error:
        return {"version": version, "faults": [str(error)], "checked": [], "rehearsed": None}


def registered_model(client: Any, name: str) -> Any:
    """The registered model `name`. Raises InputError with the nearest name there is."""
    if found := client.search_registered_models(f"name = '{name}'"):
        return found[0]
    others = [model.name for model in client.search_registered_models()]
    hint = nearest(name, others) if others else " Nothing is registered here yet."
    raise InputError(f"{name}: not a registered model.{hint}")
