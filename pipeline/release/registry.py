"""Registration in MLflow: the unmerged set, the promoted merge, the refusal.

One registered model per release name. Doing any of it twice changes nothing. The champion moves
last, when all that a reader of it will look for is there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipeline.errors import CorruptArtifactError, InputError
from pipeline.facts import canonical_json, digest_of
from pipeline.folders import TEMPORARY
from pipeline.release import runs, store
from pipeline.release.bundle import CARD, read_bundle
from pipeline.release.card import comparison_markdown
from pipeline.release.changes import Change, check_expected, move_champion, settle
from pipeline.release.inventory import member_digests, source_digests
from pipeline.release.page import page_of, page_of_unmerged
from pipeline.release.standing import CHAMPION as CHAMPION
from pipeline.release.unmerged import Probe, write_unmerged
from pipeline.sources import folder_digests

MERGE, UNMERGED = "merge", "unmerged"  # kinds of versions
RELEASED, REFUSAL = "release", "refusal"  # kinds of runs
PROMOTION = "promotion"
ROLLED_BACK = "mergegate.rolled_back"
ARTIFACT_DIGEST = "mergegate.artifact_digest"
SOURCE_DIGESTS = "mergegate.source_digests"
# The release digest but for the champion's scores: what stays when a release is judged against itself.
ESSENCE = "mergegate.essence"
ROLLBACK_VERSION, ROLLBACK_DIGEST = "mergegate.rollback_version", "mergegate.rollback_digest"


def way_back_of(tags: Mapping[str, str]) -> int | None:
    """The version that the rollback tag names; None without one, or where somebody wrote what is no version."""
    number = tags.get(ROLLBACK_VERSION, "")
    is_version = number.isascii() and number.isdecimal() and not store.beyond(number)
    return int(number) if is_version else None


@dataclass(frozen=True)
class Registered:
    """A version of the registered model; `held_back` says why it is not champion, "" if it is."""

    version: int
    held_back: str = ""


@dataclass(frozen=True)
class Champion:
    """The version that the alias `champion` names: its kind, and the digest of the weights judged."""

    version: int
    kind: str
    digest: str


def register_unmerged(
    uri: str,
    name: str,
    unmerged: Mapping[str, Any],
    *,
    base: Path,
    experts: Mapping[str, Path],
    probe: Probe,
) -> int:
    """The version that holds the unmerged set, registered if it is not yet.

    `unmerged`: what `record.unmerged_set` gives, as in release.json under `rollback`. `base`,
    `experts`: the opened folders: an adapter's own, or a full fine-tune's. Adapters are copied;
    models are referred to by reference and digest. The set answers `probe` once, and its answers
    are kept for rehearsals to compare with. Raises CorruptArtifactError where a folder is not what
    the set says.
    """
    with store.connect(uri) as client:
        if found := store.find_version(client, name, unmerged["digest"]):
            return int(found.version)
    with TemporaryDirectory(prefix=TEMPORARY) as scratch:
        folder = Path(scratch)
        write_unmerged(folder, unmerged, base=base, experts=experts, probe=probe)
        page = page_of_unmerged(unmerged)
        with store.connect(uri) as client:
            version = store.ensure_version(
                client,
                name,
                unmerged["digest"],
                UNMERGED,
                _unmerged_tags(unmerged),
                lambda model_id: client.log_model_artifacts(model_id, str(folder)),
                shown=store.Shown(page.description, page.params),
            )
            return int(version.version)


def register_merge(
    uri: str,
    name: str,
    model: Path,
    release: Path,
    *,
    rollback_version: int,
    expected: int | None,
    journal: Path | None = None,
) -> Registered:
    """The version that holds a promoted merge, registered if it is not yet, and made the champion.

    `model`: the folder that ships; `release`: its release folder, see `bundle`. `expected`: the
    number of the champion's last change when the release began, None where there was no champion.
    A version that was rolled back stays down: registering it again does not move the champion; and
    one that is champion stays as it is. Raises InputError unless the verdict promotes,
    CorruptArtifactError where a folder is not what the record says, Overtaken where the champion
    changed since the release began.
    """
    record = read_bundle(release)
    _check_promoted(record, release)
    _check_model(record, model)
    digest, tags = record["release_digest"], _merge_tags(record)
    last = settle(uri, name, journal)
    with store.connect(uri) as client:
        _check_target(client, name, rollback_version, record["rollback"]["digest"])
        if last and _is_champion(client, last, tags):
            return Registered(last.version)
        found = store.find_version(client, name, digest)
        if found:
            _check_way_back(client, name, found)
        else:
            check_expected(name, last, expected, PROMOTION)  # before gigabytes are uploaded

        def upload(model_id: str) -> None:
            client.log_model_artifacts(model_id, str(model))
            client.log_model_artifact(model_id, str(release / CARD))
            client.log_model_artifacts(model_id, str(release), "release")

        page, place = page_of(record, rollback_version), store.ensure_experiment(client, name)
        run = runs.find_run(client, place, digest)
        if run is None and found is None:
            title = f"promoted {record['candidate']}"
            run = runs.create_run(client, place, digest, kind=RELEASED, title=title, tags=tags)
        tags = {**tags, ROLLBACK_VERSION: str(rollback_version)}
        shown = store.Shown(page.description, page.params, run.info.run_id if run else None)
        version = store.ensure_version(client, name, digest, MERGE, tags, upload, shown=shown)
        if run and run.info.status != runs.FINISHED:
            runs.fill(client, run, page, version.tags["mergegate.model_id"])
            runs.finish(client, run)
        if why := _taken_down(client, version):
            return Registered(int(version.version), why)
    move_champion(
        uri,
        name,
        int(version.version),
        expected=expected,
        kind=PROMOTION,
        why=record["verdict"]["sentence"],
        release_digest=digest,
        journal=journal,
    )
    return Registered(int(version.version))


def same_weights(client: Any, version: Any) -> list[Any]:
    """The versions of a merge whose shipped weights are those of `version`, itself among them, by number."""
    digest = version.tags.get(ARTIFACT_DIGEST)
    named = f"name = '{version.name}' and tags.`{ARTIFACT_DIGEST}` = '{digest}'"
    found = store.pages(client.search_model_versions, named) if digest else [version]
    merges = [one for one in found if one.tags.get("mergegate.kind") == MERGE]
    return sorted(merges, key=lambda one: int(one.version))


def _taken_down(client: Any, version: Any) -> str:
    """Why a version must not become champion by itself: it, or one of the same weights, was rolled back; "" where not.

    By the weights, since the same bytes get another release digest from a policy or a golden set that was edited.
    """
    for one in reversed(same_weights(client, version)):
        if why := one.tags.get(ROLLED_BACK):
            which = (
                "it"
                if one.version == version.version
                else f"version {one.version}, the same weights,"
            )
            return f"{which} was rolled back: {why}"
    return ""


def log_refusal(uri: str, name: str, release: Path) -> str:
    """The id of the run that keeps a refused candidate's release folder; never a version."""
    record = read_bundle(release)
    digest = record["release_digest"]
    with store.connect(uri) as client:
        experiment = store.ensure_experiment(client, name)
        run = runs.find_run(client, experiment, digest)
        if run is None:
            title, tags = f"refused {record['candidate']}", _merge_tags(record)
            run = runs.create_run(client, experiment, digest, kind=REFUSAL, title=title, tags=tags)
        # A run that was interrupted is still RUNNING; it is filled again.
        if run.info.status != runs.FINISHED:
            runs.fill(client, run, page_of(record, None))
            client.log_artifacts(run.info.run_id, str(release))
            runs.finish(client, run)
        return str(run.info.run_id)


