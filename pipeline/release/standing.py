"""Where a model's champion stands in MLflow: the last change that was claimed, what is finished, what readers see.

`changes` says how they come about. Reading changes nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from pipeline.errors import CorruptArtifactError
from pipeline.release import store

CHAMPION = "champion"
CHANGE, REPLACES = "mergegate.change", "mergegate.replaces"
FOUND = "found"  # the kind of a champion that was there before changes were numbered


@dataclass(frozen=True)
class Change:
    """One change of the champion: to which version, from which, why, by whom and when."""

    name: str
    number: int  # 1 for the first; 0 for a champion that was there before changes were numbered
    version: int
    previous: int | None  # the version that was champion before, None where there was none
    kind: str  # promotion, rollback, adopted, found
    why: str
    who: str
    when: str  # ISO 8601 in UTC, to the second
    release_digest: str
    claim: str = ""  # drawn for this attempt: tells it from another one with the same content
    follows: str = ""  # the `claim` of the change before it


@dataclass(frozen=True)
class Standing:
    """Where a model's champion stands: what was claimed, what was finished, and what readers see."""

    head: Change | None  # the last change; None where there is no champion yet
    finished: Change | None  # the last change whose tags are written
    alias: int | None  # the version that the alias names
    digest: str | None  # its release digest

    @property
    def open(self) -> bool:
        """Whether the last change was claimed, and not finished.

        By its number: a tag that was edited does not make a finished change an open one, which the next
        command would finish without a word.
        """
        if self.head is None or self.head.number == 0:
            return False
        return self.finished is None or self.finished.number != self.head.number

    @property
    def moved_by_hand(self) -> bool:
        """Whether the alias is not where the last change left it."""
        if self.head is None or self.open:
            return False
        return (self.alias, self.digest) != (self.head.version, self.head.release_digest)


def read_standing(client: Any, name: str) -> Standing:
    """Where the champion of model `name` stands. Raises CorruptArtifactError where a claim was edited."""
    # The claim is read after the alias: an alias that a newer change has moved then finds that change.
    model = next(iter(client.search_registered_models(f"name = '{name}'")), None)
    alias = model.aliases.get(CHAMPION) if model else None
    digest = store.digest_of_version(client, name, int(alias)) if alias else None
    finished = _parse(model.tags[CHANGE], name) if model and CHANGE in model.tags else None
    last = last_change(client, name, finished)
    if last is None and alias:
        last = Change(name, 0, int(alias), None, FOUND, "", "", "", digest or "")
    return Standing(last, finished, int(alias) if alias else None, digest)


def last_change(client: Any, name: str, finished: Change | None) -> Change | None:
    """The change with the highest number: from the last finished one on, by name.

    Its claim counts where it is still there, and not the tag that repeats it.
    """
    if finished is None:
        known = changes(client, name)
        last = known[-1] if known else None
    else:
        last = change_at(client, name, finished.number) or finished
    while found := client.get_experiment_by_name(title(name, (last.number if last else 0) + 1)):
        last = read_claim(found, name)
        if last is None:
            raise unreadable(found)
    return last


def changes(client: Any, name: str) -> list[Change]:
    """Every change that the registry still knows, oldest first; what is gone from it is passed over."""
    from mlflow.entities import ViewType

    found: dict[int, Change] = {}
    token = None
    while True:
        page = client.search_experiments(
            view_type=ViewType.ALL,
            filter_string=f"name LIKE '{title(name, '')}%'",
            max_results=1000,
            page_token=token,
        )
        for experiment in page:
            if change := read_claim(experiment, name):
                found[change.number] = change
        token = page.token
        if not token:
            return [found[number] for number in sorted(found)]


def change_at(client: Any, name: str, number: int) -> Change | None:
    """The change of that number; None where the registry no longer knows it."""
    found = client.get_experiment_by_name(title(name, number))
    return read_claim(found, name) if found else None


def title(name: str, number: int | str) -> str:
    """The name of the experiment that claims a change; no model's name holds a space."""
    return f"{name} champion {number}"


def read_claim(experiment: Any, name: str) -> Change | None:
    """The change that an experiment claims; None where it is no claim on this model's champion."""
    number = experiment.name.removeprefix(title(name, ""))
    if CHANGE not in experiment.tags or not number.isdigit() or number == experiment.name:
        return None
    change = _parse(experiment.tags[CHANGE], name)
    if change.number != int(number):
        raise unreadable(experiment)
    return change


def _parse(text: str, name: str) -> Change:
    try:
        change = Change(**json.loads(text))
        whole = _whole(change)
    except (RecursionError, TypeError, ValueError):
        whole = False
    if not whole:
        raise CorruptArtifactError(
            f"{name}: a change of the champion is not as it was written: {text[:80]!r}. Set the tag "
            f"{CHANGE} back, or restore the store from a backup."
        )
    return replace(change, name=name)


def _whole(change: Change) -> bool:
    """Whether each field is of its kind, and the time one with a zone: an edited tag may hold anything."""
    numbers = (change.number, change.version, 0 if change.previous is None else change.previous)
    texts = {**vars(change), "name": ""}
    for key in ("number", "version", "previous"):
        del texts[key]
    if any(type(number) is not int or number < 0 for number in numbers):
        return False
    if not all(isinstance(text, str) for text in texts.values()):
        return False
    return datetime.fromisoformat(change.when).tzinfo is not None


def unreadable(experiment: Any) -> CorruptArtifactError:
    """What to raise for an experiment that is called like a claim and is none."""
    return CorruptArtifactError(
        f"experiment «{experiment.name}»: holds no change of the champion, though its name says so. "
        "Rename it in MLflow, or restore the store from a backup."
    )
