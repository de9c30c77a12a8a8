"""What follows a claim: alias and tags are brought to where the last change wants them, by whoever comes by."""

from __future__ import annotations

import random
import time
from dataclasses import asdict
from typing import Any

from pipeline.errors import EnvironmentFault, InputError
from pipeline.facts import canonical_json
from pipeline.release import store
from pipeline.release.page import DESCRIPTION_LIMIT
from pipeline.release.standing import (
    CHAMPION,
    CHANGE,
    REPLACES,
    Change,
    Standing,
    read_standing,
    title,
)

_PAUSE_S = 0.5  # at most, before what met another writer is tried again
_ROUNDS = 100
# By it a description of the model is known to be ours.
_OURS = (
    "*Written by mergegate at each change of the champion. A text of your own in its place stays.*"
)


def finish(client: Any, name: str) -> None:
    """Bring alias and tags to where the last change wants them, until nothing newer came meanwhile."""
    from mlflow.exceptions import MlflowException

    written: Change | None = None
    for _ in range(_ROUNDS):
        now = read_standing(client, name)
        # An alias that differs after we wrote is a slower process's, or was ours and came late.
        ours = written is not None and now.moved_by_hand
        if now.head is None or not (now.open or ours):
            return
        try:
            _write(client, now, now.head)
            written = now.head
        except MlflowException as error:
            if not store.contended(error):
                raise
            time.sleep(random.uniform(0, _PAUSE_S))
    raise EnvironmentFault(
        f"{name}: the champion changed {_ROUNDS} times while this change was finished. Run the command again."
    )


def _write(client: Any, now: Standing, last: Change) -> None:
    """One step towards the last change: the alias, or where it is right, the tags."""
    name, version = last.name, str(last.version)
    if now.alias != last.version:
        if store.digest_of_version(client, name, last.version) is None:
            raise InputError(
                f"{name}: change {last.number} makes version {version} the champion, and that "
                f"version is gone from the registry. `mergegate doctor {name}` says what is left."
            )
        client.set_registered_model_alias(name, CHAMPION, version)
        return  # to look again before anything says that it is finished
    replaced = "" if last.previous is None else str(last.previous)
    client.set_model_version_tag(name, version, CHANGE, str(last.number))
    client.set_model_version_tag(name, version, REPLACES, replaced)
    _describe(client, last)
    client.set_registered_model_tag(name, CHANGE, canonical_json(asdict(last)))
    _tidy(client, name, last.number - 1)


def _describe(client: Any, last: Change) -> None:
    """Let the model's page say which version serves, why, and what that version is; a text by hand stays."""
    model = client.get_registered_model(last.name)
    if model.description and not model.description.endswith(_OURS):
        return
    version = client.get_model_version(last.name, str(last.version))
    head = f"Champion: version {last.version}, since {last.when} ({last.kind} by {last.who}): {last.why}"
    room = DESCRIPTION_LIMIT - len(_OURS) - 4
    said = store.fitting(f"{head}\n\n{version.description or ''}".rstrip(), room)
    client.update_registered_model(last.name, f"{said}\n\n{_OURS}")


def _tidy(client: Any, name: str, number: int) -> None:
    """Take a claim that was followed by another out of the list that MLflow shows."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(title(name, number)) if number else None
    if found is not None and found.lifecycle_stage == "active":
        try:
            client.delete_experiment(found.experiment_id)
        except MlflowException:
            again = client.get_experiment_by_name(title(name, number))
            if again is not None and again.lifecycle_stage == "active":
                raise
