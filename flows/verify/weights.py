"""The model's files beside a release, against what the record says was judged."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flows.verify.result import Part, attempt, count
from pipeline.errors import InputError
from pipeline.facts import digest_of
from pipeline.release.bundle import CARD, RECORD
from pipeline.sources.hashes import file_digests

_RELEASE = "release/"


def weights_beside(folder: Path, record: Mapping[str, Any]) -> Part:
    """The files in `folder` but for its release/: no other than those judged, each by SHA-256.

    The model card beside the weights must be that of the release. Links are followed, since a store
    may keep files as links; a link to a folder is a fault, like every file that was not judged.
    """
    if not record:
        return Part()
    found = attempt(folder, lambda: _checked(folder, record))
    return Part(faults=(found,)) if isinstance(found, str) else found


def _checked(folder: Path, record: Mapping[str, Any]) -> Part:
    paths = {
        name: path
        for path in sorted(folder.rglob("*"))
        if (path.is_symlink() or not path.is_dir())
        and not (name := path.relative_to(folder).as_posix()).startswith(_RELEASE)
    }
    files = {name: path for name, path in paths.items() if path.is_file()}
    digests = file_digests(files.values())
    found = {name: digests[path] for name, path in files.items()}
    faults = [f"{name}: is no file" for name in paths if name not in files]
    card = record["files"].get(CARD) if isinstance(record.get("files"), Mapping) else None
    if CARD in found and found.pop(CARD) != card:
        faults.append(f"{CARD}: is not the model card of the release")
    faults += _differing(found, record)
    size = sum(files[name].stat().st_size for name in found)
    return Part(
        (
            f"{count(found, 'file')} of the model, {size:,} bytes, by SHA-256: those that were judged",
        ),
        tuple(faults),
    )


def _differing(found: Mapping[str, str], record: Mapping[str, Any]) -> list[str]:
    """Where the model's files are not those of the record."""
    expected = record["quantized_files"]
    if expected is None:  # the merge itself ships
        expected = record.get("merged_files")
    if expected is None:  # before schema 3 the record had one digest of all its files
        judged = record["identity"]["merged"]
        same = digest_of(dict(found)) == judged
        return (
            [] if same else [f"the model's files: their digest is not {judged}, that of {RECORD}"]
        )
    if not isinstance(expected, Mapping):
        raise InputError(
            f"{RECORD}: quantized_files, merged_files: is no mapping of files to digests."
        )
    wrong = {name: _fault(name, expected, found) for name in sorted({*expected, *found})}
    return [f"{name}: {fault}" for name, fault in wrong.items() if fault]


def _fault(name: str, expected: Mapping[str, str], found: Mapping[str, str]) -> str:
    if name not in found:
        return "is missing"
    if name not in expected:
        return "is no part of the model that was judged"
    return "" if found[name] == expected[name] else "is not as it was judged"
