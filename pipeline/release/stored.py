"""The artifacts of a registered version: names and sizes at once, bytes only where they are asked for.

All of it is to be used inside `store.connect`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

from pipeline.errors import EnvironmentFault
from pipeline.facts import digest_file
from pipeline.folders import TEMPORARY

# Files up to this size are hashed where time matters: configuration, tokenizers, indexes, manifests.
SMALL = 1 << 20  # bytes

# {path in the folder, with /: (size in bytes, SHA-256 of a small file, "" of a larger one)}
Fingerprint = dict[str, tuple[int, str]]


@dataclass(frozen=True)
class Artifacts:
    """Where a version's artifacts are; `folder` where that is a folder of this machine."""

    source: str
    folder: Path | None

    def sizes(self) -> dict[str, int]:
        """The size in bytes of every file, by its path with /. Reads no content."""
        if self.folder is not None:
            return sizes_in(self.folder)
        return dict(_listed(_repository(self.source), None))

    @contextmanager
    def file(self, path: str) -> Iterator[Path]:
        """One file, fetched for the length of the block where it is not on this machine."""
        if self.folder is not None:
            yield self.folder / path
            return
        with _scratch() as scratch:
            yield Path(_repository(self.source).download_artifacts(path, dst_path=scratch))

    @contextmanager
    def whole(self) -> Iterator[Path]:
        """The folder with all of them, fetched for the length of the block where it is not here."""
        if self.folder is not None:
            yield self.folder
            return
        with _scratch() as scratch:
            yield self.fetch(Path(scratch))

    def fetch(self, into: Path) -> Path:
        """Copy all of them into the folder `into`, from wherever they are; returns `into`."""
        if self.folder is not None:
            shutil.copytree(self.folder, into, dirs_exist_ok=True)
        else:
            _repository(self.source).download_artifacts("", dst_path=str(into))
        return into


def artifacts_of(client: Any, name: str, version: int) -> Artifacts:
    """The artifacts of a version, here or at a server."""
    return artifacts_at(str(client.get_model_version_download_uri(name, str(version))))


def artifacts_at(source: str) -> Artifacts:
    """The artifacts at a URI of MLflow's: of a run, a logged model or a version."""
    return Artifacts(source, local_folder(source))


def sizes_in(folder: Path) -> dict[str, int]:
    """The size in bytes of every file below `folder`, by its path with /; none where it is missing."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in sorted(files)}


def fingerprint(folder: Path) -> Fingerprint:
    """What can be looked at in seconds whatever the size of the model."""
    return {
        path: (size, digest_file(folder / path) if size <= SMALL else "")
        for path, size in sizes_in(folder).items()
    }


def fingerprint_faults(artifacts: Artifacts, expected: Mapping[str, Any]) -> list[str]:
    """What differs from a fingerprint, a line for each file: missing, of another size, changed, added."""
    sizes = artifacts.sizes()
    faults = [
        f"{path}: {fault}"
        for path, (size, digest) in sorted(expected.items())
        if (fault := _fault(artifacts, sizes, path, size, digest))
    ]
    return faults + [f"{path}: was not there before" for path in sorted(sizes.keys() - expected)]


def _fault(
    artifacts: Artifacts, sizes: Mapping[str, int], path: str, size: int, digest: str
) -> str:
    if path not in sizes:
        return "is missing"
    if sizes[path] != size:
        return f"has {sizes[path]:,} bytes instead of {size:,}"
    if not digest:
        return ""
    with artifacts.file(path) as file:
        return "" if digest_file(file) == digest else "changed"


@contextmanager
def _scratch() -> Iterator[str]:
    try:
        with TemporaryDirectory(prefix=TEMPORARY) as scratch:
            yield scratch
    except OSError as error:
        raise EnvironmentFault(
            f"{error.filename or 'The registry'}: {error.strerror or error}, while artifacts were fetched. "
            "Make room, or set TMPDIR to a folder on a larger disk, and run the command again."
        ) from error


def local_folder(source: str) -> Path | None:
    """The folder of this machine that an artifact URI names; None where it names a server or a bucket."""
    parts = urlsplit(source)
    if parts.scheme not in ("", "file"):
        return None
    from mlflow.utils.file_utils import local_file_uri_to_path

    return Path(local_file_uri_to_path(source))


def _repository(source: str) -> Any:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    return get_artifact_repository(source)


def _listed(repository: Any, folder: str | None) -> Iterator[tuple[str, int]]:
    for found in repository.list_artifacts(folder):
        if found.is_dir:
            yield from _listed(repository, found.path)
        else:
            yield found.path, int(found.file_size or 0)
