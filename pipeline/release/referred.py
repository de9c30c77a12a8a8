"""The models that an unmerged set keeps by reference: where they lie here, and whether they are as registered.

A folder is believed by the digest of its files and never by its name: a retrain into the same folder leaves
every name, and often every size, as it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pipeline.errors import InputError
from pipeline.facts import digest_of
from pipeline.release.stored import local_folder
from pipeline.release.unmerged import pinned
from pipeline.sources import folder_digests
from pipeline.sources.reference import is_registry_uri
from pipeline.sources.registry import SCHEME, model_place

State = Literal["same", "changed", "gone", "elsewhere"]


@dataclass(frozen=True)
class Referred:
    """A model that a set refers to, and what a look at it found.

    `state`: `same` or `changed`, by the digest of its files; `gone`, where the folder is not there;
    `elsewhere`, where it lies at a hub or at a server, and was not looked at.
    """

    name: str  # base, or the expert that it is
    state: State
    said: str  # in words


def referred_members(manifest: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The base and the full fine-tunes of a set, by name; its adapters are copied."""
    experts = manifest["experts"].items()
    return {"base": manifest["base"], **{n: m for n, m in experts if m["kind"] == "model"}}


def look_at(
    client: Any,
    name: str,
    member: Mapping[str, Any],
    hashes: Path | None = None,
    seen: Mapping[str, Any] | None = None,
) -> Referred:
    """Compare a model that a set refers to with its registered digest, inside `store.connect`.

    Args:
        client: of the registry, for members that are versions of it (models:/).
        name: of the member, for the words.
        member: `reference`, `revision` and `digest`, as in the manifest of the set.
        hashes: the cache of digests of `pipeline.sources.hashes`; with None every byte is read.
        seen: {path: (size, SHA-256)} at the last rehearsal, so that what changed can be named.
    """
    reference = str(member["reference"])
    folder = member_folder(client, member)
    if folder is None:
        where = "is kept elsewhere, by revision, and was not looked at"
        return Referred(name, "elsewhere", f"{name}: {reference} {where}")
    if not folder.is_dir():
        way_out = "no such folder here; run this in the release's workspace"
        return Referred(name, "gone", f"{name}: {reference}: {way_out}")
    found = folder_digests(folder, hashes)
    if digest_of(found) == member["digest"]:
        told = f"{len(found)} files, digest as registered"
        return Referred(name, "same", f"{name}: {reference}: {told}")
    files = ", ".join(_differing(folder, found, seen or {}))
    return Referred(
        name,
        "changed",
        f"{name}: {reference}: not what was registered{f': {files}' if files else ''}. "
        f"Its digest is {digest_of(found)}, and {member['digest']} was registered. Put the registered files "
        "back, or run `mergegate release`, which registers a set of what is there now.",
    )


def member_folder(client: Any, member: Mapping[str, Any]) -> Path | None:
    """The folder of a model that a set refers to; None where it lies at a hub or at a server."""
    model = pinned(member).model
    if is_registry_uri(model):
        return _version_folder(client, model)
    return None if member["revision"] else Path(model)


def _version_folder(client: Any, uri: str) -> Path | None:
    """The folder of a version of this registry, or of a logged model; None where it is no folder of this machine."""
    from mlflow.exceptions import MlflowException

    name, _, version = uri.removeprefix(SCHEME).partition("/")
    try:
        if version:
            source = str(client.get_model_version_download_uri(name, version))
        else:
            source = str(client.get_logged_model(name).artifact_location)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None  # of another registry
        raise
    folder = local_folder(source)
    try:
        return model_place(uri, folder) if folder else None
    except InputError:  # its artifacts are gone
        return folder


def _differing(folder: Path, found: Mapping[str, str], seen: Mapping[str, Any]) -> Iterator[str]:
    """Each file that is known to differ; a rehearsal by an older version kept no SHA-256 of large ones."""
    before = {p: kept for p, kept in seen.items() if not any(x[0] == "." for x in p.split("/"))}
    for path in sorted({*found, *before}) if before else ():
        if path not in found:
            yield f"{path} is missing"
        elif path not in before:
            yield f"{path} was not there"
        elif (size := (folder / path).stat().st_size) != before[path][0]:
            yield f"{path} has {size:,} bytes instead of {before[path][0]:,}"
        elif before[path][1] and before[path][1] != found[path]:
            yield f"{path} changed"
