"""A rehearsal of one version: every byte read and checked, an unmerged set loaded and asked its probe.

What it saw is kept in the version's tag `mergegate.rehearsed`, so that a rollback under pressure can
tell in seconds that the version is still what was rehearsed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version as version_of
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipeline.errors import CorruptArtifactError, EnvironmentFault
from pipeline.facts import canonical_json, digest_file, read_json
from pipeline.folders import TEMPORARY
from pipeline.release import store
from pipeline.release.bundle import RECORD
from pipeline.release.record import check_record
from pipeline.release.referred import member_folder, referred_members
from pipeline.release.registry import MERGE
from pipeline.release.stored import Fingerprint, artifacts_of, fingerprint
from pipeline.release.unmerged import Answer, read_manifest, rehearse_unmerged
from pipeline.release.wholeness import REHEARSED, expected_files, known
from pipeline.sources import folder_digests

_LIBRARIES = ("mergegate", "torch", "transformers", "peft")


@dataclass(frozen=True)
class Rehearsal:
    """A version that was read as a whole, and for an unmerged set what its experts answered."""

    version: int
    digest: str
    answers: tuple[Answer, ...]
    checked: tuple[str, ...]


def rehearse_version(uri: str, name: str, version: int, cache: Path | None = None) -> Rehearsal:
    """Read a version and check every digest; load an unmerged set and compare it with its probe.

    `cache` is that of `open_source`. Raises InputError where the version is not mergegate's,
    CorruptArtifactError where bytes are not as registered, EnvironmentFault where the bytes are
    right and logits or answers are not.
    """
    with store.connect(uri, existing=True) as client:
        _, kind, digest = known(client, name, version)
        artifacts = artifacts_of(client, name, version)
        with artifacts.whole() as folder, TemporaryDirectory(prefix=TEMPORARY) as scratch:
            hashes = Path(scratch, "hashes.json")  # a new one, so that every byte is read, once
            answers: tuple[Answer, ...] = ()
            members: dict[str, Any] = {}
            if kind == MERGE:
                checked = [verify_merge(folder, digest)]
            else:
                answers = rehearse_unmerged(folder, digest, cache, hashes)
                _check_answers(name, answers)
                checked = ["base, adapters and fine-tunes by digest", *_said(answers)]
                members = _members(client, read_manifest(folder, digest), hashes)
            seen = {"digest": digest, "files": fingerprint(folder), "members": members}
        _remember(client, name, version, seen)
    return Rehearsal(version, digest, answers, tuple(checked))


def verify_merge(folder: Path, digest: str) -> str:
    """Check the artifacts of a merge's version by SHA-256; returns what was checked, in words.

    Raises CorruptArtifactError naming each file that is missing or changed.
    """
    record = read_json(folder / "release" / RECORD)
    check_record(record, f"release/{RECORD}")
    if record["release_digest"] != digest:
        raise CorruptArtifactError(
            f"release/{RECORD}: is that of the release {record['release_digest']}, not of {digest}. "
            "Restore the registry's artifacts from a backup."
        )
    expected = expected_files(record)
    wrong = [
        f"{path} {'changed' if (folder / path).is_file() else 'is missing'}"
        for path, sha in sorted(expected.items())
        if not (folder / path).is_file() or digest_file(folder / path) != sha
    ]
    if wrong:
        raise CorruptArtifactError(
            f"{folder}: not what was released: {', '.join(wrong)}. "
            "Restore the registry's artifacts from a backup, or name another version."
        )
    return f"{len(expected)} files by SHA-256"


def _members(client: Any, manifest: Mapping[str, Any], hashes: Path) -> dict[str, Fingerprint]:
    """Size and SHA-256 of each file of the models that a set refers to on this machine."""
    folders = {n: member_folder(client, m) for n, m in referred_members(manifest).items()}
    return {
        name: {
            path: ((folder / path).stat().st_size, digest)
            for path, digest in folder_digests(folder, hashes).items()
        }
        for name, folder in folders.items()
        if folder is not None
    }


def _remember(client: Any, name: str, version: int, seen: Mapping[str, Any]) -> None:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    said = {**seen, "when": now, "with": {one: version_of(one) for one in _LIBRARIES}}
    text = canonical_json(said)
    if len(text) > store.VERSION_TAG_LIMIT:  # hundreds of files: the models are left out
        text = canonical_json({**said, "members": {}})
    # What still does not fit is not kept; then a rollback rehearses.
    client.set_model_version_tag(
        name, str(version), REHEARSED, text if len(text) <= store.VERSION_TAG_LIMIT else ""
    )


def _said(answers: tuple[Answer, ...]) -> list[str]:
    """What the comparison with the probe rests on, in words."""
    if any(answer.drift is None for answer in answers):
        return ["answers only: this set was registered before logits were kept"]
    drifts = [answer.drift for answer in answers if answer.drift]
    if not drifts:
        return []
    worst = max(drifts, key=lambda drift: drift.largest)
    elsewhere = sorted({what for drift in drifts for what in drift.elsewhere})
    said = (
        f"logits within {worst.largest:.2g} standard deviations, at most {worst.allowed:g} allowed"
    )
    if elsewhere:
        said += f" since {', '.join(elsewhere)} differ from the recording"
    turned = [a.expert for a in answers if a.expected != a.observed]
    return [said, *(f"{expert}: the answer reads otherwise here" for expert in turned)]


def _check_answers(name: str, answers: tuple[Answer, ...]) -> None:
    if wrong := [answer for answer in answers if not answer.agrees]:
        raise EnvironmentFault(
            f"{name}: the rollback target's bytes are as released, "
            f"but it answers differently here ({'; '.join(map(_difference, wrong))}). "
            "Install the library versions that release.json of the champion lists; "
            f"if the new answers will do, move the alias by hand in MLflow and record that with "
            f"`mergegate doctor {name} --mend --adopt`."
        )


def _difference(answer: Answer) -> str:
    said = f"{answer.expert}: {answer.observed!r} instead of {answer.expected!r}"
    if answer.drift is None or answer.drift.within:
        return said
    apart = f"logits {answer.drift.largest:.2g} standard deviations apart"
    text = (
        ""
        if answer.expected == answer.observed
        else f", {answer.observed!r} instead of {answer.expected!r}"
    )
    return f"{answer.expert}: {apart}, at most {answer.drift.allowed:g} allowed{text}"
