"""The unmerged set among the artifacts of its version: manifest, adapters, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from flows.verify.result import MAX_BYTES, Part, attempt, count, together
from pipeline.errors import CorruptArtifactError
from pipeline.facts import digest_of, read_json
from pipeline.release.bundle import CARD
from pipeline.release.referred import look_at, referred_members
from pipeline.release.unmerged import MANIFEST
from pipeline.sources import artifact_digest

_ADAPTERS = "adapters"


def unmerged_fits(folder: Path, client: Any = None) -> Part:
    """The set in `folder` against its manifest: every adapter by digest, no file beside them.

    Base and full fine-tunes are referred to: what lies on this machine is read wholly and compared
    with its digest; what does not is not fetched, and a note says so. `client`: of the registry, for
    members that are versions of it.
    """
    found = attempt(folder, lambda: _checked(folder))
    if isinstance(found, str):
        return Part(faults=(found,))
    return together(found, _referred(folder, client))


def _referred(folder: Path, client: Any) -> Part:
    """The models that the set refers to. They are believed by digest, wherever the current folder has them."""
    checked, faults, notes = [], [], []
    for name, member in referred_members(read_manifest(folder / MANIFEST)).items():
        found = attempt(folder, partial(look_at, client, name, member))
        if isinstance(found, str):
            faults.append(found)
        elif found.state == "same":
            checked.append(found.said)
        elif found.state == "changed":
            faults.append(found.said)
        else:
            notes.append(
                f"By reference and digest only, not fetched here: {name}, {member['reference']}. "
                "`mergegate rollback --rehearse` loads and checks it."
            )
    return Part(tuple(checked), tuple(faults), tuple(notes))


def manifest_fits(manifest: Path, digest: str, where: str = "") -> Part:
    """The digest of the members in a manifest against the one that the registry knows the set by."""
    found = attempt(manifest.parent, lambda: digest_of(_members(manifest)))
    if found == digest:
        return Part((f"{where}{MANIFEST} by its digest",))
    return Part(faults=(f"{where}{MANIFEST}: is not the set {digest}: {found}",))


def _checked(folder: Path) -> Part:
    members, faults = _members(folder / MANIFEST), []
    stated = read_manifest(folder / MANIFEST).get("digest")
    if digest_of(members) != stated:
        faults.append(f"{MANIFEST}: base, experts: their digest is not {stated}, as stored beside")
    experts = members["experts"]
    adapters = {name: m for name, m in experts.items() if m["kind"] == "adapter"}
    for name, member in adapters.items():
        found = attempt(folder, partial(_adapter_digest, folder, name))
        if found != member["digest"]:
            faults.append(f"{_ADAPTERS}/{name}: is not {member['reference']}: {found}")
    faults += _strangers(folder, adapters)
    return Part(
        (
            f"{MANIFEST} by its digest",
            f"{count(adapters, 'adapter')} by SHA-256, and no other file",
        ),
        tuple(faults),
        (f"{CARD} and the answers to the probe are covered by no digest of their own.",),
    )


def read_manifest(path: Path) -> dict[str, Any]:
    """unmerged.json of a set. Raises CorruptArtifactError for what is no file or too large to be read."""
    if path.exists() and not path.is_file():
        raise CorruptArtifactError(f"{MANIFEST}: is no file.")
    if path.is_file() and path.stat().st_size > MAX_BYTES:
        raise CorruptArtifactError(f"{MANIFEST}: is larger than {MAX_BYTES:,} bytes.")
    manifest: dict[str, Any] = read_json(path)
    return manifest


def _members(manifest: Path) -> dict[str, Any]:
    value = read_manifest(manifest)
    return {key: value[key] for key in ("base", "experts")}


def _adapter_digest(folder: Path, name: str) -> str:
    """The digest of an adapter, whose folder is one of ours whatever the manifest calls it."""
    if name in ("", ".", "..") or Path(name).name != name:
        raise CorruptArtifactError(f"{name!r} is no name of an adapter.")
    return artifact_digest(folder / _ADAPTERS / name)


def _strangers(folder: Path, adapters: Mapping[str, Any]) -> list[str]:
    """Files that are no part of the set. Dotfiles are no part of an adapter's digest, nor of the set."""
    ours = {MANIFEST, CARD}
    faults = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        inside = name.parts[0] == _ADAPTERS and len(name.parts) > 2 and name.parts[1] in adapters
        hidden = any(part.startswith(".") for part in name.parts)
        is_file = path.is_symlink() or not path.is_dir()
        if is_file and (hidden or not (inside or name.as_posix() in ours)):
            faults.append(f"{name.as_posix()}: is no part of the unmerged set")
    return faults
