"""Reading a folder that may be hostile: names and links stay inside it, JSON is an object of bounded size."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.errors import CorruptArtifactError, InputError
from pipeline.files import read_file

# The greatest vocabularies, of 262,144 tokens, take 35 MB and two million values as JSON.
MAX_JSON_BYTES = 128 * 1024 * 1024
MAX_JSON_VALUES = 4_000_000
MAX_JSON_DEPTH = 64
MAX_TEXT_BYTES = 16 * 1024 * 1024
MAX_FOLDER_DEPTH = 32
_MAX_NAME = 255  # bytes, of every common file system
_MAX_DIGITS = 300  # a longer whole number does not fit into a float
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def member(folder: Path, name: str) -> Path:
    """The regular file `name` directly in `folder`.

    Raises CorruptArtifactError where the name has a path in it, where there is no such file, or
    where it is a link that leaves the folder and the stores it may share (see `_stores`).
    """
    if name in ("", ".", "..") or any(c in name for c in "/\\") or not _is_name(name):
        raise CorruptArtifactError(
            f"{folder}: {name!r:.100} is not the name of a file in the folder. "
            "Files are named without a path."
        )
    path = folder / name
    if not path.is_file():
        if path.exists():
            raise CorruptArtifactError(f"{path}: is no file. Put the file itself in its place.")
        raise CorruptArtifactError(f"{path}: no such file. Fetch or copy the whole folder again.")
    _stays(folder, path)
    return path


def optional(folder: Path, name: str) -> Path | None:
    """As `member`, with None where there is nothing of that name."""
    path = folder / name
    return member(folder, name) if path.is_symlink() or path.exists() else None


def regular_files(folder: Path, depth: int = 0) -> Iterator[Path]:
    """Every regular file below `folder` in order of path, but for names that begin with a dot.

    Raises CorruptArtifactError for a link that leaves the folder, for a link to a folder, for a
    name that cannot be printed, and for folders MAX_FOLDER_DEPTH deep.
    """
    if depth > MAX_FOLDER_DEPTH:
        raise CorruptArtifactError(
            f"{folder}: folders lie more than {MAX_FOLDER_DEPTH} deep. Remove those within."
        )
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
            yield from regular_files(path, depth + 1)
        elif path.is_file():
            yield path


def read_object(path: Path, *, finite: bool = True) -> dict[str, Any]:
    """The JSON object in a file. Raises CorruptArtifactError where it is anything else.

    NaN and Infinity are no JSON; without `finite` they are read, for a caller that checks each number.
    """
    try:
        raw = read_file(path, MAX_JSON_BYTES, "JSON here")
        check_extent(raw, MAX_JSON_VALUES)
        value = json.loads(
            raw.decode("utf-8"),
            parse_int=_whole,
            parse_float=_finite if finite else None,
            parse_constant=_no_constant if finite else None,
        )
        check_depth(value, MAX_JSON_DEPTH)
        if _SURROGATE.search(raw):  # mostly pairs; half of one could not be written again
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise CorruptArtifactError(
            f"{path}: not valid JSON ({error}). Fetch or write the file again."
        ) from None
    if not isinstance(value, dict):
        raise CorruptArtifactError(f"{path}: holds a {type(value).__name__}; it must be an object.")
    return value


def check_extent(raw: bytes, limit: int) -> None:
    """Raise ValueError where a JSON text could hold more than `limit` values, before they fill the memory."""
    if sum(map(raw.count, (b",", b"[", b"{"))) > limit:
        raise ValueError(f"more than {limit:,} values")


def check_depth(value: Any, limit: int) -> None:
    """Raise ValueError where lists and objects lie in each other more than `limit` deep."""
    level = [value]
    for _ in range(limit + 1):
        level = [outer for outer in level if type(outer) in (dict, list)]
        if not level:
            return
        level = [v for outer in level for v in (outer.values() if type(outer) is dict else outer)]
    raise ValueError(f"nested more than {limit} deep")


def read_text(path: Path) -> str:
    """The text in a UTF-8 file. Raises CorruptArtifactError where it is not UTF-8."""
    try:
        return read_file(path, MAX_TEXT_BYTES, "text here").decode("utf-8")
    except UnicodeDecodeError as error:
        raise CorruptArtifactError(f"{path}: not UTF-8 ({error}). Save it as UTF-8.") from None


def existing_folder(folder: Path) -> Path:
    """`folder`, which must be one that this user may read. Raises InputError."""
    if not folder.is_dir():
        what = "is a file; a folder is needed" if folder.exists() else "no such folder"
        raise InputError(f"{folder}: {what}. Give the folder that holds the model or adapter.")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise InputError(
            f"{folder}: this user may not read it. Change its rights (chmod u+rx), or copy it."
        )
    return folder


def _stays(folder: Path, path: Path) -> None:
    try:
        target = path.resolve()
    except (OSError, RuntimeError):  # a link that leads back to itself
        raise CorruptArtifactError(
            f"{path}: is a link that leads nowhere. Put a copy of the file in its place."
        ) from None
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


def _is_name(name: str) -> bool:
    """Whether a file may be called so, and a message may print it."""
    return name.isprintable() and len(name.encode()) <= _MAX_NAME


def _whole(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError(f"a whole number of {len(digits):,} digits")
    return int(digits)


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits:.40} is beyond the range of a number")
    return value


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no value of JSON; transformers 5 writes it as an object")
