"""Artifacts copied from one registry to another, read again there, and compared by SHA-256."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import CorruptArtifactError, MergegateError
from pipeline.facts import digest_file, read_json
from pipeline.release import store
from pipeline.release.bundle import RECORD
from pipeline.release.registry import MERGE, UNMERGED
from pipeline.release.rehearsal import verify_merge
from pipeline.release.stored import Artifacts, artifacts_at, sizes_in
from pipeline.release.unmerged import read_manifest
from pipeline.release.wholeness import adapter_faults, expected_files


@dataclass(frozen=True)
class Route:
    """From which registry to which, by their URIs."""

    source: str
    target: str


Upload = Callable[[Any, str], None]  # given a client and a folder


def copy_files(
    route: Route,
    place: str,
    goal: str,
    upload: Upload,
    *,
    what: str,
    tags: Mapping[str, str],
) -> None:
    """Copy all artifacts at `place` in the old registry to `goal` in the new one.

    What one of the two keeps elsewhere is fetched into a temporary folder, of one of them at a time. `tags`: of the
    version that has the artifacts, whose record or manifest they are held against before anything is uploaded; {}
    for others. `what` names them in messages. Raises CorruptArtifactError where they are not as registered, and
    where they do not arrive as they were.
    """
    with store.connect(route.source), artifacts_at(place).whole() as folder:
        digests = _checked(folder, tags, what)
        with store.connect(route.target) as client:
            upload(client, str(folder))
    with store.connect(route.target), artifacts_at(goal).whole() as folder:
        arrived = {path: digest_file(folder / path) for path in sizes_in(folder)}
    if wrong := sorted(p for p in {*digests, *arrived} if digests.get(p) != arrived.get(p)):
        raise CorruptArtifactError(
            f"{what}: was copied, and did not arrive as it was: {', '.join(wrong[:10])}. "
            "See to the new registry's artifact store, then run the command again."
        )


def _checked(folder: Path, tags: Mapping[str, str], what: str) -> dict[str, str]:
    """The SHA-256 of each file, of which those that the record names are as it says."""
    kind, digest = tags.get("mergegate.kind"), tags.get(store.RELEASE_DIGEST, "")
    known: dict[str, str] = {}
    try:
        if kind == MERGE:
            verify_merge(folder, digest)
            known = expected_files(read_json(folder / "release" / RECORD))
        elif kind == UNMERGED:
            manifest = read_manifest(folder, digest)
            faults, _ = adapter_faults(Artifacts(str(folder), folder), manifest)
            if faults:
                raise CorruptArtifactError("; ".join(faults))
    except (MergegateError, OSError) as error:
        raise CorruptArtifactError(
            f"{what}: is not as it was registered, so nothing of it was copied: {error}\nPut its artifacts back from "
            "a backup; or delete the version in MLflow, which leaves its number out here and there. "
            "Then run the command again."
        ) from error
    return {path: known.get(path) or digest_file(folder / path) for path in sizes_in(folder)}
