"""What says that a model's registry is another one by now, or is not whole yet: tags that `move` writes.

They stand at the registered model, or at the experiment NAME where nothing was ever promoted. Who writes to a
registry asks `check_home` first, so that no release goes to a registry that a team has left, or to half a copy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.errors import InputError

MOVED_TO = "mergegate.moved_to"  # in the old registry: the redacted URI of the new one
UNFINISHED = "mergegate.move_unfinished"  # in the new one until the copy is verified: the old one
MOVED_FROM = "mergegate.moved_from"  # in the new one: the redacted URI of the old one
MOVED_SOURCE = "mergegate.moved_source"  # on all that was copied: which registry it was copied from
MOVED_ID = "mergegate.moved_id"  # of a run and a logged model: its id in the old registry
MOVED_GAP = "mergegate.moved_gap"  # of the model: the highest number that was left out at its end
CREATED = (
    "mergegate.created"  # of a version: when it was registered first, as MLflow sets its own time
)

STATE = frozenset({MOVED_TO, UNFINISHED, MOVED_GAP})  # they change while a model is moved
OURS = STATE | {MOVED_FROM, MOVED_SOURCE, MOVED_ID, MOVED_GAP}


def marks(client: Any, name: str) -> dict[str, str]:
    """The tags above that the model has, inside `store.connect`; none where it was never moved."""
    model, experiment = _bearers(client, name)
    found = model or experiment
    return {key: value for key, value in (found.tags if found else {}).items() if key in OURS}


def set_mark(client: Any, name: str, key: str, value: str) -> None:
    """Set one of the marks at the model, or at the experiment where there is no model."""
    model, experiment = _bearers(client, name)
    if model:
        client.set_registered_model_tag(name, key, value)
    else:
        client.set_experiment_tag(experiment.experiment_id, key, value)


def take_mark(client: Any, name: str, key: str) -> None:
    """Take one of the marks away, wherever it is."""
    model, experiment = _bearers(client, name)
    if experiment and key in experiment.tags:
        client.delete_experiment_tag(experiment.experiment_id, key)
    if model and key in model.tags:  # last, since readers look there first
        client.delete_registered_model_tag(name, key)


def _bearers(client: Any, name: str) -> tuple[Any, Any]:
    """The registered model and the experiment that bear the marks; None for what is not there."""
    model = next(iter(client.search_registered_models(f"name = '{name}'")), None)
    titles = (name, f"{name} ledger")  # who only ever judged has the second alone
    found = (client.get_experiment_by_name(title) for title in titles)
    return model, next((experiment for experiment in found if experiment), None)


def check_home(client: Any, name: str) -> None:
    """Raise InputError where the model was moved to another registry, or is here as an unfinished copy."""
    found = marks(client, name)
    if to := found.get(MOVED_TO):
        raise InputError(
            f"{name}: was moved to another registry, {to}, so nothing is released, judged or rolled back here. "
            "Set registry.uri of params.yaml to that one. To go on here all the same, remove the tag "
            f"{MOVED_TO} of the registered model in MLflow."
        )
    if source := found.get(UNFINISHED):
        raise InputError(
            f"{name}: this registry holds an unfinished copy of {source}. Run `mergegate registry move` again "
            "in the workspace of that one: it goes on where it was."
        )


def created_of(tags: Mapping[str, str], own: int) -> int:
    """When a version was registered, in milliseconds since 1970 (UTC): as its tag says, else `own`, MLflow's time."""
    text = tags.get(CREATED, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else own
