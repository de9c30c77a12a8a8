"""Provenance of a release: an in-toto statement with SLSA's provenance predicate, in a signed envelope.

Statement: https://in-toto.io/Statement/v1; predicate: https://slsa.dev/provenance/v1. It says what was
made (release.json and the files of the model that ships), from what, how, and by which code.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import CorruptArtifactError, InputError
from pipeline.facts import digest_file, write_json
from pipeline.release import dsse
from pipeline.release.inventory import SourceArtifact, source_artifacts
from pipeline.release.keys import SigningKey, load_public_key
from pipeline.release.record import RECORD, shipped, shipped_files
from pipeline.release.signature import PUBLIC_KEY
from pipeline.sources.folders import read_object

PROVENANCE = "provenance.intoto.json"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
# The fields of externalParameters and internalParameters are documented under this name in docs/release.md.
BUILD_TYPE = "urn:mergegate:build-type:release:v1"
BUILDER = "urn:mergegate:builder:release:v1"


def write_provenance(folder: Path, record: Mapping[str, Any], key: SigningKey) -> None:
    """Write provenance.intoto.json into a release folder whose release.json is written."""
    made = statement(record, digest_file(folder / RECORD))
    write_json(folder / PROVENANCE, dsse.envelope(made, key, keyid=key.fingerprint))


def statement(record: Mapping[str, Any], record_digest: str) -> dict[str, Any]:
    """The statement as JSON values. `record_digest`: SHA-256 of release.json, which holds `record`.

    There are no times in it: what is made again from the same inputs has the same statement.
    """
    identity, versions = record["identity"], record["identity"]["versions"]
    subjects = {RECORD: record_digest, **shipped_files(record)}
    return {
        "_type": dsse.STATEMENT_TYPE,
        "subject": [
            {"name": name, "digest": {"sha256": digest}} for name, digest in subjects.items()
        ],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "name": record["name"],
                    "candidate": record["candidate"],
                    "recipe": identity["recipe"],
                    "seed": identity["seed"],
                    "policy": identity["policy"],
                    "ships": shipped(record),
                },
                "internalParameters": {
                    "versions": dict(versions),
                    "hardware": record.get("environment", {}).get("hardware", {}),
                },
                "resolvedDependencies": [
                    *map(_source, source_artifacts(record)),
                    *(
                        _golden(skill, digest)
                        for skill, digest in sorted(identity["golden"].items())
                    ),
                ],
            },
            "runDetails": {
                "builder": {
                    "id": BUILDER,
                    "version": {
                        key: versions[key] for key in ("mergegate", "code") if key in versions
                    },
                },
                "metadata": {"invocationId": record["release_digest"]},
            },
        },
    }


def provenance_faults(
    folder: Path, record: Mapping[str, Any], trusted: Path | None = None
) -> list[str]:
    """Where provenance.intoto.json is not signed by the key of the folder, or is not of `record`.

    `trusted`: the public key that must have signed, instead of signing.pub. Each fault is «FILE:
    FIELD: what differs».
    """
    try:
        key = load_public_key(trusted or folder / PUBLIC_KEY)
        found = dsse.opened(read_object(folder / PROVENANCE), key)
    except (CorruptArtifactError, InputError) as error:
        return [
            f"{PROVENANCE}: {str(error).removeprefix(f'{folder}/').removeprefix(f'{PROVENANCE}: ')}"
        ]
    expected = statement(record, digest_file(folder / RECORD))
    return [f"{PROVENANCE}: {fault}" for fault in _differences(found, expected, "")]


def _source(artifact: SourceArtifact) -> dict[str, Any]:
    """A resource descriptor; `digest` is the artifact digest, `annotations.files` what it covers."""
    annotations: dict[str, Any] = {
        "kind": artifact.kind,
        "roles": list(artifact.roles),
        "files": dict(artifact.files),
    }
    for name in ("revision", "licence", "base"):
        if value := getattr(artifact, name):
            annotations[name] = value
    uri = {"uri": artifact.uri} if artifact.uri else {}
    return {
        "name": artifact.name,
        **uri,
        "digest": {"sha256": artifact.digest},
        "annotations": annotations,
    }


def _golden(skill: str, digest: str) -> dict[str, Any]:
    return {
        "name": f"golden set of {skill}",
        "digest": {"sha256": digest},
        "annotations": {"kind": "dataset"},
    }


def _differences(found: Any, expected: Any, where: str) -> Iterator[str]:
    """«FIELD: what differs», for every field that is missing, more or different."""
    if isinstance(found, dict) and isinstance(expected, dict):
        for key in sorted({*found, *expected}):
            below = f"{where}.{key}" if where else key
            if key not in found or key not in expected:
                yield f"{below}: is {'missing' if key not in found else 'not of this release'}"
            else:
                yield from _differences(found[key], expected[key], below)
    elif isinstance(found, list) and isinstance(expected, list):
        if len(found) != len(expected):
            yield f"{where}: has {len(found)} entries, {len(expected)} are of this release"
        for number, (one, other) in enumerate(zip(found, expected, strict=False)):
            yield from _differences(one, other, f"{where}[{number}]")
    elif type(found) is not type(expected) or found != expected:
        yield f"{where}: is {found!r:.200}, of this release is {expected!r:.200}"