def refused_at(uri: str, name: str, digest: str) -> str:
    """When the refusal of the release with this digest was logged, ISO 8601 in UTC; "" where it was not yet."""
    with store.connect(uri) as client:
        found = runs.find_run(client, store.ensure_experiment(client, name), digest)
    if found is None or found.info.status != runs.FINISHED:
        return ""
    ended = datetime.fromtimestamp(found.info.end_time / 1000, UTC)
    return ended.isoformat(timespec="seconds")


def champion(uri: str, name: str) -> Champion | None:
    """The champion of model `name`; None where there is none yet."""
    with store.connect(uri) as client:
        found = client.search_registered_models(f"name = '{name}'")
        alias = found[0].aliases.get(CHAMPION) if found else None
        if alias is None:
            return None
        tags = client.get_model_version(name, str(alias)).tags
    return Champion(int(alias), tags.get("mergegate.kind", ""), tags.get(ARTIFACT_DIGEST, ""))


def _check_promoted(record: Mapping[str, Any], release: Path) -> None:
    verdict = record["verdict"]
    if verdict["outcome"] != "promote":
        raise InputError(
            f"{release}: the verdict is «{verdict['sentence']}», "
            "and only a promoted merge becomes a version. Log it as a refusal."
        )


def _check_model(record: Mapping[str, Any], model: Path) -> None:
    expected, found = record["quantized_files"] or {}, folder_digests(model)
    if CARD in found:
        raise CorruptArtifactError(
            f"{model / CARD}: the model card would take its place. "
            "Remove the file and quantize again."
        )
    different = sorted(n for n in {*expected, *found} if expected.get(n) != found.get(n))
    if different or digest_of(found) != record["identity"]["quantized"]:
        raise CorruptArtifactError(
            f"{model}: not the bytes that were judged; these files differ: {', '.join(different)}. "
            "Run `mergegate release` again, so that they are judged."
        )


