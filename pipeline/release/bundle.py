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
from pipeline.release.record import check_record

RECORD, CARD, RECIPE = "release.json", "README.md", "recipe.yaml"
RELEASE = FolderKind("a release folder", RECORD, lambda folder: (folder / RECORD).is_file())


def write_bundle(out: Path, record: Mapping[str, Any], evidence: Mapping[str, Path]) -> None:
    """Write the folder `out` whole or not at all, in place of an older one.

    Holds README.md (the model card), recipe.yaml, release.json and `evidence` (path in the folder:
    file to copy). `files` in release.json lists the SHA-256 of all but itself. Raises InputError
    naming evidence that is missing, and where `out` is a folder of another kind.
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
        write_json(part / RECORD, {**record, "files": files})


def read_bundle(folder: Path) -> dict[str, Any]:
    """The record in a release folder.

    Raises CorruptArtifactError naming every file that is not as recorded.
    """
    record: dict[str, Any] = read_json(folder / RECORD)
    check_record(record, str(folder / RECORD))
    _check_files(folder, record.get("files", {}))
    return record


def _check_files(folder: Path, expected: Mapping[str, str]) -> None:
    """Raise CorruptArtifactError unless `folder` holds the `expected` files (path: SHA-256)."""
    if wrong := [f"{n} {fault}" for n, d in expected.items() if (fault := _fault(folder, n, d))]:
        raise CorruptArtifactError(
            f"{folder}: not what was recorded: {', '.join(wrong)}. Run `mergegate release` again."
        )


def _fault(folder: Path, name: str, digest: str) -> str:
    path = folder / name
    # By name, not by where links lead: DVC may keep outputs as links into its cache.
    if Path(name).is_absolute() or ".." in Path(name).parts:
        return "leaves the folder"
    if not path.is_file():
        return "is missing"
    return "" if digest_file(path) == digest else "changed"
