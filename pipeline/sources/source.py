"""From a reference to opened folders: local, from the hub at a commit, or from a registry."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.errors import InputError
from pipeline.sources import hub, registry
from pipeline.sources.adapter import Adapter
from pipeline.sources.checkpoint import Checkpoint
from pipeline.sources.reference import Reference, is_registry_uri

Kind = Literal["local", "hub", "registry"]
CACHE = Path(".mergegate/models")


@dataclass(frozen=True)
class Source:
    """An opened reference. A revision is a hub commit or a registry version, None for a folder.

    `further` are the adapters after the first, each with its revision.
    """

    reference: Reference
    model: Checkpoint
    adapter: Adapter | None
    model_revision: str | None
    adapter_revision: str | None
    further: tuple[tuple[Adapter, str | None], ...] = ()

    @property
    def adapters(self) -> tuple[Adapter, ...]:
        """All adapters, in the order of the reference."""
        return (
            *([self.adapter] if self.adapter else []),
            *(adapter for adapter, _ in self.further),
        )

    @property
    def folders(self) -> tuple[Path, ...]:
        """Every folder that it is read from."""
        return (self.model.folder, *(adapter.folder for adapter in self.adapters))

    def each(self) -> tuple[Source, ...]:
        """The model with each of its adapters by itself; the source as it is where it has one or none."""
        found = [(self.adapter, self.adapter_revision), *self.further]
        return tuple(
            Source(reference, self.model, adapter, self.model_revision, revision)
            for reference, (adapter, revision) in zip(self.reference.each(), found, strict=True)
        )

    @property
    def kind(self) -> Kind:
        """Where the model came from."""
        if is_registry_uri(self.reference.model):
            return "registry"
        return "hub" if self.model_revision else "local"


def open_source(
    reference: Reference, cache: Path | None = None, *, tracking_uri: str | None = None
) -> Source:
    """Fetch what `reference` names, and open it.

    `cache` holds what comes from a registry (default `.mergegate/models`); the hub keeps its own.
    `tracking_uri` names the registry of models:/ references (default: as MLflow is configured).
    Raises InputError for what does not exist or is refused, CorruptArtifactError for damaged files,
    EnvironmentFault where hub or registry cannot be reached.
    """
    place = (cache or CACHE, tracking_uri)
    folder, revision = _locate(reference.model, reference.revision, *place)
    model = Checkpoint.open(folder)
    opened = []
    for one in reference.each() if reference.adapter else ():
        assert one.adapter
        found, adapter_revision = _locate(one.adapter, one.adapter_revision, *place)
        opened.append((Adapter.open(found), adapter_revision))
    first = opened[0] if opened else (None, None)
    return Source(reference, model, first[0], revision, first[1], tuple(opened[1:]))


def _locate(
    text: str, revision: str | None, cache: Path, tracking_uri: str | None
) -> tuple[Path, str | None]:
    """The folder of one side of a reference, fetched where needed, and its pinned revision."""
    if is_registry_uri(text):
        return registry.fetch(text, cache, tracking_uri)
    if _exists(text):
        if revision:
            raise InputError(
                f"{text}@{revision}: is a local folder, which has no revisions. "
                f"Leave @{revision} out."
            )
        return Path(text), None
    if not hub.ID.fullmatch(text):
        raise InputError(
            f"{text:.200}: no such folder, and not a hub id (owner/name). Check the path."
        )
    return hub.fetch(text, revision)


def _exists(text: str) -> bool:
    try:
        return Path(text).exists()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return False
        raise InputError(f"{text}: cannot be opened: {error.strerror}. Check its rights.") from None
