"""What is off between the journal and the registry: each ailment named, with its mending where that is safe.

Looking changes nothing. What a person must decide (bytes that changed, an alias moved by hand, a journal that was
altered) has no `mend`. Of what a release may be busy with, only what is older than YOUNG_S is held to be left over.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import MergegateError
from pipeline.release import store
from pipeline.release.changes import journal_entry, settle
from pipeline.release.journal import Journal
from pipeline.release.registry import MERGE, REFUSAL, ROLLBACK_DIGEST, ROLLBACK_VERSION, UNMERGED
from pipeline.release.standing import Change, changes, read_standing

YOUNG_S = 3600.0


@dataclass(frozen=True)
class Ailment:
    """One thing that is off."""

    code: str  # stable, for programs: "journal-lacks", "champion-moved", ...
    subject: str  # the version, file or run it speaks of
    message: str  # one sentence for a person
    remedy: str = ""  # what a person can do where nothing mends it
    # Does what is safe; None where a person must decide.
    mend: Callable[[], object] | None = field(default=None, compare=False, repr=False)

    def to_json(self) -> dict[str, Any]:
        """The ailment as JSON values; `mendable` says whether `--mend` mends it."""
        shown = {k: v for k, v in vars(self).items() if k != "mend"}
        return {**shown, "mendable": self.mend is not None}


def examine_champion(uri: str, name: str, path: Path | None) -> Iterator[Ailment]:
    """What is off with the champion and its changes; `path`: the journal, None where there is none to look at."""
    with store.connect(uri, existing=True) as client:
        now, known = read_standing(client, name), changes(client, name)
        at = _living(client, name, now.head)
    last = now.head
    if last and now.open:
        yield Ailment(
            "change-open",
            f"change {last.number}",
            f"change {last.number}, to version {last.version} by {last.who} at {last.when}, was claimed "
            "and not finished.",
            mend=lambda: settle(uri, name, path),
        )
    if last and last.number and at is None:
        yield Ailment(
            "champion-gone",
            f"version {last.version}",
            f"version {last.version}, the champion since change {last.number}, was deleted from the registry.",
            "Give the alias champion to a version that is there and whole, then `mergegate doctor --mend --adopt`.",
        )
    elif last and now.moved_by_hand:
        alias = f"version {now.alias}" if now.alias else "no version"
        yield Ailment(
            "champion-moved",
            f"version {now.alias}" if now.alias else "alias champion",
            f"the alias champion is at {alias}; change {last.number} left it at version {last.version}.",
            "--mend --adopt records the move as a change; --mend --restore puts the alias back.",
        )
    if path is not None:
        yield from _journal(name, Journal(path), now.head, known)


def _journal(
    name: str, book: Journal, last: Change | None, known: list[Change]
) -> Iterator[Ailment]:
    entries, faults = book.inspect()
    for fault in faults:
        yield Ailment(
            "journal-altered",
            str(book.path),
            fault,
            f"Restore {book.path} from a backup; or move it away, and --mend writes what the registry knows.",
        )
    if book.torn():
        yield Ailment(
            "journal-torn",
            str(book.path),
            f"{book.path}: its last line was cut off while it was written.",
            mend=book.cut_torn,
        )
    written = {entry["number"]: entry for entry in entries if entry.get("name") == name}
    claims = {change.number: change for change in known}
    if last and last.number:
        claims.setdefault(last.number, last)
    for number, change in claims.items():
        if number not in written:
            yield Ailment(
                "journal-lacks",
                f"change {number}",
                f"{book.path}: lacks change {number}, to version {change.version} by {change.who} at {change.when}.",
                "" if not faults else "First see to what is altered in the journal.",
                mend=None if faults else _adding(book, change),
            )
        elif any(written[number].get(key) != value for key, value in vars(change).items()):
            yield Ailment(
                "journal-differs",
                f"change {number}",
                f"{book.path}: change {number} is to version {written[number].get('version')} by "
                f"{written[number].get('who')} there, and to version {change.version} by {change.who} in the registry.",
                "One of the two was altered or restored from a backup: find out which, and mend it by hand.",
            )
    newest = last.number if last else 0
    for number in sorted(n for n in written if n > newest):
        yield Ailment(
            "registry-lacks",
            f"change {number}",
            f"the registry knows no change {number}; {book.path} has it, to version {written[number].get('version')}.",
            "The registry was restored from an older backup, or is another one: compare registry.uri.",
        )


def _adding(book: Journal, change: Change) -> Callable[[], object]:
    return lambda: book.append({**journal_entry(change), "observed": True})


def _living(client: Any, name: str, last: Change | None) -> str | None:
    return store.digest_of_version(client, name, last.version) if last else None


def examine_versions(uri: str, name: str) -> Iterator[Ailment]:
    """What is off with versions and their ways back, and what interrupted registrations left."""
    with store.connect(uri, existing=True) as client:
        versions = list(store.pages(client.search_model_versions, f"name = '{name}'"))
        experiment = client.get_experiment_by_name(name)
        place = [experiment.experiment_id] if experiment else []
        logged = list(store.pages(client.search_logged_models, place)) if place else []
        running = "attributes.status = 'RUNNING' and tags.`mergegate.kind` = '{}'"
        refusals = client.search_runs(place, running.format(REFUSAL)) if place else []
        ours = [v for v in versions if v.tags.get("mergegate.kind") in (MERGE, UNMERGED)]
        yield from _duplicates(ours)
        for version in ours:
            yield from _way_back(uri, name, version, ours)
            yield from _logged_model(client, version)
        used = {version.tags.get("mergegate.model_id") for version in ours}
        for model in logged:
            if store.RELEASE_DIGEST in model.tags and model.model_id not in used:
                yield _left_model(uri, model)
        for run in refusals:
            yield _left_run(uri, run)


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
        mend=(lambda: _delete_model(uri, model.model_id)) if _old(changed) and not whole else None,
    )


def _left_run(uri: str, run: Any) -> Ailment:
    return Ailment(
        "run-left",
        run.info.run_id,
        f"run {run.info.run_id}, a refusal, was never finished: it was interrupted.",
        _WAIT,
        mend=(lambda: _end_run(uri, run.info.run_id)) if _old(run.info.start_time) else None,
    )


_WAIT = (
    "It is younger than an hour, and a release may be at it: run that release again, or look later."
)


def _old(milliseconds: int) -> bool:
    return time.time() - milliseconds / 1000 > YOUNG_S


def _delete_model(uri: str, model_id: str) -> None:
    with store.connect(uri, existing=True) as client:
        client.delete_logged_model(model_id)


def _end_run(uri: str, run_id: str) -> None:
    with store.connect(uri, existing=True) as client:
        client.set_terminated(run_id, "KILLED")


def attempted(ailment: Ailment) -> str:
    """Mend it: "" where that succeeded, else why not."""
    if ailment.mend is None:
        return ailment.remedy or "a person must decide"
    try:
        ailment.mend()
    except (MergegateError, OSError) as error:
        return str(error)
    return ""
