"""The release folder: card, record and evidence, with each file's SHA-256 in release.json."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import CorruptArtifactError, InputError
from pipeline.facts import digest_file, read_json, write_json, write_text
from pipeline.release.card import render_card
from pipeline.release.record import check_record

RECORD, CARD, RECIPE = "release.json", "README.md", "recipe.yaml"


def write_bundle(out: Path, record: Mapping[str, Any], evidence: Mapping[str, Path]) -> None:
    """Write the folder `out` whole or not at all, in place of an older one.

    Holds README.md (the model card), recipe.yaml, release.json and `evidence` (path in the folder:
    file to copy). `files` in release.json lists the SHA-256 of all but itself. Raises InputError
    naming evidence that is missing.
    """
    if missing := [str(path) for path in evidence.values() if not path.is_file()]:
        raise InputError(
            f"{', '.join(missing)}: no such file, and the release needs it. Run `mergegate "
            "release`."
        )
    partial = out.with_name(f".{out.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    write_text(partial / CARD, render_card(record))
    write_text(partial / RECIPE, record["identity"]["recipe"]["text"])
    for name, path in evidence.items():
        (partial / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, partial / name)
    files = {name: digest_file(partial / name) for name in sorted({CARD, RECIPE, *evidence})}
    write_json(partial / RECORD, {**record, "files": files})
    shutil.rmtree(out, ignore_errors=True)
    partial.rename(out)


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
