"""Whether a registered version is whole, told in seconds whatever the size of its model.

Looked at are the names and sizes of all files, the bytes of the small ones, and the record or
manifest itself by its digest. That finds what accidents do: a file that is gone, cut off, replaced
by another model's, a folder that was cleaned. It does not find a byte changed in place within the
large weights of the store; for that all of them must be read, as a rehearsal does. What a set refers
to outside the store is compared by the digest of all its files, see `referred`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.errors import CorruptArtifactError, InputError, MergegateError
from pipeline.facts import digest_of, read_json
from pipeline.release import store
from pipeline.release.bundle import CARD, RECORD
from pipeline.release.record import check_record
from pipeline.release.referred import look_at, referred_members
from pipeline.release.registry import MERGE, ROLLBACK_VERSION, UNMERGED
from pipeline.release.stored import (
    SMALL,
    Artifacts,
    artifacts_of,
    fingerprint_faults,
)
from pipeline.release.unmerged import MANIFEST, adapter_folder, read_manifest
from pipeline.sources import folder_digests, read_header

REHEARSED = "mergegate.rehearsed"  # the tag with what a rehearsal saw, as JSON


@dataclass(frozen=True)
class Look:
    """What a look at a version found. It is whole where there are no faults."""

    version: int
    kind: str  # merge or unmerged
    digest: str  # its release digest
    faults: tuple[str, ...] = ()
    checked: tuple[str, ...] = ()  # what was looked at, and what was not, in words
    rehearsed: Mapping[str, Any] = field(default_factory=dict)  # when, with; {} where never

    def to_json(self) -> dict[str, Any]:
        """The look as JSON values."""
        lists = {"faults": list(self.faults), "checked": list(self.checked)}
        return {**asdict(self), **lists, "rehearsed": self.rehearsed.get("when")}


def look(client: Any, name: str, version: int, hashes: Path | None = None) -> Look:
    """Look at a version, inside `store.connect`. Raises InputError where it is not one of mergegate's.

    `hashes`: the cache of digests of `pipeline.sources.hashes`, for models that a set refers to: of
    these only files are read that are not as remembered. With None every byte of them is read.
    """
    found, kind, digest = known(client, name, version)
    artifacts = artifacts_of(client, name, version)
    rehearsed = rehearsal_seen(found.tags.get(REHEARSED), digest)
    one = _merge if kind == MERGE else partial(_unmerged, client, hashes)
    try:
        faults, checked = one(artifacts, digest, rehearsed)
    except (MergegateError, OSError) as error:
        faults, checked = [str(error)], []
    return Look(version, kind, digest, tuple(faults), tuple(checked), rehearsed)


def check_whole(found: Look, name: str) -> None:
    """Raise CorruptArtifactError with every fault of a version that is not whole."""
    if found.faults:
        listed = "\n".join(f"  {fault}" for fault in found.faults)
        raise CorruptArtifactError(
            f"{name} version {found.version} is not whole:\n{listed}\n"
            "Restore the registry's artifacts from a backup, or name another version; "
            f"`mergegate status {name}` lists them."
        )


def known(client: Any, name: str, version: int) -> tuple[Any, str, str]:
    """A version that mergegate registered, its kind and its release digest. Raises InputError."""
    if store.digest_of_version(client, name, version) is None:
        raise _absent(client, name, version)
    found = client.get_model_version(name, str(version))
    kind, digest = found.tags.get("mergegate.kind"), found.tags.get(store.RELEASE_DIGEST)
    if kind not in (MERGE, UNMERGED) or not digest:
        raise InputError(
            f"{name} version {version}: was not registered by mergegate, so nothing says what it "
            "should hold. Name a version of mergegate's, or move the alias by hand in MLflow."
        )
    return found, str(kind), str(digest)


def _absent(client: Any, name: str, version: int) -> InputError:
    """What to raise for a version that is not there: whose way back it was, or what there is instead."""
    there = {int(v.version): v for v in client.search_model_versions(f"name = '{name}'")}
    listed = ", ".join(map(str, sorted(there))) or "none"
    missing = f"{name}: has no version {version}; there is {listed}."
    pointing = [n for n in sorted(there) if there[n].tags.get(ROLLBACK_VERSION) == str(version)]
    if not pointing:
        return InputError(f"{missing} `mergegate status {name}` says what each is.")
    of = ", ".join(map(str, pointing))
    return InputError(
        f"{missing} It is the way back of version {of}, and was deleted in MLflow: "
        f"`mergegate doctor {name}` says what is left of it, and with --mend mends what is safe."
    )


def rehearsal_seen(text: str | None, digest: str) -> dict[str, Any]:
    """What the tag of a rehearsal says; {} where it is of another digest, or cannot be read."""
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    fits = isinstance(found, dict) and found.get("digest") == digest and found.get("files")
    return found if fits else {}


def _merge(
    artifacts: Artifacts, digest: str, rehearsed: Mapping[str, Any]
) -> tuple[list[str], list[str]]:
    sizes = artifacts.sizes()
    if f"release/{RECORD}" not in sizes:
        gone = "all its artifacts are gone" if not sizes else "is missing"
        return [f"release/{RECORD}: {gone}"], []
    with artifacts.file(f"release/{RECORD}") as file:
        record = read_json(file)
    check_record(record, f"release/{RECORD}")
    if record["release_digest"] != digest:
        return [f"release/{RECORD}: is that of the release {record['release_digest']}"], []
    expected = expected_files(record)
    faults = [f"{path}: is missing" for path in sorted(expected.keys() - sizes)]
    there = {path: (sizes[path], sha) for path, sha in expected.items() if path in sizes}
    small = {path: (size, sha) for path, (size, sha) in there.items() if size <= SMALL}
    faults += [f for f in fingerprint_faults(artifacts, small) if not f.endswith("before")]
    large = sorted(there.keys() - small)
    if rehearsed:
        before = {path: (rehearsed["files"][path][0], "") for path in large}
        faults += [f for f in fingerprint_faults(artifacts, before) if not f.endswith("before")]
        how = "sizes as when it was last verified"
    elif artifacts.folder is not None:
        faults += [fault for path in large if (fault := _header_fault(artifacts.folder / path))]
        how = "sizes as their headers account for"
    else:
        faults += [f"{path}: is empty" for path in large if not sizes[path]]
        how = "there, sizes not known"
    counted = f"{len(small)} files by SHA-256, {len(large)} larger ones: {how}"
    return faults, [f"release/{RECORD}: digest {digest}", counted]


def expected_files(record: Mapping[str, Any]) -> dict[str, str]:
    """The SHA-256 of each artifact of a merge's version that its record lists."""
    evidence = {f"release/{path}": sha for path, sha in record["files"].items()}
    card = {CARD: record["files"][CARD]} if CARD in record["files"] else {}
    return {**(record["quantized_files"] or {}), **evidence, **card}


