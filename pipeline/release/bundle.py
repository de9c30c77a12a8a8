"""The release folder: card, record and evidence, with each file's SHA-256 in release.json."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import CorruptArtifactError, InputError
from pipeline.facts import digest_file, read_json, write_json, write_text
from pipeline.folders import FolderKind, whole_folder
from pipeline.release.card import render_card
from pipeline.release.record import check_record, with_digests

RECORD, CARD, RECIPE = "release.json", "README.md", "recipe.yaml"
RELEASE = FolderKind("a release folder", RECORD, lambda folder: (folder / RECORD).is_file())


def write_bundle(out: Path, record: Mapping[str, Any], evidence: Mapping[str, Path]) -> None:
    """Write the folder `out` whole or not at all, in place of an older one.

    Holds README.md (the model card), recipe.yaml, release.json and `evidence` (path in the folder:
    file to copy). In release.json, `files` lists the SHA-256 of all but itself, and `digests` that
    of each of its own fields. Raises InputError naming evidence that is missing, and where `out` is
    a folder of another kind.
    """
    if missing := [str(path) for path in evidence.values() if not path.is_file()]:
        raise InputError(
            f"{', '.join(missing)}: no such file, and the release needs it. "
            "Run `mergegate release`."
        )
    with whole_folder(out, RELEASE) as part:
        write_text(part / CARD, render_card(record))
        write_text(part / RECIPE, record["identity"]["recipe"]["text"])
        for name, path in evidence.items():
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, part / name)
        files = {name: digest_file(part / name) for name in sorted({CARD, RECIPE, *evidence})}
        write_json(part / RECORD, with_digests({**record, "files": files}))


def read_bundle(folder: Path) -> dict[str, Any]:
    """The record in a release folder, of this schema or an older one.

    Raises CorruptArtifactError naming every file that is not as recorded.
    """
    record: dict[str, Any] = read_json(folder / RECORD)
    check_record(record, str(folder / RECORD))
    if wrong := file_faults(folder, record.get("files")):
        listed = ", ".join(f"{name} {fault}" for name, fault in wrong.items())
        raise CorruptArtifactError(
            f"{folder}: not what was recorded: {listed}. Run `mergegate release` again."
        )
    return record


def file_faults(folder: Path, expected: Any) -> dict[str, str]:
    """What is wrong with each file of `folder`, by its path; `expected` is {path: SHA-256}.

    A file that is not expected is a fault as well: whoever is given the folder takes it for
    evidence.
    """
    if not isinstance(expected, Mapping):
        return {RECORD: "lists no files"}
    faults = {name: fault for name in expected if (fault := _fault(folder, name, expected[name]))}
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if _holds(path)}
    extra = sorted(found - {RECORD, *expected})
    return {**faults, **dict.fromkeys(extra, "is no part of the release")}


def _holds(path: Path) -> bool:
    """Whether a path is more than a folder; a link to a folder hides what is in it."""
    return path.is_symlink() or not path.is_dir()


def _fault(folder: Path, name: str, digest: Any) -> str:
    path = folder / name
    # By name, not by where links lead: DVC may keep outputs as links into its cache.
    if Path(name).is_absolute() or ".." in Path(name).parts:
        return "leaves the folder"
    if not path.is_file():
        return "is missing"
    return "" if digest_file(path) == digest else "changed"
