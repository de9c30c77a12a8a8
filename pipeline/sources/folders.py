"""Reading a folder that may be hostile: names and links stay inside it, JSON is an object."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.errors import CorruptArtifactError, InputError

# A vocabulary of a million tokens takes about 60 MB as JSON; nothing honest is larger.
MAX_JSON_BYTES = 512 * 1024 * 1024


def member(folder: Path, name: str) -> Path:
    """The regular file `name` directly in `folder`.

    Raises CorruptArtifactError where the name has a path in it, where there is no such file, or
    where it is a link that leaves the folder and the stores it may share (see `_stores`).
    """
    if name in ("", ".", "..") or any(c in name for c in "/\\\0"):
        raise CorruptArtifactError(
            f"{folder}: {name!r} is not the name of a file in the folder. "
            "Files are named without a path."
        )
    path = folder / name
    if not path.is_file():
        raise CorruptArtifactError(f"{path}: no such file. Fetch or copy the whole folder again.")
    _stays(folder, path)
    return path


def optional(folder: Path, name: str) -> Path | None:
    """As `member`, with None where there is nothing of that name."""
    path = folder / name
    return member(folder, name) if path.is_symlink() or path.exists() else None


def regular_files(folder: Path) -> Iterator[Path]:
    """Every regular file below `folder` in order of path, but for names that begin with a dot.

    Raises CorruptArtifactError for a link that leaves the folder, for a link to a folder, and for a
    name that cannot be printed.
    """
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if not path.name.isprintable():  # it could not be written into a record
            raise CorruptArtifactError(f"{folder}: rename {path.name!r}; it cannot be printed.")
        if path.is_symlink():
            _stays(folder, path)
        if path.is_dir():
            if path.is_symlink():
                raise CorruptArtifactError(
                    f"{path}: is a link to a folder. Copy the folder instead."
                )
            yield from regular_files(path)
        elif path.is_file():
            yield path


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises CorruptArtifactError where it is anything else."""
    if path.stat().st_size > MAX_JSON_BYTES:
        raise CorruptArtifactError(
            f"{path}: {path.stat().st_size:,} bytes; JSON here has at most {MAX_JSON_BYTES:,}."
        )
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise CorruptArtifactError(
            f"{path}: not valid JSON ({error}). Fetch or write the file again."
        ) from None
    if not isinstance(value, dict):
        raise CorruptArtifactError(f"{path}: holds a {type(value).__name__}; it must be an object.")
    return value


def read_text(path: Path) -> str:
    """The text in a UTF-8 file. Raises CorruptArtifactError where it is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise CorruptArtifactError(f"{path}: not UTF-8 ({error}). Save it as UTF-8.") from None


def existing_folder(folder: Path) -> Path:
    """`folder`, which must be one. Raises InputError."""
    if not folder.is_dir():
        what = "is a file; a folder is needed" if folder.exists() else "no such folder"
        raise InputError(f"{folder}: {what}. Give the folder that holds the model or adapter.")
    return folder


def _stays(folder: Path, path: Path) -> None:
    target = path.resolve()
    if not any(target.is_relative_to(root) for root in (folder.resolve(), *_stores(folder))):
        raise CorruptArtifactError(
            f"{path}: is a link that leaves its folder (to {target}). "
            "Put a copy of the file in its place."
        )


def _stores(folder: Path) -> Iterator[Path]:
    """Where tools link to: the hub cache's `blobs` beside `snapshots`, and DVC's cache."""
    for parent in folder.resolve().parents:
        if parent.name == "snapshots":
            yield parent.parent / "blobs"
        if (cache := parent / ".dvc" / "cache").is_dir():
            yield cache
