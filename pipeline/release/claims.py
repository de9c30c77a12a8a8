"""The claim on the number of a change: one process gets it, and the others are told who was first."""

from __future__ import annotations

import uuid
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from pipeline.errors import EnvironmentFault
from pipeline.facts import canonical_json
from pipeline.redaction import redacted
from pipeline.release.person import WHY_LIMIT, who
from pipeline.release.standing import CHANGE, Change, read_claim, read_standing, title


class Overtaken(EnvironmentFault):
    """Another change came first, so this one was not made. Trying the same again cannot help."""


def check_expected(name: str, last: Change | None, expected: int | None, kind: str) -> None:
    """Raise Overtaken unless the last change is number `expected` (None: there is none)."""
    if (last.number if last else None) != expected:
        raise _overtaken(name, last, kind)


def next_change(
    name: str,
    version: int,
    before: Change | None,
    kind: str,
    why: str,
    digest: str,
    mark: str = "",
) -> Change:
    """The change that follows `before`, not claimed yet: by whom and when is said here, `why` is cut and redacted.

    `mark`: its `claim`, drawn where it is empty.
    """
    return Change(
        name=name,
        number=(before.number if before else 0) + 1,
        version=version,
        previous=before.version if before else None,
        kind=kind,
        why=redacted(why)[:WHY_LIMIT],
        who=who(),
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        release_digest=digest,
        claim=mark or uuid.uuid4().hex,
        follows=before.claim if before else "",
    )


def is_at(change: Change, version: int, digest: str) -> bool:
    """Whether a change leads to this version of this release digest."""
    return (change.version, change.release_digest) == (version, digest)


def make_claim(client: Any, wanted: Change) -> Change:
    """`wanted`, made; or the change by another to the same version. Raises Overtaken where it is another."""
    from mlflow.exceptions import MlflowException

    mine = title(wanted.name, wanted.number)
    try:
        client.create_experiment(
            mine, tags={"mergegate.kind": "change", CHANGE: canonical_json(asdict(wanted))}
        )
    except MlflowException:
        # A request that was repeated after a lost answer meets its own experiment.
        found = client.get_experiment_by_name(mine)
        change = read_claim(found, wanted.name) if found else None
        if change is None:
            raise
        if change.claim != wanted.claim:
            last = read_standing(client, wanted.name).head
            if last and is_at(last, wanted.version, wanted.release_digest):
                return last
            raise _overtaken(wanted.name, last, wanted.kind) from None
    now = read_standing(client, wanted.name)
    last, done = now.head, now.finished
    freed = done is not None and done.number == wanted.number and done.claim != wanted.claim
    if not freed and (last is None or last.number <= wanted.number):
        return wanted
    # `mlflow gc` may have freed a number long past; a change that follows this one proves it was not so.
    later = client.get_experiment_by_name(title(wanted.name, wanted.number + 1))
    follower = read_claim(later, wanted.name) if later else None
    if follower is None or follower.follows != wanted.claim:
        client.delete_experiment(client.get_experiment_by_name(mine).experiment_id)
        raise _overtaken(wanted.name, done if freed else last, wanted.kind)
    return wanted


def _overtaken(name: str, by: Change | None, kind: str) -> Overtaken:
    if by is None:
        return Overtaken(
            f"{name}: the champion that was there is gone meanwhile. Run the command again."
        )
    moment = f"by {by.who} at {by.when}" if by.who else "before changes were recorded"
    again = (
        "run `mergegate release` again: it will be judged against it"
        if kind == "promotion"
        else "look at `mergegate status`, and run the command again if it still is what you want"
    )
    return Overtaken(
        f"{name}: another release became champion meanwhile (version {by.version}, {moment}); {again}."
    )
