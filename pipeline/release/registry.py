"""Registration in MLflow: the unmerged set, the promoted merge, the refusal.

One registered model per release name. Doing any of it twice changes nothing. The champion moves
last, when all that a reader of it will look for is there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipeline.errors import CorruptArtifactError, InputError
from pipeline.facts import canonical_json, digest_of
from pipeline.release import store
from pipeline.release.bundle import CARD, read_bundle
from pipeline.release.card import comparison_markdown
from pipeline.release.unmerged import Probe, write_unmerged
from pipeline.sources import folder_digests

CHAMPION = "champion"
MERGE, UNMERGED, REFUSAL = "merge", "unmerged", "refusal"
ROLLED_BACK = "mergegate.rolled_back"
ARTIFACT_DIGEST = "mergegate.artifact_digest"
ROLLBACK_VERSION, ROLLBACK_DIGEST = "mergegate.rollback_version", "mergegate.rollback_digest"


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
    with TemporaryDirectory(prefix="mergegate-") as scratch:
        folder = Path(scratch)
        write_unmerged(folder, unmerged, base=base, experts=experts, probe=probe)
        with store.connect(uri) as client:
            version = store.ensure_version(
                client,
                name,
                unmerged["digest"],
                UNMERGED,
                _unmerged_tags(unmerged),
                lambda model_id: client.log_model_artifacts(model_id, str(folder)),
            )
            return int(version.version)


def register_merge(
    uri: str,
    name: str,
    model: Path,
    release: Path,
    *,
    rollback_version: int,
) -> Registered:
    """The version that holds a promoted merge, registered if it is not yet, and made the champion.

    `model`: the folder that ships; `release`: its release folder, see `bundle`. A version that was
    rolled back stays down: registering it again does not move the champion. Raises InputError
    unless the verdict promotes, and CorruptArtifactError where a folder is not what the record
    says.
    """
    record = read_bundle(release)
    _check_promoted(record, release)
    _check_model(record, model)
    with store.connect(uri) as client:
        _check_target(client, name, rollback_version, record["rollback"]["digest"])

        def upload(model_id: str) -> None:
            client.log_model_artifacts(model_id, str(model))
            client.log_model_artifact(model_id, str(release / CARD))
            client.log_model_artifacts(model_id, str(release), "release")

        tags = {**_merge_tags(record), ROLLBACK_VERSION: str(rollback_version)}
        digest = record["release_digest"]
        version = store.ensure_version(client, name, digest, MERGE, tags, upload)
        if why := version.tags.get(ROLLED_BACK):
            return Registered(int(version.version), f"it was rolled back: {why}")
        client.set_registered_model_alias(name, CHAMPION, version.version)
        return Registered(int(version.version))


def log_refusal(uri: str, name: str, release: Path) -> str:
    """The id of the run that keeps a refused candidate's release folder; never a version."""
    record = read_bundle(release)
    digest = record["release_digest"]
    with store.connect(uri) as client:
        experiment = store.ensure_experiment(client, name)
        found = client.search_runs([experiment], f"tags.`{store.RELEASE_DIGEST}` = '{digest}'")
        run = found[0] if found else _create_run(client, experiment, record)
        # A run that was interrupted is still RUNNING; it is filled again.
        if run.info.status != "FINISHED":
            client.log_artifacts(run.info.run_id, str(release))
            client.set_terminated(run.info.run_id, "FINISHED")
        return str(run.info.run_id)


def champion(uri: str, name: str) -> Champion | None:
    """The champion of model `name`; None where there is none yet."""
    with store.connect(uri) as client:
        found = client.search_registered_models(f"name = '{name}'")
        alias = found[0].aliases.get(CHAMPION) if found else None
        if alias is None:
            return None
        tags = client.get_model_version(name, str(alias)).tags
    return Champion(int(alias), tags.get("mergegate.kind", ""), tags.get(ARTIFACT_DIGEST, ""))


def _create_run(client: Any, experiment: str, record: Mapping[str, Any]) -> Any:
    tags = {key: store.fitting(v, store.RUN_TAG_LIMIT) for key, v in _merge_tags(record).items()}
    tags |= {store.RELEASE_DIGEST: record["release_digest"], "mergegate.kind": REFUSAL}
    return client.create_run(experiment, run_name=f"refused {record['candidate']}", tags=tags)


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


def _check_target(client: Any, name: str, version: int, digest: str) -> None:
    found = client.get_model_version(name, str(version)).tags.get(store.RELEASE_DIGEST)
    if found != digest:
        raise InputError(
            f"Version {version} of {name} is not the unmerged set of this release: "
            f"its digest is {found}, the release names {digest}. Register the unmerged set first."
        )


def _unmerged_tags(unmerged: Mapping[str, Any]) -> dict[str, str]:
    base, experts = unmerged["base"], unmerged["experts"]
    return {
        "mergegate.base": base["reference"],
        ARTIFACT_DIGEST: unmerged["digest"],
        "mergegate.source_digests": canonical_json(
            {m["reference"]: m["digest"] for m in (base, *experts.values())}
        ),
    }


def _merge_tags(record: Mapping[str, Any]) -> dict[str, str]:
    identity, method = record["identity"], record["method"]
    return {
        "mergegate.candidate": record["candidate"],
        "mergegate.recipe": identity["recipe"]["text"],
        "mergegate.recipe_digest": identity["recipe"]["digest"],
        "mergegate.source_digests": canonical_json(
            {reference: pin["digest"] for reference, pin in identity["sources"].items()}
        ),
        "mergegate.outcome": record["verdict"]["outcome"],
        "mergegate.verdict": canonical_json(record["verdict"]),
        "mergegate.comparison": comparison_markdown(record),
        "mergegate.method_rationale": "\n".join(text for text in method.values() if text),
        ARTIFACT_DIGEST: identity["quantized"] or "",
        ROLLBACK_DIGEST: record["rollback"]["digest"],
    }