def _is_champion(client: Any, last: Change, tags: Mapping[str, str]) -> bool:
    """Whether the champion is this very release, judged against itself or against what it replaced."""
    if store.digest_of_version(client, last.name, last.version) != last.release_digest:
        return False
    known = client.get_model_version(last.name, str(last.version)).tags
    return known.get(ESSENCE) == tags[ESSENCE] and ROLLED_BACK not in known


def _check_target(client: Any, name: str, version: int, digest: str) -> None:
    found = store.digest_of_version(client, name, version)
    if found != digest:
        is_now = "there is no such version" if found is None else f"its digest is {found}"
        raise InputError(
            f"Version {version} of {name} is not the unmerged set of this release: "
            f"{is_now}, the release names {digest}. Register the unmerged set first."
        )


def _check_way_back(client: Any, name: str, version: Any) -> None:
    """Raise InputError where the rollback target that a version names is gone, or another."""
    target, digest = way_back_of(version.tags), version.tags.get(ROLLBACK_DIGEST)
    if not (target and digest) or store.digest_of_version(client, name, target) != digest:
        raise InputError(
            f"{name} version {version.version}: its way back, version "
            f"{version.tags.get(ROLLBACK_VERSION)}, was deleted or changed in MLflow. "
            f"`mergegate doctor {name}` says what is left of it, and mends it where it can."
        )


def _unmerged_tags(unmerged: Mapping[str, Any]) -> dict[str, str]:
    return {
        "mergegate.base": unmerged["base"]["reference"],
        ARTIFACT_DIGEST: unmerged["digest"],
        SOURCE_DIGESTS: canonical_json(member_digests(unmerged)),
    }


def _merge_tags(record: Mapping[str, Any]) -> dict[str, str]:
    identity, method = record["identity"], record["method"]
    return {
        "mergegate.candidate": record["candidate"],
        "mergegate.recipe": identity["recipe"]["text"],
        "mergegate.recipe_digest": identity["recipe"]["digest"],
        SOURCE_DIGESTS: canonical_json(source_digests(record)),
        "mergegate.outcome": record["verdict"]["outcome"],
        "mergegate.verdict": canonical_json(record["verdict"]),
        "mergegate.comparison": comparison_markdown(record),
        "mergegate.method_rationale": "\n".join(text for text in method.values() if text),
        ARTIFACT_DIGEST: identity["quantized"] or "",
        ESSENCE: digest_of({**identity, "samples": _others(identity["samples"])}),
        ROLLBACK_DIGEST: record["rollback"]["digest"],
    }


def _others(samples: Mapping[str, str]) -> dict[str, str]:
    """The digests of all scores but the champion's, which another release of the same merge finds changed."""
    return {variant: digest for variant, digest in samples.items() if variant != CHAMPION}
