"""The sources of a release one by one: each model and each adapter that its references name, once.

What provenance and bill of materials both list.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from pipeline.sources import Reference
from pipeline.sources.reference import is_registry_uri

_HUB_COMMIT = re.compile(r"[0-9a-f]{7,64}")


@dataclass(frozen=True)
class SourceArtifact:
    """A model or an adapter as it was pinned.

    `name` is how references name it, without its revision; `digest` the artifact digest of its folder,
    `files` what that covers ({path: SHA-256}); `base` the name of an adapter's model; `roles` are base
    or the names of the experts that it is.
    """

    name: str
    kind: str  # model or adapter
    revision: str | None
    digest: str
    files: Mapping[str, str]
    licence: str | None
    base: str | None
    roles: tuple[str, ...]

    @property
    def uri(self) -> str | None:
        """Where to fetch it again: a package URL of the hub, a URI of the registry; None for a folder."""
        if self.name.startswith("models:/"):
            return self.name
        if self.revision and _HUB_COMMIT.fullmatch(self.revision):
            return f"pkg:huggingface/{quote(self.name)}@{self.revision}"
        return None


def source_artifacts(record: Mapping[str, Any]) -> list[SourceArtifact]:
    """Every model and adapter that went into a release, sorted by name, each once."""
    roles = _roles(record["rollback"])
    found: dict[tuple[str, str], SourceArtifact] = {}
    for text, pin in record["identity"]["sources"].items():
        for name, kind, side, base in _sides(text, pin):
            found[name, side["digest"]] = SourceArtifact(
                name=name,
                kind=kind,
                revision=side.get("revision"),
                digest=side["digest"],
                files=dict(side.get("files") or {}),
                licence=side.get("licence"),
                base=base,
                roles=tuple(sorted(roles.get(side["digest"], ()))),
            )
    return [found[key] for key in sorted(found)]


def source_digests(record: Mapping[str, Any]) -> dict[str, str]:
    """The artifact digest of every model and adapter that went into a release, by its `pinned_name`."""
    return {pinned_name(one.name, one.revision): one.digest for one in source_artifacts(record)}


def member_digests(unmerged: Mapping[str, Any]) -> dict[str, str]:
    """The artifact digest of the base and of each expert of an unmerged set, named as `source_digests` does."""
    members = [unmerged["base"], *unmerged["experts"].values()]
    return {_member_name(member): member["digest"] for member in members}


def pinned_name(name: str, revision: str | None) -> str:
    """A model or adapter as it was pinned: a hub id with its commit, a version of a registry, or a folder."""
    if revision is None:
        return name
    if not is_registry_uri(name):
        return f"{name}@{revision}"
    model, alias, _ = name.partition("@")
    return f"{model}/{revision}" if alias else name


def _member_name(member: Mapping[str, Any]) -> str:
    reference = Reference.parse(member["reference"])
    name = reference.adapter if member["kind"] == "adapter" else reference.model
    return pinned_name(name or reference.model, member["revision"])


def _sides(
    text: str, pin: Mapping[str, Any]
) -> Iterator[tuple[str, str, Mapping[str, Any], str | None]]:
    """Name, kind, pin and base of the model of a reference, and of each of its adapters."""
    reference = Reference.parse(text)
    yield reference.model, "model", pin["model"], None
    if not reference.adapter:
        return
    pinned = [pin["adapter"], *pin.get("further", ())]
    for one, side in zip(reference.each(), pinned, strict=True):
        if one.adapter:
            yield one.adapter, "adapter", side, reference.model


def _roles(rollback: Mapping[str, Any]) -> dict[str, list[str]]:
    """The roles of each artifact, by its digest."""
    roles: dict[str, list[str]] = {}
    for role, member in {"base": rollback["base"], **rollback["experts"]}.items():
        roles.setdefault(member["digest"], []).append(role)
    return roles
