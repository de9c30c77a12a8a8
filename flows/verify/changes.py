"""The tags that repeat the champion's changes, of a version and of its model, against the claims they repeat."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flows.verify.result import Part, attempt
from pipeline.release import store
from pipeline.release.agreement import model_faults, version_faults
from pipeline.release.standing import CHANGE, Change, Standing, changes, read_standing


def changes_fit(version: Any, where: str) -> Part:
    """What the tags of a version say of who made it champion, inside `store.connect`.

    `where` stands before each fault in place of a file. A claim that is gone from MLflow for good cannot be compared
    with; `mergegate doctor` has the journal too.
    """
    found = attempt(Path(), lambda: _read(version.name))
    if isinstance(found, str):
        return Part(faults=(f"{where}: {found}",))
    now, known = found
    faults = [str(fault) for fault in version_faults(version, now, known)]
    last = max((n for n in known if known[n].version == int(version.version)), default=None)
    notes = []
    if now.head is not None and now.head.version == int(version.version):
        if differing := model_faults(now):
            faults.append(f"{CHANGE} of the model: {differing}")
        if now.head.number not in {0, *known}:
            notes.append(
                f"That change {now.head.number} made it champion is said by the model's tag {CHANGE} alone: MLflow has "
                f"no experiment for it. `mergegate doctor {version.name}` compares with the journal."
            )
    if now.moved_by_hand and now.head and now.alias == int(version.version):
        notes.append(
            f"The alias champion is at this version, and the last change left it at version {now.head.version}: "
            f"somebody moved it in MLflow. `mergegate doctor {version.name}` says more."
        )
    checked = (
        []
        if last is None
        else [f"what tags say of change {last}, {_moment(known[last])}, against its claim"]
    )
    told = tuple(f"{where}: {fault}" for fault in faults)
    return Part(tuple(checked), told, tuple(notes))


def _read(name: str) -> tuple[Standing, dict[int, Change]]:
    from mlflow import get_tracking_uri

    with store.connect(get_tracking_uri(), existing=True) as client:
        now = read_standing(client, name)
        return now, {change.number: change for change in changes(client, name)}


def _moment(change: Change) -> str:
    return f"by {change.who} at {change.when}"
