"""Whether the artifacts of the champion and of its rollback target are there, byte for byte as registered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import unquote, urlparse

from pipeline.errors import CorruptArtifactError, InputError
from pipeline.folders import TEMPORARY
from pipeline.release import store
from pipeline.release.bundle import CARD, read_bundle
from pipeline.release.doctor import Ailment
from pipeline.release.registry import MERGE, UNMERGED, way_back_of
from pipeline.release.standing import CHAMPION
from pipeline.release.unmerged import adapter_folder, read_manifest
from pipeline.sources import artifact_digest, folder_digests

_RELEASE = "release"


def examine_contents(uri: str, name: str) -> Iterator[Ailment]:
    """What is off with the bytes of the champion and of its way back.

    A local store is read in place; the artifacts of a server are fetched into a temporary folder.
    """
    with store.connect(uri, existing=True) as client:
        model = next(iter(client.search_registered_models(f"name = '{name}'")), None)
        alias = model.aliases.get(CHAMPION) if model else None
        if alias is None:
            return
        champion = client.get_model_version(name, str(alias))
        yield from _examine(client, uri, champion, "champion")
        target = way_back_of(champion.tags)
        if target and store.digest_of_version(client, name, target) is not None:
            yield from _examine(client, uri, client.get_model_version(name, str(target)), "target")


def _examine(client: Any, uri: str, version: Any, role: str) -> Iterator[Ailment]:
    source = client.get_model_version_download_uri(version.name, version.version)
    subject = f"version {version.version}"
    with TemporaryDirectory(prefix=TEMPORARY) as scratch:
        folder = _fetched(uri, source, Path(scratch))
        if folder is None:
            yield Ailment(
                f"{role}-bytes-gone",
                subject,
                f"{subject}, the {role}: its artifacts are gone from {source}.",
                "Restore the registry's artifacts from a backup, or release again.",
            )
            return
        for fault in _faults(folder, version):
            yield Ailment(
                f"{role}-bytes-changed",
                subject,
                f"{subject}, the {role}: {fault}",
                "Restore the registry's artifacts from a backup; of two, `mergegate rollback` goes to the sound one.",
            )


def _fetched(uri: str, source: str, scratch: Path) -> Path | None:
    """The folder of a version's artifacts; None where it holds nothing."""
    if "://" not in source and not source.startswith("mlflow-artifacts:"):
        folder = Path(source)
    elif source.startswith("file://"):
        folder = Path(unquote(urlparse(source).path))
    else:
        from mlflow.artifacts import download_artifacts
        from mlflow.exceptions import MlflowException

        try:
            folder = Path(download_artifacts(source, dst_path=str(scratch), tracking_uri=uri))
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
    return folder if folder.is_dir() and any(folder.iterdir()) else None


def _faults(folder: Path, version: Any) -> Iterator[str]:
    kind, digest = version.tags.get("mergegate.kind"), version.tags.get(store.RELEASE_DIGEST, "")
    try:
        if kind == MERGE:
            yield from _merge_faults(folder, digest)
        elif kind == UNMERGED:
            yield from _unmerged_faults(folder, digest)
    except (InputError, CorruptArtifactError) as error:
        yield str(error)


def _merge_faults(folder: Path, digest: str) -> Iterator[str]:
    record = read_bundle(folder / _RELEASE)
    if record["release_digest"] != digest:
        yield f"release.json is of the release {record['release_digest']}, the version's tag names {digest}."
    expected = record["quantized_files"] or {}
    found = {
        file: sha
        for file, sha in folder_digests(folder).items()
        if file != CARD and not file.startswith(f"{_RELEASE}/")
    }
    for file in sorted({*expected, *found}):
        if file not in found:
            yield f"{file} is missing."
        elif file not in expected:
            yield f"{file} is no part of what was judged."
        elif found[file] != expected[file]:
            yield f"{file}: its SHA-256 is {found[file]}, and {expected[file]} was judged."


def _unmerged_faults(folder: Path, digest: str) -> Iterator[str]:
    manifest = read_manifest(folder, digest)
    for name, member in manifest["experts"].items():
        place = adapter_folder(folder, name)
        if member["kind"] != "adapter":
            continue  # a full fine-tune is referred to, not copied: see `doctor_sources`
        if not place.is_dir():
            yield f"adapters/{name} is missing."
        elif (found := artifact_digest(place)) != member["digest"]:
            yield f"adapters/{name} has the digest {found}, and {member['digest']} was registered."