def _header_fault(file: Path) -> str:
    if file.suffix != ".safetensors":
        return "" if file.stat().st_size else f"{file.name}: is empty"
    try:
        read_header(file)
    except MergegateError as error:
        return str(error)
    return ""


def _unmerged(
    client: Any,
    hashes: Path | None,
    artifacts: Artifacts,
    digest: str,
    rehearsed: Mapping[str, Any],
) -> tuple[list[str], list[str]]:
    if MANIFEST not in artifacts.sizes():
        return [f"{MANIFEST}: is missing"], []
    with artifacts.file(MANIFEST) as file:
        manifest = read_manifest(file.parent, digest)
    if rehearsed:
        faults = fingerprint_faults(artifacts, rehearsed["files"])
        checked = [f"{len(rehearsed['files'])} files as at the rehearsal of {rehearsed['when']}"]
    else:
        faults, checked = adapter_faults(artifacts, manifest)
    seen = rehearsed.get("members") or {}
    for name, member in referred_members(manifest).items():
        found = look_at(client, name, member, hashes, seen.get(name))
        if found.state in ("changed", "gone"):
            faults.append(found.said)
        else:
            checked.append(found.said)
    return faults, [f"{MANIFEST}: digest {digest}", *checked]


def adapter_faults(
    artifacts: Artifacts, manifest: Mapping[str, Any]
) -> tuple[list[str], list[str]]:
    """What is wrong with the adapters of a set, and what was looked at: digests here, names elsewhere."""
    wanted = {n: m["digest"] for n, m in manifest["experts"].items() if m["kind"] == "adapter"}
    if artifacts.folder is None:
        paths = artifacts.sizes()
        lost = [n for n in wanted if not any(p.startswith(f"adapters/{n}/") for p in paths)]
        return [f"adapters/{n}: is missing" for n in lost], ["adapters: there, not read"]
    faults = []
    for name, digest in wanted.items():
        folder = adapter_folder(artifacts.folder, name)
        if not folder.is_dir():
            faults.append(f"adapters/{name}: is missing")
        elif digest_of(folder_digests(folder)) != digest:
            faults.append(f"adapters/{name}: changed")
    return faults, [f"{len(wanted)} adapters by digest"]
